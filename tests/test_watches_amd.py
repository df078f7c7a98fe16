"""The answers below have the shape that amdsmi 7.0.2 gives them."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

import pytest
from test_devices_amd import Board, FakeAmdsmi, FakeError

from kernels_bench.health import GpuReading, Neighbour, NoReading, disturbed
from kernels_bench.watches import watch_device
from kernels_bench.watches.amd import watch_amd

OURS = frozenset({100, 99})
NO_RESIDENCY = dict.fromkeys(
    (
        "prochot_residency_acc",
        "ppt_residency_acc",
        "socket_thm_residency_acc",
        "vr_thm_residency_acc",
        "hbm_thm_residency_acc",
    ),
    "N/A",
)


def metrics(**changes):
    """Of an MI300X."""
    return {
        "temperature_edge": "N/A",
        "temperature_hotspot": 55,
        "current_gfxclk": 2100,
        "current_gfxclks": [2100, 2090, 2110, 2100, 2100, 2100, 2100, 2100],
        "throttle_status": "N/A",
        "prochot_residency_acc": 7,
        "ppt_residency_acc": 1_000,
        "socket_thm_residency_acc": 0,
        "vr_thm_residency_acc": 0,
        "hbm_thm_residency_acc": 3,
    } | changes


@dataclass
class WatchedAmdsmi(FakeAmdsmi):
    metrics: dict[str, list[dict]] = field(default_factory=dict)
    """By serial number; each look takes the next."""
    processes: list[dict] | None = None
    open_sessions: int = 0

    def amdsmi_init(self):
        super().amdsmi_init()
        self.open_sessions += 1

    def amdsmi_shut_down(self):
        self.open_sessions -= 1

    def amdsmi_get_gpu_metrics_info(self, handle):
        if not self.metrics.get(handle.serial):
            raise FakeError("Error code:\n\t2 | AMDSMI_STATUS_NOT_SUPPORTED - not supported")
        return self.metrics[handle.serial].pop(0)

    def amdsmi_get_gpu_process_list(self, _handle):
        if self.processes is None:
            raise FakeError("AMDSMI_STATUS_NO_PERM")
        return self.processes


def process(pid, name="python3", vram_bytes=1 << 30):
    return {
        "name": name,
        "pid": pid,
        "mem": 5 << 30,
        "engine_usage": {"gfx": 0, "enc": 0},
        "memory_usage": {"gtt_mem": 0, "cpu_mem": 0, "vram_mem": vram_bytes},
    }


def watch_of(smi, selector="cuda:0", environ=None):
    return watch_amd(smi, selector, environ or {}, OURS)


def looks_at(*moments):
    watch = watch_of(WatchedAmdsmi([Board("0x0A", 0)], metrics={"0x0A": list(moments)}))
    return [watch.read() for _ in moments]


def test_a_look_tells_the_median_clock_of_the_dies_and_the_hottest_spot():
    assert looks_at(metrics()) == [GpuReading(2100, 55)]


@pytest.mark.parametrize(
    ("changes", "clock_mhz"),
    [
        ({"current_gfxclks": [2000, "N/A", 0, 2100], "current_gfxclk": 1}, 2050),
        ({"current_gfxclks": ["N/A"] * 8, "current_gfxclk": 1700}, 1700),
        ({"current_gfxclks": ["N/A"] * 8, "current_gfxclk": "N/A"}, None),
    ],
)
def test_a_part_with_one_clock_tells_that(changes, clock_mhz):
    assert looks_at(metrics(**changes)) == [GpuReading(clock_mhz, 55)]


def test_a_slowdown_is_a_counter_that_grew_since_the_last_look():
    first, second, third = looks_at(
        metrics(),
        metrics(hbm_thm_residency_acc=9, prochot_residency_acc=8),
        metrics(hbm_thm_residency_acc=9, prochot_residency_acc=8),
    )
    assert first.slowed_by == ()
    assert second.slowed_by == ("HW thermal", "HBM thermal")
    assert disturbed(first, second) is not None
    assert third.slowed_by == ()


def test_the_power_cap_is_no_slowdown():
    _, second = looks_at(metrics(), metrics(ppt_residency_acc=2_000))
    assert second.slowed_by == ()


def test_an_older_part_without_counters_is_never_slowed_by_a_guess():
    older = metrics(**NO_RESIDENCY, throttle_status=True, temperature_hotspot="N/A")
    assert looks_at(older, older) == [GpuReading(2100, None)] * 2


def test_a_guest_that_is_refused_knows_nothing():
    watch = watch_of(WatchedAmdsmi([Board("0x0A", 0)]))
    assert watch.read() == GpuReading(None, None)
    assert watch.others() == ()


def test_the_gpu_is_the_one_that_hip_numbers_so():
    smi = WatchedAmdsmi(
        [Board("0x0A", 1), Board("0x0B", 0)],
        metrics={"0x0A": [metrics(temperature_hotspot=40)]},
    )
    assert watch_of(smi, "cuda:1").read().temperature_c == 40
    smi.metrics["0x0A"].append(metrics(temperature_hotspot=41))
    watch = watch_of(smi, "cuda:0", {"HIP_VISIBLE_DEVICES": "1"})
    assert watch.read().temperature_c == 41


def test_others_are_all_processes_but_ours_with_the_memory_of_the_gpu():
    processes = [process(100), process(4711), process(99), process(12, "N/A", "N/A")]
    watch = watch_of(WatchedAmdsmi([Board("0x0A", 0)], processes=processes))
    assert watch.others() == (Neighbour(4711, 1 << 30, "python3"), Neighbour(12, None, ""))


@pytest.mark.parametrize(
    ("smi", "selector", "why"),
    [
        (
            WatchedAmdsmi([], works=False),
            "cuda:0",
            "Error code: 34 | AMDSMI_STATUS_DRIVER_NOT_LOADED - not loaded",
        ),
        (WatchedAmdsmi([Board("0x0A", 0)]), "cuda:1", "amdsmi knows no cuda:1"),
    ],
)
def test_a_gpu_that_cannot_be_found_is_unwatched_and_says_why(smi, selector, why):
    watch = watch_of(smi, selector)
    assert watch.read() == NoReading(why)
    watch.close()
    assert smi.open_sessions == 0


def test_a_driver_that_fails_while_the_gpu_is_looked_for_is_let_go():
    class Failing(WatchedAmdsmi):
        def amdsmi_get_processor_handles(self):
            raise FakeError("the GPU is gone")

    smi = Failing([])
    assert watch_of(smi).read() == NoReading("the GPU is gone")
    assert smi.open_sessions == 0


def test_amdsmi_stays_open_until_the_watch_is_closed():
    smi = WatchedAmdsmi([Board("0x0A", 0)])
    watch = watch_of(smi)
    assert smi.open_sessions == 1
    watch.close()
    assert smi.open_sessions == 0


def test_a_library_that_prints_and_raises_at_import_is_a_reason(tmp_path, monkeypatch, capfd):
    (tmp_path / "amdsmi.py").write_text("print('Unable to find it')\n{}['libamd_smi.so']\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "amdsmi", raising=False)
    watch = watch_device("cuda:0", "rocm", {})
    assert watch.read() == NoReading("amdsmi finds no ROCm library: 'libamd_smi.so'")
    assert capfd.readouterr() == ("", "")
