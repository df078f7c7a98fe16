"""The clock for a CPU, where a call returns when its work is done."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from statistics import median

from kernels_bench.race import Contestant, ContestantError, OnTurn, Rules

HOST_SAMPLES = 5
"""Host times are medians of so many."""


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

    def ready(self, contestant: Contestant, rules: Rules) -> HostTimer:
        """Plan every page set, warm up, and choose how many calls make a block."""
        contestant.plan()
        timer = HostTimer(contestant, self._block_us)
        timer.time_us()
        wanted = math.ceil(rules.block_us / max(timer.time_us(), 1e-3))
        timer.calls = max(1, min(wanted, rules.max_calls))
        timer.times_us.clear()
        return timer

    def round_us(
        self, timers: Sequence[HostTimer], order: Sequence[int], on_turn: OnTurn
    ) -> list[float]:
        """One block after the other."""
        times_us = [0.0] * len(timers)
        for index in order:
            on_turn(index)
            try:
                times_us[index] = timers[index].time_us()
            except Exception as error:  # a candidate's code: whatever it raises is its outcome
                raise ContestantError(index, error) from error
        return times_us

    def best_us(self, call: Callable[[], object]) -> float:
        """The shortest of a few runs."""
        return min(self._block_us([call]) for _ in range(HOST_SAMPLES))


class HostTimer:
    """Repeated calls of one contestant."""

    def __init__(
        self,
        contestant: Contestant,
        block_us: Callable[[Sequence[Callable[[], object]]], float],
    ) -> None:
        self._launches, self._block_us = contestant.launches, block_us
        self._next_set = 0
        self.calls = 1
        self.times_us: list[float] = []

    def time_us(self) -> float:
        """One block."""
        count = len(self._launches)
        calls = [self._launches[(self._next_set + i) % count].run for i in range(self.calls)]
        self._next_set = (self._next_set + self.calls) % count
        self.times_us.append(self._block_us(calls))
        return self.times_us[-1]

    def call_us(self) -> float:
        """On a CPU the host does the work."""
        return median(self.times_us)

    def plan_us(self) -> float:
        """Median of a few."""
        plan = self._launches[0].plan
        return median(wall_us([plan]) for _ in range(HOST_SAMPLES))

    def rerun(self) -> None:
        """On the last page set: a stale plan shows only there."""
        self._launches[-1].run()
