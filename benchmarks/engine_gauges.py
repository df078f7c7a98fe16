"""The clock and the power of a GPU while somebody else has it, read through NVML twenty times a
second.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from statistics import median
from typing import Any

from kernels_bench.devices.cuda_attributes import ask_cuda
from kernels_bench.devices.nvidia import visible_units
from kernels_bench.devices.nvml import load_nvml

_PERIOD_S = 0.05


@dataclass(frozen=True)
class Look:
    """One moment."""

    at_s: float
    """As `time.monotonic` has it."""
    clock_mhz: int
    """Of the multiprocessors."""
    power_w: float
    temperature_c: int


@dataclass(frozen=True)
class Gauge:
    """A stretch of time: medians, and of the clock the tenth and the ninetieth percentile."""

    clock_mhz: float
    clock_low_mhz: float
    clock_high_mhz: float
    power_w: float
    temperature_c: float
    looks: int


def gauge_of(looks: list[Look]) -> Gauge | None:
    """None where nobody looked."""
    if not looks:
        return None
    clocks = sorted(look.clock_mhz for look in looks)
    tenth = len(clocks) // 10
    return Gauge(
        clock_mhz=median(clocks),
        clock_low_mhz=clocks[tenth],
        clock_high_mhz=clocks[-1 - tenth],
        power_w=median(look.power_w for look in looks),
        temperature_c=median(look.temperature_c for look in looks),
        looks=len(looks),
    )


class Meter:
    """ "cuda:0" of this process, which need not have it in use."""

    def __init__(self) -> None:
        """Raises NVMLError where there is no driver."""
        self._nvml: Any = load_nvml()
        self._nvml.nvmlInit()
        self._handle = visible_units(self._nvml, os.environ, ask_cuda).units["cuda:0"].handle

    def read(self) -> Look:
        nvml, handle = self._nvml, self._handle
        return Look(
            time.monotonic(),
            nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM),
            nvml.nvmlDeviceGetPowerUsage(handle) / 1e3,
            nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
        )


class Gauges(threading.Thread):
    """Looks at the GPU until it is closed; never, where there is no driver: a rehearsal."""

    def __init__(self) -> None:
        super().__init__(name="gauges", daemon=True)
        self._looks: list[Look] = []
        self._closing = threading.Event()
        self.start()

    def during(self, begins_s: float, ends_s: float) -> Gauge | None:
        """Between two moments of `time.monotonic`."""
        return gauge_of([look for look in self._looks if begins_s <= look.at_s <= ends_s])

    def close(self) -> None:
        self._closing.set()
        self.join()

    def run(self) -> None:
        try:
            meter = Meter()
        except load_nvml().NVMLError:
            return
        while not self._closing.wait(_PERIOD_S):
            self._looks.append(meter.read())
