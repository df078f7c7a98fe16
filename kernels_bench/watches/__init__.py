"""Who reads a device while candidates are timed on it: one module a kind of device."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from kernels_bench.health import Watch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kernels_bench.spec import DeviceKind

__all__ = ["watch_device"]


def watch_device(selector: str, kind: DeviceKind, environ: Mapping[str, str]) -> Watch:
    """The watch of the device that torch knows as `selector` ("cuda:1") in this process.

    Raises nothing: where the driver's library is missing or fails, the watch says so in its
    readings. To be opened before torch is imported, because of `Watch.others`.
    """
    match kind:
        case "cuda":
            from kernels_bench.watches.nvidia import open_nvidia

            return open_nvidia(selector, environ, _ours())
        case "rocm":
            from kernels_bench.watches.amd import open_amd

            return open_amd(selector, environ, _ours())
        case "cpu":
            from kernels_bench.watches.cpu import CpuWatch

            return CpuWatch(Path("/proc/self/task"))


def _ours() -> frozenset[int]:
    """This process, and the one that started it to measure."""
    return frozenset((os.getpid(), os.getppid()))
