"""Reads an AMD GPU through amdsmi, which needs no context on it.

All from the table of metrics: `amdsmi_get_clock_info` reads it as well and more besides, and
`amdsmi_get_violation_status` sleeps for 100 ms between two looks at it (amd_smi.cc of ROCm 6.3).
"""

from __future__ import annotations

from contextlib import suppress
from statistics import median
from typing import TYPE_CHECKING, Any

from kernels_bench.devices.amd import visible_gpus
from kernels_bench.devices.smi import message_of
from kernels_bench.health import GpuReading, Neighbour, Unwatched, Watch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kernels_bench.devices.smi import Amdsmi, Handle

_RESIDENCIES = {
    "prochot_residency_acc": "HW thermal",
    "socket_thm_residency_acc": "socket thermal",
    "vr_thm_residency_acc": "voltage regulator thermal",
    "hbm_thm_residency_acc": "HBM thermal",
}
"""Counters that grow while a limit holds the clock down; since the MI300's table of metrics (1.6).

Not `ppt_residency_acc`, the power cap. Nor `throttle_status` of older parts: amdsmi makes one truth
of all its bits, the power cap's among them.
"""


def open_amd(selector: str, environ: Mapping[str, str], ours: frozenset[int]) -> Watch:
    """The watch of "cuda:N" as HIP numbers it; `ours` are processes that are no neighbours."""
    from kernels_bench.devices.smi import load_amdsmi, silence

    with silence():
        try:
            smi = load_amdsmi()
        except ImportError as error:
            return Unwatched(str(error))
        return watch_amd(smi, selector, environ, ours)


def watch_amd(
    smi: Amdsmi, selector: str, environ: Mapping[str, str], ours: frozenset[int]
) -> Watch:
    """As `open_amd`, with the library at hand. amdsmi stays initialised until `close`."""
    try:
        smi.amdsmi_init()
    except smi.AmdSmiException as error:
        return Unwatched(message_of(error))
    try:
        gpu = visible_gpus(smi, environ).get(selector)
    except (smi.AmdSmiException, KeyError) as error:
        gpu, why = None, message_of(error)
    else:
        why = f"amdsmi knows no {selector}"
    if gpu is None:
        with suppress(smi.AmdSmiException):
            smi.amdsmi_shut_down()
        return Unwatched(why)
    return AmdWatch(smi, gpu.handle, ours)


class AmdWatch:
    """A GPU's watch, or that of a partition."""

    def __init__(self, smi: Amdsmi, handle: Handle, ours: frozenset[int]) -> None:
        self._smi, self._handle, self._ours = smi, handle, ours
        self._residencies: dict[str, int] = {}

    def read(self) -> GpuReading:
        """What held the clock down is told of the time since the last look, first of none."""
        try:
            metrics = self._smi.amdsmi_get_gpu_metrics_info(self._handle)
        except self._smi.AmdSmiException:  # a guest may be refused
            return GpuReading(None, None)
        seen = {key: value for key in _RESIDENCIES if (value := _number(metrics, key)) is not None}
        grown = [key for key in seen if seen[key] > self._residencies.get(key, seen[key])]
        self._residencies = seen
        return GpuReading(
            _clock_mhz(metrics),
            _number(metrics, "temperature_hotspot"),
            tuple(_RESIDENCIES[key] for key in grown),
        )

    def others(self) -> tuple[Neighbour, ...]:
        """Processes that the kernel driver knows on this GPU."""
        try:
            found = self._smi.amdsmi_get_gpu_process_list(self._handle)
        except self._smi.AmdSmiException:
            return ()
        return tuple(
            Neighbour(process["pid"], _memory_bytes(process), _name(process))
            for process in found
            if process["pid"] not in self._ours
        )

    def close(self) -> None:
        """End our use of amdsmi."""
        with suppress(self._smi.AmdSmiException):
            self._smi.amdsmi_shut_down()


def _clock_mhz(metrics: Mapping[str, Any]) -> int | None:
    """Of the dies, the median: since version 1.4 of the table each has its own clock."""
    listed = metrics.get("current_gfxclks", ())
    dies = [clock for clock in listed if isinstance(clock, int) and clock > 0]
    return round(median(dies)) if dies else _number(metrics, "current_gfxclk")


def _number(values: Mapping[str, Any], key: str) -> int | None:
    """amdsmi writes "N/A" for what a part does not tell."""
    value = values.get(key)
    return value if isinstance(value, int) else None


def _memory_bytes(process: Mapping[str, Any]) -> int | None:
    return _number(process.get("memory_usage", {}), "vram_mem")


def _name(process: Mapping[str, Any]) -> str:
    name = str(process.get("name", ""))
    return "" if name == "N/A" else name
