"""One workload, from the first check to the last."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from kernels_bench.arena import Admitted, Arena
from kernels_bench.clock import ContestantError, Lap, Timer
from kernels_bench.failures import failure
from kernels_bench.health import verdict
from kernels_bench.messages import Step, Task
from kernels_bench.method import SEED
from kernels_bench.race import Heat, Laps, Result, lineup, race, warm_up
from kernels_bench.spec import Failed, Health, Outcome, Timed, Wrong

if TYPE_CHECKING:
    from kernels_bench.floor import Peaks
    from kernels_bench.workbench import Workbench

FLOOR_ALLOWED = 1.1
"""Of the physical floor over the time: the peaks behind it are measured, and a cache may help."""


class Bout:
    """Checks everybody, races those who are right, and checks again what was raced."""

    def __init__(
        self,
        task: Task,
        bench: Workbench[Any],
        arena: Arena,
        floor_us: Callable[[Peaks], float],
        on_step: Callable[[Step], None],
    ) -> None:
        self._task, self._bench, self._arena, self._floor_us = task, bench, arena, floor_us
        self._on_step = on_step
        self._out: dict[int, Outcome] = {}
        self._admitted: dict[int, Admitted] = {}

    def outcomes(self) -> tuple[Outcome, ...]:
        """Of every entrant, in their order."""
        for index in range(len(self._task.entrants)):
            self._admit(index)
        while self._admitted:
            try:
                self._plan_again()
                self._race()
                break
            except ContestantError as error:
                self._exclude(error.index, failure(error.error))
        return tuple(self._out[index] for index in range(len(self._task.entrants)))

    def _admit(self, index: int) -> None:
        self._on_step(Step(index, "check"))
        match self._arena.admit(self._task.entrants[index], self._bench.clock):
            case Admitted() as admitted:
                self._admitted[index] = admitted
            case refusal:
                self._exclude(index, refusal)

    def _plan_again(self) -> None:
        """Read the plans once more, now that everybody was checked, and keep the shorter time of
        each: whoever else is at work on the host only adds to it, and seldom does so both times.
        Raises ContestantError, by entrant.
        """
        for index in self._admitted:
            self._on_step(Step(index, "time"))
            admitted = self._admitted[index]
            try:
                again_us = self._bench.clock.plan_us(admitted.contestant)
            except Exception as error:  # a candidate's code: whatever it raises is its outcome
                raise ContestantError(index, error) from error
            probe = replace(admitted.probe, plan_us=min(admitted.probe.plan_us, again_us))
            self._admitted[index] = replace(admitted, probe=probe)

    def _race(self) -> None:
        """Raises ContestantError, by entrant: the others run again without it."""
        order = list(self._admitted)
        costs_us = [self._coarse_cost_us(self._admitted[index]) for index in order]
        racing = [order[i] for i in lineup(costs_us, self._task.rules)]
        timers = {index: self._ready(index) for index in racing}
        heat = self._heat(timers)
        health = verdict(heat.readings, heat.voided_rounds, self._bench.neighbours)
        noise = heat.results[0].noise
        # First readings are of a faster clock than the race's.
        slower = heat.results[0].run_us / self._admitted[racing[0]].probe.run_us
        for index in order:
            if index in timers:
                result = heat.results[racing.index(index)]
                wrong = self._arena.recheck(self._task.entrants[index], timers[index].rerun)
            else:  # too far behind to be worth a race: the one reading is its time
                probe = self._admitted[index].probe
                run_us = probe.run_us * slower
                result = Result(run_us, probe.call_us, noise, samples=1, rounds_us=())
                wrong = None
            self._out[index] = wrong or self._timed(index, result, health)
        self._admitted.clear()

    def _coarse_cost_us(self, admitted: Admitted) -> float:
        probe = admitted.probe
        host_us = None if admitted.contestant.captured else probe.call_us
        return Lap(probe.run_us, host_us).us + self._plan_us(admitted)

    def _plan_us(self, admitted: Admitted) -> float:
        """What a layer bears of it."""
        return admitted.probe.plan_us / self._task.spec.num_layers

    def _ready(self, index: int) -> Timer:
        self._on_step(Step(index, "time"))
        try:
            admitted = self._admitted[index]
            timer: Timer = self._bench.clock.ready(
                admitted.contestant, admitted.probe, self._task.rules
            )
        except Exception as error:  # a candidate's code: whatever it raises is its outcome
            raise ContestantError(index, error) from error
        return timer

    def _heat(self, timers: dict[int, Timer]) -> Heat:
        indices, ready, rules = list(timers), list(timers.values()), self._task.rules
        plans_us = [self._plan_us(self._admitted[index]) for index in indices]

        def run_round(order: Sequence[int]) -> Laps:
            return self._bench.clock.round(ready, order, partial(self._announce, indices))

        try:
            if rules.heat or not self._bench.is_warm:
                warm_up(run_round, len(ready), rules)
                self._bench.is_warm = True
            return race(run_round, plans_us, rules, self._bench.watch, random.Random(SEED))
        except ContestantError as error:
            raise ContestantError(indices[error.index], error.error) from error

    def _timed(self, index: int, result: Result, health: Health) -> Timed | Wrong:
        fraction = self._floor_fraction(result.run_us)
        if fraction > FLOOR_ALLOWED:
            return Wrong("floor", error=fraction, allowed=FLOOR_ALLOWED)
        admitted = self._admitted[index]
        call_us = admitted.probe.call_us if result.call_us is None else result.call_us
        return Timed(
            gpu_us=result.run_us,
            call_us=result.run_us if call_us is None else call_us,
            plan_us=admitted.probe.plan_us,
            noise=result.noise,
            samples=result.samples,
            floor_fraction=fraction,
            is_captured=admitted.contestant.captured,
            rounds_us=result.rounds_us,
            health=health,
        )

    def _floor_fraction(self, run_us: float) -> float:
        dtype = self._task.spec.dtype
        fraction = self._floor_us(self._bench.peaks(dtype)) / run_us
        if fraction > FLOOR_ALLOWED:  # or somebody else had the device while peaks were measured
            fraction = self._floor_us(self._bench.peaks_again(dtype)) / run_us
        return fraction

    def _exclude(self, index: int, outcome: Wrong | Failed) -> None:
        """A fault that leaves the device unusable ends this process: the parent knows from the last
        step who is to blame, and goes on in another.
        """
        self._admitted.pop(index, None)
        self._out[index] = outcome
        if isinstance(outcome, Failed):
            self._bench.outlive(outcome, partial(self._on_step, Step(index, "time")))

    def _announce(self, indices: list[int], turn: int | None) -> None:
        self._on_step(Step(None if turn is None else indices[turn], "time"))
