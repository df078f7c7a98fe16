"""Which releases of a package a backend was read against."""

from __future__ import annotations

import re
from typing import TypeAlias

from kernels_bench.backends._needs import needs_package
from kernels_bench.spec import Reason, Stack

Release: TypeAlias = tuple[int, int]
"""(0, 24) for vLLM 0.24.0"""


def release(version: str) -> Release:
    """The first two numbers of a version; (0, 0) where it has none."""
    found = re.match(r"v?(\d+)\.(\d+)", version)
    return (0, 0) if found is None else (int(found[1]), int(found[2]))


def needs_release(
    stack: Stack, name: str, first: Release, last: Release | None, what_to_do: str
) -> list[Reason]:
    """Why a distribution that is missing, too old or too new keeps a kernel from running."""
    if name not in stack:
        return needs_package(stack, name, what_to_do)
    found = release(stack[name])
    if found < first:
        return [Reason("package", f"{name} {stack[name]}: needs {name} >= {_text(first)}")]
    if last is not None and found > last:
        newest = f"needs {name} <= {_text(last)}, the newest that this was read against"
        return [Reason("package", f"{name} {stack[name]}: {newest}")]
    return []


def _text(version: Release) -> str:
    return f"{version[0]}.{version[1]}"
