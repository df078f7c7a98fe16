from __future__ import annotations

import os
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from test_devices_nvidia import FakeError, FakeNvml, h100, never_ask, one_slice, t4

from kernels_bench.devices.nvml import load_nvml
from kernels_bench.health import GpuReading, Neighbour, NoReading, verdict
from kernels_bench.watches import watch_device
from kernels_bench.watches.nvidia import NvidiaWatch, watch_nvidia

OURS = frozenset({100, 99})


class FakeMismatchError(Exception):
    """As pynvml's, it is no NVMLError."""


@dataclass
class Moment:
    """What a board does now; None: it does not tell."""

    mhz: int | None = 1980
    celsius: int | None = 60
    reasons: int | None = 0


@dataclass
class WatchedNvml(FakeNvml):
    moments: dict[str, Moment] = field(default_factory=dict)
    """By the UUID of the board."""
    processes: dict[str, list[tuple[int, int | None]]] = field(default_factory=dict)
    """By the UUID of the board or of the instance: pid and bytes."""
    names: dict[int, str] = field(default_factory=dict)
    too_old: bool = False
    NVMLLibraryMismatchError: type[Exception] = field(default=FakeMismatchError)
    NVML_CLOCK_SM: int = 1
    NVML_TEMPERATURE_GPU: int = 0

    def nvmlDeviceGetClockInfo(self, handle, type):
        assert type == self.NVML_CLOCK_SM
        return self._told(handle, "mhz")

    def nvmlDeviceGetTemperature(self, handle, sensor):
        assert sensor == self.NVML_TEMPERATURE_GPU
        return self._told(handle, "celsius")

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle):
        return self._told(handle, "reasons")

    def nvmlDeviceGetComputeRunningProcesses(self, handle):
        if self.too_old:
            raise FakeMismatchError
        if handle.uuid not in self.processes:
            raise FakeError("Not Supported")
        return [
            SimpleNamespace(pid=pid, usedGpuMemory=used)
            for pid, used in self.processes[handle.uuid]
        ]

    def nvmlSystemGetProcessName(self, pid):
        if pid not in self.names:
            raise FakeError("Not Found")
        return self.names[pid]

    def _told(self, handle, what):
        value = getattr(self.moments[handle.uuid], what)
        if value is None:
            raise FakeError("Not Supported")
        return value


def watch_of(nvml, selector="cuda:0", environ=None):
    return watch_nvidia(nvml, selector, environ or {}, never_ask, OURS)


def test_a_look_tells_clock_and_heat():
    nvml = WatchedNvml([h100("GPU-a")], moments={"GPU-a": Moment(1755, 71)})
    assert watch_of(nvml).read() == GpuReading(1755, 71)


@pytest.mark.parametrize(
    ("bits", "slowed_by"),
    [
        (0x0, ()),
        (0x1 | 0x2 | 0x4 | 0x10 | 0x100, ()),
        (0x8 | 0x40 | 0x4, ("HW slowdown", "HW thermal")),
        (0x80, ("HW power brake",)),
        (0x20, ("SW thermal",)),
        (None, ()),
    ],
)
def test_idleness_and_the_power_cap_are_no_slowdown(bits, slowed_by):
    nvml = WatchedNvml([h100("GPU-a")], moments={"GPU-a": Moment(reasons=bits)})
    assert watch_of(nvml).read().slowed_by == slowed_by


def test_what_a_virtual_gpu_refuses_is_unknown_and_the_rest_is_told():
    nvml = WatchedNvml([h100("GPU-a")], moments={"GPU-a": Moment(1980, None, None)})
    assert watch_of(nvml).read() == GpuReading(1980, None)


def test_the_gpu_is_the_one_that_cuda_numbers_so():
    nvml = WatchedNvml(
        [h100("GPU-a"), h100("GPU-b"), h100("GPU-c")],
        moments={"GPU-b": Moment(1111), "GPU-c": Moment(2222)},
    )
    environ = {"CUDA_VISIBLE_DEVICES": "2,1"}
    assert watch_of(nvml, "cuda:0", environ).read().clock_mhz == 2222
    assert watch_of(nvml, "cuda:1", environ).read().clock_mhz == 1111


