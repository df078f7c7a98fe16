"""The clock for a CPU, where a call returns when its work is done."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from statistics import median

from kernels_bench.clock import Contestant, ContestantError, Lap, OnTurn, Probe
from kernels_bench.rules import Rules

HOST_SAMPLES = 5
"""Host times are medians of so many."""
_PROBES = 2


def wall_us(calls: Sequence[Callable[[], object]]) -> float:
    """Mean wall time of a call."""
    start = time.perf_counter_ns()
    for call in calls:
        call()
    return (time.perf_counter_ns() - start) / 1e3 / len(calls)


class HostClock:
    """Walks through the page sets without a break, block after block.

    `block_us` takes the calls of a block and gives the mean time of one.
    """

    def __init__(
        self, block_us: Callable[[Sequence[Callable[[], object]]], float] = wall_us
    ) -> None:
        self._block_us = block_us

    def probe(self, contestant: Contestant) -> Probe:
        """Plans every page set first: the race plans nothing more."""
        contestant.plan()
        run = contestant.launches[0].run
        plan_us = self.plan_us(contestant)
        run()  # the first call of all allocates
        run_us = min(self._block_us([run]) for _ in range(_PROBES))
        return Probe(run_us, call_us=None, plan_us=plan_us)

    def plan_us(self, contestant: Contestant) -> float:
        """Host time of the first launch's plan."""
        plan = contestant.launches[0].plan
        return median(wall_us([plan]) for _ in range(HOST_SAMPLES))

    def ready(self, contestant: Contestant, probe: Probe, rules: Rules) -> HostTimer:
        """Choose how many calls make a block."""
        wanted = math.ceil(rules.block_us / max(probe.run_us, 1e-3))
        return HostTimer(contestant, self._block_us, max(1, min(wanted, rules.max_calls)))

    def round(
        self, timers: Sequence[HostTimer], order: Sequence[int], on_turn: OnTurn
    ) -> dict[int, Lap]:
        """One block after the other."""
        laps: dict[int, Lap] = {}
        for index in order:
            on_turn(index)
            try:
                laps[index] = Lap(timers[index].time_us())
            except Exception as error:  # a candidate's code: whatever it raises is its outcome
                raise ContestantError(index, error) from error
        return laps

    def deployed(self, contestant: Contestant) -> Callable[[], object]:
        """The first launch's call: nothing is replayed on a CPU."""
        return contestant.launches[0].run

    def waits(self, plan: Callable[[], object]) -> bool:
        """No: nothing is queued that a plan could wait for."""
        return False

    def best_us(self, call: Callable[[], object]) -> float:
        """The shortest of a few runs."""
        return min(self._block_us([call]) for _ in range(HOST_SAMPLES))


class HostTimer:
    """Repeated calls of one contestant."""

    def __init__(
        self,
        contestant: Contestant,
        block_us: Callable[[Sequence[Callable[[], object]]], float],
        calls: int,
    ) -> None:
        self._launches, self._block_us, self._calls = contestant.launches, block_us, calls
        self._next_set = 0

    def time_us(self) -> float:
        """One block."""
        count = len(self._launches)
        calls = [self._launches[(self._next_set + i) % count].run for i in range(self._calls)]
        self._next_set = (self._next_set + self._calls) % count
        return self._block_us(calls)

    def rerun(self) -> None:
        """On the last page set: a stale plan shows only there."""
        self._launches[-1].run()
