"""Times candidates side by side. What lies behind `race` may change; its results' meaning may not.

Candidates run in rounds, interleaved, in rotated and reversed order, so that a drifting clock hits
all of them alike; each is then compared with the incumbent inside the same round.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from kernels_bench.backends.base import Launch

_T = TypeVar("_T")
_MAD_TO_SIGMA = 1.4826
_PLAN_SAMPLES = 5


class Clock(Protocol):
    """Times calls on one kind of device."""

    def block_us(self, calls: Sequence[Callable[[], None]]) -> float:
        """Mean time of one call, microseconds."""


class HostClock:
    """For a CPU, where a call returns when its work is done."""

    def block_us(self, calls: Sequence[Callable[[], None]]) -> float:
        """Wall time over the calls."""
        start = time.perf_counter_ns()
        for call in calls:
            call()
        return (time.perf_counter_ns() - start) / 1e3 / len(calls)


@dataclass(frozen=True)
class Rules:
    """How long to measure."""

    min_rounds: int = 5
    max_rounds: int = 15
    block_us: float = 4_000.0
    """Calls are repeated until a block lasts this long."""
    max_calls: int = 32
    seconds: float = 3.0
    """No round is started after this time, once `min_rounds` are done."""


@dataclass(frozen=True)
class Contestant:
    """A candidate, bound once to every page set."""

    launches: tuple[Launch, ...]


@dataclass(frozen=True)
class Result:
    """What a race says of one contestant."""

    run_us: float
    """Median of a call; for a challenger the incumbent's median times the median paired ratio."""
    plan_us: float
    noise: float
    """Robust relative spread of the paired ratios; of the times themselves for the incumbent."""
    samples: int


class ContestantError(Exception):
    """A contestant raised while it was timed."""

    def __init__(self, index: int, error: Exception) -> None:
        super().__init__(f"contestant {index}: {error}")
        self.index, self.error = index, error


def race(
    contestants: Sequence[Contestant],
    clock: Clock,
    rules: Rules,
    on_turn: Callable[[int], None] = lambda _: None,
) -> tuple[Result, ...]:
    """Time all; the first is the incumbent. `on_turn` hears who is about to run."""
    blocks = [_Block(index, contestant, clock) for index, contestant in enumerate(contestants)]
    for block in blocks:
        on_turn(block.index)
        block.settle(rules)
    rounds: list[list[float]] = []
    deadline = time.perf_counter() + rules.seconds
    while len(rounds) < rules.max_rounds:
        if len(rounds) >= rules.min_rounds and time.perf_counter() > deadline:
            break
        times = [0.0] * len(blocks)
        for index in turn_order(len(blocks), len(rounds)):
            on_turn(index)
            times[index] = blocks[index].time_us()
        rounds.append(times)
    plans = [block.plan_us() for block in blocks]
    return summarise(rounds, plans)


def turn_order(count: int, round_number: int) -> list[int]:
    """Every other round is reversed, every second one rotated: nobody always opens, or follows the
    same. Rotating every round would undo the reversal: of two, one would always open.
    """
    order = [(index + round_number // 2) % count for index in range(count)]
    return order[::-1] if round_number % 2 else order


def summarise(rounds: Sequence[Sequence[float]], plans: Sequence[float]) -> tuple[Result, ...]:
    """Rounds of times, the incumbent first, to one result a contestant. Pure."""
    incumbent = [math.log(times[0]) for times in rounds]
    base = median(incumbent)
    results = []
    for index, plan_us in enumerate(plans):
        own = [math.log(times[index]) for times in rounds]
        relative = own if index == 0 else [x - y for x, y in zip(own, incumbent, strict=True)]
        centre = median(relative)
        noise = _MAD_TO_SIGMA * median([abs(x - centre) for x in relative])
        run_us = math.exp(centre if index == 0 else base + centre)
        results.append(Result(run_us, plan_us, noise, len(rounds)))
    return tuple(results)


class _Block:
    """Repeated calls of one contestant, walking through its page sets."""

    def __init__(self, index: int, contestant: Contestant, clock: Clock) -> None:
        self.index, self.launches, self.clock = index, contestant.launches, clock
        self.calls = 1
        self.next_set = 0

    def settle(self, rules: Rules) -> None:
        """Plan every page set, warm up, and choose how many calls make a block."""
        self._guard(self._plan_all)
        self.time_us()
        estimate_us = self.time_us()
        wanted = math.ceil(rules.block_us / max(estimate_us, 1e-3))
        self.calls = max(1, min(wanted, rules.max_calls))

    def _plan_all(self) -> None:
        for launch in self.launches:
            launch.plan()

    def time_us(self) -> float:
        """One block."""
        count = len(self.launches)
        calls = [self.launches[(self.next_set + i) % count].run for i in range(self.calls)]
        self.next_set = (self.next_set + self.calls) % count
        return self._guard(lambda: self.clock.block_us(calls))

    def plan_us(self) -> float:
        """Median host time of `plan`."""
        host, plans = HostClock(), [self.launches[0].plan]
        return self._guard(lambda: median(host.block_us(plans) for _ in range(_PLAN_SAMPLES)))

    def _guard(self, act: Callable[[], _T]) -> _T:
        try:
            return act()
        except Exception as error:  # a candidate's code: whatever it raises is its outcome
            raise ContestantError(self.index, error) from error
