"""Tells apart how candidates fail."""

from __future__ import annotations

from kernels_bench.errors import one_line
from kernels_bench.spec import Failed, FailureKind

_COMPILERS = ("torch._inductor", "torch._dynamo", "triton.compiler")


def failure(error: Exception) -> Failed:
    """What a candidate raised, as an outcome."""
    if type(error).__module__.startswith(_COMPILERS):
        return Failed("compile", _told_by_the_compiler(error) or one_line(error))
    out_of_memory = "allocate memory" in str(error) or "out of memory" in str(error)
    kind: FailureKind = "exception"
    if isinstance(error, MemoryError) or out_of_memory:
        kind = "memory"
    return Failed(kind, one_line(error))


def _told_by_the_compiler(error: Exception) -> str:
    """The first error among pages of generated code, or nothing."""
    told = (line.partition(": error: ")[2].strip() for line in str(error).splitlines())
    return next(filter(None, told), "")
