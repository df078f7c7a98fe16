"""What the backends for AMD's GPUs share: architectures, and releases of vLLM and AITER."""

from __future__ import annotations

import re
from typing import TypeAlias

from kernels_bench.backends._needs import needs_package
from kernels_bench.backends._releases import needs_release
from kernels_bench.spec import Device, Reason, Stack

CDNA3_AND_4 = ("gfx942", "gfx950")
"""What vLLM's image builds AITER for: `AITER_ROCM_ARCH` in docker/Dockerfile.rocm_base."""
AITER = "amd-aiter"
"""As vLLM's image for ROCm installs it; on PyPI there is 0.1.7 alone."""

AiterRelease: TypeAlias = tuple[int, int, int]
"""(0, 1, 7) for 0.1.7.post2.dev18"""

LAST_AITER: AiterRelease = (0, 1, 20)
_INSTALL_AITER = "build it from github.com/ROCm/aiter, as vLLM's image for ROCm does"


def needs_gfx(device: Device, *arches: str) -> list[Reason]:
    """Why a kernel for these architectures cannot run on this one."""
    if device.kind != "rocm" or device.arch in arches:
        return []
    *others, last = arches
    known = f"{', '.join(others)} and {last}" if others else last
    return [Reason("arch", f"arch {device.arch}: runs on {known}")]


def needs_vllm(stack: Stack) -> list[Reason]:
    """Why the installed vLLM, or none, keeps its backends for ROCm from running."""
    return needs_release(stack, "vllm", (0, 24), (0, 32), "install vLLM for ROCm")


def needs_aiter(stack: Stack, first: AiterRelease, why: str) -> list[Reason]:
    """Why an AITER that is missing, too old or too new keeps a kernel from running."""
    version = stack.get(AITER)
    if version is None:
        return needs_package(stack, AITER, _INSTALL_AITER)
    found = aiter_release(version)
    if found < first:
        text = f"{AITER} {version}: needs {AITER} >= {_text(first)}, {why}"
        return [Reason("package", text)]
    if found > LAST_AITER:
        newest = f"needs {AITER} <= {_text(LAST_AITER)}, the newest that this was read against"
        return [Reason("package", f"{AITER} {version}: {newest}")]
    return []


def aiter_release(version: str) -> AiterRelease:
    """The first three numbers of a version; zeros where it has fewer."""
    found = [int(number) for number in re.findall(r"\d+", version)[:3]]
    first, second, third, *_ = [*found, 0, 0, 0]
    return first, second, third


def _text(release: AiterRelease) -> str:
    return ".".join(map(str, release))
