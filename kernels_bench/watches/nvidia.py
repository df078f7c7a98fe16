"""Reads an NVIDIA GPU through NVML, which needs no context on it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from kernels_bench.devices.nvidia import Gpu, MigInstance, visible_units
from kernels_bench.health import GpuReading, Neighbour, Unwatched, Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kernels_bench.devices.nvidia import AskCuda
    from kernels_bench.devices.nvml import Handle, Nvml

_SLOWDOWNS = {
    0x20: "SW thermal",
    0x08: "HW slowdown",
    0x40: "HW thermal",
    0x80: "HW power brake",
}
"""Bits of nvmlClocksEventReasons in nvml.h: what takes clocks away because of heat, or of the
board's power supply. The others say that the GPU is idle, at its power cap or at a chosen clock.
"""


def open_nvidia(selector: str, environ: Mapping[str, str], ours: frozenset[int]) -> Watch:
    """The watch of "cuda:N" as CUDA numbers it; `ours` are processes that are no neighbours."""
    from kernels_bench.devices.cuda_attributes import ask_cuda
    from kernels_bench.devices.nvml import load_nvml

    try:
        nvml = load_nvml()
    except ImportError:
        return Unwatched("nvidia-ml-py is not installed")
    return watch_nvidia(nvml, selector, environ, ask_cuda, ours)


def watch_nvidia(
    nvml: Nvml, selector: str, environ: Mapping[str, str], ask: AskCuda, ours: frozenset[int]
) -> Watch:
    """As `open_nvidia`, with the library at hand. NVML stays initialised until `close`."""
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return Unwatched(str(error))
    try:
        unit = visible_units(nvml, environ, ask).units.get(selector)
    except nvml.NVMLError as error:
        unit, why = None, str(error)
    else:
        why = f"NVML knows no {selector}"
    if unit is None:
        nvml.nvmlShutdown()
        return Unwatched(why)
    return NvidiaWatch(nvml, unit, ours)


class NvidiaWatch:
    """A GPU's watch, or that of a MIG instance, whose clock and heat are those of its GPU."""

    def __init__(self, nvml: Nvml, unit: Gpu | MigInstance, ours: frozenset[int]) -> None:
        self._nvml, self._unit, self._ours = nvml, unit, ours
        self._board: Handle = unit.handle if isinstance(unit, Gpu) else unit.gpu.handle

    def read(self) -> GpuReading:
        """Three questions to the driver; one that a virtual GPU refuses has no answer."""
        nvml, board = self._nvml, self._board
        reasons = self._known(lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(board))
        return GpuReading(
            self._known(lambda: nvml.nvmlDeviceGetClockInfo(board, nvml.NVML_CLOCK_SM)),
            self._known(lambda: nvml.nvmlDeviceGetTemperature(board, nvml.NVML_TEMPERATURE_GPU)),
            tuple(name for bit, name in _SLOWDOWNS.items() if (reasons or 0) & bit),
        )

    def others(self) -> tuple[Neighbour, ...]:
        """Processes with a compute context; on a MIG instance those of the instance."""
        nvml = self._nvml
        try:
            found = nvml.nvmlDeviceGetComputeRunningProcesses(self._unit.handle)
        except (nvml.NVMLError, nvml.NVMLLibraryMismatchError):
            return ()
        return tuple(
            Neighbour(process.pid, process.usedGpuMemory, self._name(process.pid))
            for process in found
            if process.pid not in self._ours
        )

    def close(self) -> None:
        """End our use of NVML."""
        with suppress(self._nvml.NVMLError):
            self._nvml.nvmlShutdown()

    def _known(self, ask: Callable[[], int]) -> int | None:
        try:
            return ask()
        except self._nvml.NVMLError:
            return None

    def _name(self, pid: int) -> str:
        try:
            return self._nvml.nvmlSystemGetProcessName(pid)
        except (self._nvml.NVMLError, UnicodeDecodeError):  # in a container, a pid of the host
            return ""
