"""Tells apart how candidates fail."""

from __future__ import annotations

import re

from kernels_bench.binding import GoneError
from kernels_bench.errors import one_line
from kernels_bench.incomplete import IncompleteError, incomplete_text
from kernels_bench.spec import Failed

_ERROR = re.compile(r":\s(?:fatal\s)?error:\s(.+)")
_COMPILERS = ("torch._inductor", "torch._dynamo", "triton.compiler")


def failure(error: Exception) -> Failed:
    """What a candidate raised, as an outcome."""
    if isinstance(error, (GoneError, IncompleteError)):
        return Failed("exception", str(error))
    built_by_ninja = "Ninja build failed" in str(error)  # FlashInfer, at a kernel's first use
    if built_by_ninja or type(error).__module__.startswith(_COMPILERS):
        return Failed("compile", _told_by_the_compiler(error) or one_line(error))
    out_of_memory = "allocate memory" in str(error) or "out of memory" in str(error)
    if isinstance(error, MemoryError) or out_of_memory:
        # torch goes on about every byte of the GPU, and what to set.
        return Failed("memory", one_line(error).partition(" GPU ")[0])
    return Failed("exception", incomplete_text(error) or one_line(error))


def _told_by_the_compiler(error: Exception) -> str:
    """The first error among pages of generated code, or nothing."""
    told = (_ERROR.search(line) for line in str(error).splitlines())
    return next((found[1].strip() for found in told if found is not None), "")
