"""From the first check to the last, in this process, with torch's own attention on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import pytest
import torch
from bench_tasks import DEVICE, task

from kernels_bench.arena import Arena
from kernels_bench.batch import make_contents
from kernels_bench.bout import Bout
from kernels_bench.clock import Contestant, Lap, OnTurn, Probe
from kernels_bench.floor import Peaks, floor_us
from kernels_bench.gate import make_truth
from kernels_bench.health import NO_WATCH
from kernels_bench.host_clock import HostClock, HostTimer
from kernels_bench.messages import Task
from kernels_bench.spec import Failed, Outcome, Timed, Wrong
from kernels_bench.workbench import Workbench

A_BYTE_A_SECOND, AT_ONCE = Peaks(1.0, 1.0), Peaks(1e30, 1e30)


def outcome_with(
    measured: list[Peaks], monkeypatch: pytest.MonkeyPatch, clock: HostClock | None = None
) -> Outcome:
    """Of torch_sdpa, on a device whose peaks are measured as these, one after the other."""
    monkeypatch.setattr("kernels_bench.workbench.measure_peaks", lambda *_: measured.pop(0))
    (outcome,) = outcomes_of(task("torch_sdpa"), clock or HostClock())
    assert not measured
    return outcome


def outcomes_of(asked: Task, clock: HostClock, *, is_warm: bool = False) -> tuple[Outcome, ...]:
    contents = make_contents(asked.spec, asked.workload, torch.device("cpu"))
    arena = Arena(asked, contents, make_truth(asked.spec, contents))
    bench = Workbench(DEVICE, torch.device("cpu"), clock, NO_WATCH, ())
    bench.is_warm = is_warm
    floor = partial(floor_us, asked.spec, contents.requests)
    return Bout(asked, bench, arena, floor, lambda _: None).outcomes()


def test_a_sound_time_needs_no_second_measurement_of_the_peaks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert isinstance(outcome_with([AT_ONCE], monkeypatch), Timed)


def test_peaks_measured_beside_others_work_accuse_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = outcome_with([A_BYTE_A_SECOND, AT_ONCE], monkeypatch)
    assert isinstance(outcome, Timed), outcome
    assert outcome.floor_fraction < 1e-6


def test_who_is_faster_than_the_device_can_be_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = outcome_with([A_BYTE_A_SECOND, A_BYTE_A_SECOND], monkeypatch)
    assert isinstance(outcome, Wrong), outcome
    assert outcome.check == "floor"
    assert outcome.error > outcome.allowed == 1.1


class BusyHost(HostClock):
    """Reads these times of a plan, one after the other; None: the plan raises."""

    def __init__(self, *plans_us: float | None) -> None:
        super().__init__()
        self._plans_us = [*plans_us]

    def plan_us(self, contestant: Contestant) -> float:
        if (read_us := self._plans_us.pop(0)) is None:
            raise RuntimeError("cannot plan twice")
        return read_us


@pytest.mark.parametrize("plans_us", [(5000.0, 400.0), (400.0, 5000.0)])
def test_a_plan_that_somebody_else_s_work_held_up_once_costs_what_it_takes(
    plans_us: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = outcome_with([AT_ONCE], monkeypatch, BusyHost(*plans_us))
    assert isinstance(outcome, Timed), outcome
    assert outcome.plan_us == 400.0


def test_a_plan_that_raises_later_is_that_candidate_s_outcome(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outcome = outcome_with([], monkeypatch, BusyHost(400.0, None))
    assert isinstance(outcome, Failed), outcome
    assert "cannot plan twice" in outcome.message


class ColdAtFirst(HostClock):
    """First readings are of a clock that is twice as fast as the race's."""

    def __init__(self, *probes_us: float) -> None:
        super().__init__()
        self._probes_us = [*probes_us]
        self.rounds = 0

    def probe(self, contestant: Contestant) -> Probe:
        return replace(super().probe(contestant), run_us=self._probes_us.pop(0))

    def round(
        self, timers: Sequence[HostTimer], order: Sequence[int], on_turn: OnTurn
    ) -> dict[int, Lap]:
        self.rounds += 1
        return dict.fromkeys(order, Lap(2.0))


def test_who_is_not_raced_is_told_by_the_clock_of_the_race(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kernels_bench.workbench.measure_peaks", lambda *_: AT_ONCE)
    default, late = outcomes_of(task("torch_sdpa", "torch_sdpa"), ColdAtFirst(1.0, 1000.0))
    assert isinstance(default, Timed), default
    assert isinstance(late, Timed), late
    assert (default.gpu_us, late.gpu_us, late.samples) == (2.0, 2000.0, 1)


@pytest.mark.parametrize("heat", [0.0, 3.0])
def test_each_race_behind_products_is_warmed_up_for(
    heat: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kernels_bench.workbench.measure_peaks", lambda *_: AT_ONCE)
    asked = task("torch_sdpa")
    asked = replace(asked, rules=replace(asked.rules, heat=heat, warm_seconds=0.0))
    clock = ColdAtFirst(1.0)
    outcomes_of(asked, clock, is_warm=True)
    assert (clock.rounds > asked.rules.min_rounds) == (heat > 0)
