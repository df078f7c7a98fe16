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
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

if TYPE_CHECKING:
    from kernels_bench.backends.base import Launch
    from kernels_bench.batch import Batch
    from kernels_bench.spec import Device

_MAD_TO_SIGMA = 1.4826


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


CPU_RULES = Rules()
# Blocks of 1 ms: a replay costs about 15 us whatever it holds, 1.5 % even before it is subtracted
# (one H100, driver 580).
GPU_RULES = Rules(min_rounds=5, max_rounds=20, block_us=1_000.0, max_calls=48, seconds=1.0)


def rules_for(device: Device) -> Rules:
    """A GPU's noise falls with many short blocks, a CPU's with long ones."""
    return CPU_RULES if device.kind == "cpu" else GPU_RULES


@dataclass(frozen=True)
class Contestant:
    """A candidate, bound once to every page set."""

    launches: tuple[Launch, ...]
    batches: tuple[Batch, ...]
    """What each launch reads."""
    captured: bool
    """Whether an engine would replay it from a CUDA graph in this phase."""
    is_cold: bool = True
    """Whether the page sets fill the last-level cache often enough to find it cold."""

    def plan(self) -> None:
        """Every launch, for the lengths as they are now."""
        for launch in self.launches:
            launch.plan()


class Timer(Protocol):
    """A contestant that is planned, warmed up and ready to be timed."""

    def call_us(self) -> float:
        """Host time of one call, run eagerly."""

    def plan_us(self) -> float:
        """Host time of one plan."""

    def rerun(self) -> None:
        """Once more what was timed, so that its output can be checked."""


OnTurn: TypeAlias = Callable[["int | None"], None]
"""Hears who is about to run; None: several, and nobody alone is to blame."""


TimerT = TypeVar("TimerT", bound=Timer)


class Clock(Protocol[TimerT]):
    """Times contestants on one kind of device."""

    def ready(self, contestant: Contestant, rules: Rules) -> TimerT:
        """Plan, warm up, and size a block. Raises what the candidate raises."""

    def round_us(
        self, timers: Sequence[TimerT], order: Sequence[int], on_turn: OnTurn
    ) -> list[float]:
        """One block of everyone, run in this order: mean time of a call, by timer.

        Raises ContestantError where it is known who failed.
        """

    def best_us(self, call: Callable[[], object]) -> float:
        """The shortest of a few runs of something that is no contestant."""


@dataclass(frozen=True)
class Result:
    """What a race says of one contestant."""

    run_us: float
    """Median of a call; for a challenger the incumbent's median times the median paired ratio."""
    call_us: float
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
    timers: Sequence[TimerT],
    clock: Clock[TimerT],
    rules: Rules,
    on_turn: OnTurn = lambda _: None,
) -> tuple[Result, ...]:
    """Time all; the first is the incumbent."""
    rounds: list[list[float]] = []
    deadline = time.perf_counter() + rules.seconds
    while len(rounds) < rules.max_rounds:
        if len(rounds) >= rules.min_rounds and time.perf_counter() > deadline:
            break
        rounds.append(clock.round_us(timers, turn_order(len(timers), len(rounds)), on_turn))
    return summarise(rounds, [_host_us(index, timer) for index, timer in enumerate(timers)])


def turn_order(count: int, round_number: int) -> list[int]:
    """Every other round is reversed, every second one rotated: nobody always opens, or follows the
    same. Rotating every round would undo the reversal: of two, one would always open.
    """
    order = [(index + round_number // 2) % count for index in range(count)]
    return order[::-1] if round_number % 2 else order


def summarise(
    rounds: Sequence[Sequence[float]], host_us: Sequence[tuple[float, float]]
) -> tuple[Result, ...]:
    """Rounds of times, the incumbent first, to one result a contestant. Pure.

    `host_us` are the times of a call and of a plan.
    """
    incumbent = [math.log(times[0]) for times in rounds]
    base = median(incumbent)
    results = []
    for index, (call_us, plan_us) in enumerate(host_us):
        own = [math.log(times[index]) for times in rounds]
        relative = own if index == 0 else [x - y for x, y in zip(own, incumbent, strict=True)]
        centre = median(relative)
        noise = _MAD_TO_SIGMA * median([abs(x - centre) for x in relative])
        run_us = math.exp(centre if index == 0 else base + centre)
        results.append(Result(run_us, call_us, plan_us, noise, len(rounds)))
    return tuple(results)


def _host_us(index: int, timer: Timer) -> tuple[float, float]:
    try:
        return timer.call_us(), timer.plan_us()
    except Exception as error:  # a candidate's code: whatever it raises is its outcome
        raise ContestantError(index, error) from error