def test_a_mig_instance_has_its_own_neighbours_and_the_clock_of_its_gpu():
    nvml = WatchedNvml(
        [h100("GPU-a", instances=[one_slice("MIG-1"), one_slice("MIG-2")])],
        moments={"GPU-a": Moment(1755)},
        processes={"MIG-1": [(1, 5)], "MIG-2": [(2, 6)]},
    )
    watch = watch_of(nvml, environ={"CUDA_VISIBLE_DEVICES": "MIG-2"})
    assert watch.read().clock_mhz == 1755
    assert watch.others() == (Neighbour(2, 6, ""),)


def test_others_are_all_processes_but_ours():
    nvml = WatchedNvml(
        [h100("GPU-a")],
        processes={"GPU-a": [(100, 1 << 30), (4711, 2 << 30), (99, 1 << 20), (12, None)]},
        names={4711: "/usr/bin/python3"},
    )
    others = watch_of(nvml).others()
    assert others == (Neighbour(4711, 2 << 30, "/usr/bin/python3"), Neighbour(12, None, ""))
    assert verdict([], 0, others).warnings == (
        "pid 4711 (python3) uses 2.0 GiB of the GPU",
        "pid 12 uses the GPU",
    )


@pytest.mark.parametrize("too_old", [True, False])
def test_a_driver_that_lists_no_processes_names_nobody(too_old):
    assert watch_of(WatchedNvml([h100("GPU-a")], too_old=too_old)).others() == ()


@pytest.mark.parametrize(
    ("nvml", "selector", "why"),
    [
        (WatchedNvml([], has_library=False), "cuda:0", "NVML Shared Library Not Found"),
        (WatchedNvml([h100()]), "cuda:1", "NVML knows no cuda:1"),
        (WatchedNvml([h100()]), "nonsense", "NVML knows no nonsense"),
    ],
)
def test_a_gpu_that_cannot_be_found_is_unwatched_and_says_why(nvml, selector, why):
    watch = watch_of(nvml, selector)
    assert watch.read() == NoReading(why)
    assert watch.others() == ()
    watch.close()
    assert nvml.open_sessions == 0


def test_a_driver_that_fails_while_the_gpu_is_looked_for_is_let_go():
    class Failing(WatchedNvml):
        def nvmlDeviceGetCount(self):
            raise FakeError("GPU is lost")

    nvml = Failing([h100()])
    assert watch_of(nvml).read() == NoReading("GPU is lost")
    assert nvml.open_sessions == 0


def test_nvml_stays_open_until_the_watch_is_closed():
    nvml = WatchedNvml([t4()])
    watch = watch_of(nvml)
    assert nvml.open_sessions == 1
    watch.close()
    assert nvml.open_sessions == 0


def test_the_published_library_has_every_function_that_the_fake_has():
    nvml = load_nvml()
    wanted = [name for name in dir(WatchedNvml) if name.startswith(("nvml", "NVML"))]
    assert [name for name in wanted if not hasattr(nvml, name)] == []
    assert WatchedNvml.NVML_CLOCK_SM == nvml.NVML_CLOCK_SM
    assert WatchedNvml.NVML_TEMPERATURE_GPU == nvml.NVML_TEMPERATURE_GPU


def test_the_bits_are_those_of_the_published_library():
    nvml = load_nvml()
    seen = WatchedNvml([h100("GPU-a")], moments={"GPU-a": Moment()})
    watch = watch_of(seen)
    for bit, name in (
        (nvml.nvmlClocksThrottleReasonSwThermalSlowdown, "SW thermal"),
        (nvml.nvmlClocksThrottleReasonHwSlowdown, "HW slowdown"),
        (nvml.nvmlClocksThrottleReasonHwThermalSlowdown, "HW thermal"),
        (nvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown, "HW power brake"),
    ):
        seen.moments["GPU-a"].reasons = bit
        assert watch.read().slowed_by == (name,)


def test_a_machine_without_the_driver_is_unwatched(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    watch = watch_device("cuda:99", "cuda", os.environ)
    assert isinstance(watch.read(), NoReading)
    watch.close()


@pytest.mark.gpu
def test_a_real_gpu_is_read_and_our_own_process_is_no_neighbour():
    watch = watch_device("cuda:0", "cuda", os.environ)
    assert isinstance(watch, NvidiaWatch)
    reading = watch.read()
    assert reading.clock_mhz is not None
    assert os.getpid() not in [other.pid for other in watch.others()]
    watch.close()
