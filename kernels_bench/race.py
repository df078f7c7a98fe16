"""Times candidates side by side, and stops as soon as the answer is clear.

Candidates run in rounds, interleaved, in random order and then in reverse, so that a drifting clock
hits all of them alike; each is compared with the others inside the same round.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

from kernels_bench.health import Reading, Watch, disturbed
from kernels_bench.standings import Noise, Round, Standing, Undecided, log_ratio, noise_of, standing

if TYPE_CHECKING:
    from kernels_bench.backends.base import Launch
    from kernels_bench.batch import Batch
    from kernels_bench.spec import Device

_LONG_US = 20_000.0
"""From here on a call costs more time than a close race is worth."""
_LONG_CHALLENGERS, _LONG_ROUNDS = 2, 8
_STEADY_ROUNDS, _STEADY = 3, 0.01


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
    hopeless: float = 2.0
    """Whose probe is more than so many times the best is not raced."""
    hopeless_us: float = 200.0
    """But no probe below this: what a short call costs to start, and what the cache still holds,
    is too large a part of it.
    """
    screen_rounds: int = 2
    """Not recorded."""
    screen_ratio: float = 1.25
    """Whose best round of the screen is more than so many times the best is sent home."""
    noisy: float = 0.02
    """Relative spread of one contestant's times, without the drift that all share."""
    noisy_rounds: int = 40
    """Instead of `max_rounds` while it is noisy; not where `min_rounds` equals that, which asks for
    exactly so many.
    """
    max_voided: int = 5
    """Disturbed rounds that are thrown away; after so many they count."""
    apart: bool = False
    """Wait for the device after every block: slower and noisier, but a fault shows whose it is."""
    warm_seconds: float = 0.15
    max_warm_seconds: float = 0.5

    def rounds_at(self, noise: float) -> int:
        """How many at most, at this relative spread of one contestant's times."""
        is_fixed = self.min_rounds == self.max_rounds
        return self.max_rounds if is_fixed or noise <= self.noisy else self.noisy_rounds

    def at_most(self, rounds: int) -> Rules:
        """These, for a race that is shorter."""
        least, most = min(self.min_rounds, rounds), min(self.max_rounds, rounds)
        return replace(self, min_rounds=least, max_rounds=most, noisy_rounds=most)


CPU_RULES = Rules()
# Blocks of 1 ms: a replay costs about 15 us whatever it holds, 1.5 % even before it is subtracted
# (one H100, driver 580).
GPU_RULES = Rules(block_us=1_000.0, max_calls=48, seconds=1.0)


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


@dataclass(frozen=True)
class Probe:
    """A first look at a contestant."""

    run_us: float
    """Of a call; once, where it is long."""
    call_us: float | None
    """What handing a call over took the host; None where a call returns when its work is done."""


class Timer(Protocol):
    """A contestant that is planned, warmed up and ready to be timed."""

    def call_us(self) -> float | None:
        """What handing a call over took the host in the rounds; None where they do not show it."""

    def rerun(self) -> None:
        """Once more what was timed, so that its output can be checked."""


OnTurn: TypeAlias = Callable[["int | None"], None]
"""Hears who is about to run; None: several, and nobody alone is to blame."""


TimerT = TypeVar("TimerT", bound=Timer)


class Clock(Protocol[TimerT]):
    """Times contestants on one kind of device. What a candidate raises goes through, unless said
    otherwise.
    """

    def probe(self, contestant: Contestant) -> Probe:
        """Plan the first launch, run it, and read the time of a call, coarsely. What the last run
        wrote is in the output.
        """

    def ready(self, contestant: Contestant, probe: Probe, rules: Rules) -> TimerT:
        """Size a block from the probe of this contestant, and prepare it."""

    def round_us(
        self, timers: Sequence[TimerT], order: Sequence[int], on_turn: OnTurn
    ) -> dict[int, float]:
        """One block of each in `order`, and of nobody else, in this order: mean time of a call.

        Raises ContestantError where it is known who failed.
        """

    def plan_us(self, contestant: Contestant) -> float:
        """Host time of one plan."""

    def deployed(self, contestant: Contestant) -> Callable[[], object]:
        """The first launch's call as an engine makes it."""

    def waits(self, plan: Callable[[], object]) -> bool:
        """Whether a plan waits for the device."""

    def best_us(self, call: Callable[[], object]) -> float:
        """The shortest of a few runs of something that is no contestant."""


@dataclass(frozen=True)
class Result:
    """What a race says of one contestant."""

    run_us: float
    """Median of a call; for a challenger the incumbent's median times the median paired ratio."""
    noise: float
    """Relative spread, in one round, of the ratio between two contestants, pooled over all, or its
    own where that is larger: the standard error of a challenger's ratio is
    1.253 * noise / sqrt(samples).
    """
    samples: int
    """Rounds: the recorded ones, or those of the screen where it went no further."""
    rounds_us: tuple[float, ...]
    """Times of a call in the recorded rounds that it took part in, from the first."""


@dataclass(frozen=True)
class Heat:
    """A whole race."""

    results: tuple[Result, ...]
    standing: Standing
    voided_rounds: int
    readings: tuple[Reading, ...]
    """Before, between and after the rounds."""


class ContestantError(Exception):
    """A contestant raised while it was timed."""

    def __init__(self, index: int, error: Exception) -> None:
        super().__init__(f"contestant {index}: {error}")
        self.index, self.error = index, error


def lineup(probes_us: Sequence[float], rules: Rules) -> tuple[int, ...]:
    """Whom to race, by coarse times: the incumbent, which is the first, and whoever has hope."""
    slowest_us = max(rules.hopeless_us, rules.hopeless * min(probes_us))
    return tuple(i for i, probe_us in enumerate(probes_us) if i == 0 or probe_us <= slowest_us)


def finalists(screen: Sequence[Round], contestants: int, rules: Rules) -> tuple[int, ...]:
    """Whom to race on after the screen: the incumbent always; of long calls two challengers."""
    if not screen:
        return tuple(range(contestants))
    best_us = {index: min(times[index] for times in screen) for index in range(contestants)}
    slowest_us = rules.screen_ratio * min(best_us.values())
    close = [index for index in range(1, contestants) if best_us[index] <= slowest_us]
    if _is_long(screen):
        close = sorted(close, key=best_us.__getitem__)[:_LONG_CHALLENGERS]
    return (0, *sorted(close))


def warm_up(timers: Sequence[TimerT], clock: Clock[TimerT], rules: Rules, on_turn: OnTurn) -> None:
    """Whole rounds until the incumbent's time is steady: an idle device has lowered its clocks."""
    started = time.perf_counter()
    recent: list[float] = []
    spent_s = 0.0
    while spent_s < rules.max_warm_seconds:
        recent.append(clock.round_us(timers, range(len(timers)), on_turn)[0])
        recent = recent[-_STEADY_ROUNDS:]
        spent_s = time.perf_counter() - started
        is_steady = len(recent) == _STEADY_ROUNDS and max(recent) < (1 + _STEADY) * min(recent)
        if is_steady and spent_s >= rules.warm_seconds:
            return


def race(
    timers: Sequence[TimerT],
    clock: Clock[TimerT],
    rules: Rules,
    watch: Watch,
    order_of: random.Random,
    on_turn: OnTurn = lambda _: None,
) -> Heat:
    """Time all; the first is the incumbent. Raises ContestantError."""
    deadline = time.perf_counter() + rules.seconds
    track = _Track(lambda order: clock.round_us(timers, order, on_turn), watch, order_of)
    everybody = tuple(range(len(timers)))
    screen_rounds = rules.screen_rounds if len(timers) > 1 else 0
    screen = [track.round_us(everybody, rules.max_voided) for _ in range(screen_rounds)]
    alive = finalists(screen, len(timers), rules)
    if screen and _is_long(screen):
        rules = rules.at_most(_LONG_ROUNDS)
    rounds: list[Round] = []
    while True:
        rounds.append(track.round_us(alive, rules.max_voided))
        if len(rounds) < rules.min_rounds:
            continue
        noise = noise_of(rounds)
        most = rules.rounds_at(noise.pooled / math.sqrt(2))
        is_last = len(rounds) >= most or time.perf_counter() > deadline
        verdict = standing(rounds, alive, most - rules.min_rounds + 1, is_last)
        if not isinstance(verdict, Undecided):
            results = tuple(_result(index, screen, rounds, noise) for index in everybody)
            return Heat(results, verdict, track.voided, tuple(track.readings))
        alive = verdict.alive


class _Track:
    """Runs one round after the other, and throws away those that were disturbed."""

    def __init__(
        self,
        run: Callable[[Sequence[int]], dict[int, float]],
        watch: Watch,
        order_of: random.Random,
    ) -> None:
        self._run, self._watch, self._order_of = run, watch, order_of
        self._last: tuple[int, ...] = ()
        """The order to be reversed next; none, where the next one is drawn."""
        self.voided = 0
        self.readings = [watch.read()]

    def round_us(self, alive: Sequence[int], max_voided: int) -> Round:
        while True:
            times_us = self._run(self._next_order(alive))
            self.readings.append(self._watch.read())
            if disturbed(*self.readings[-2:]) is None or self.voided == max_voided:
                return times_us
            self.voided += 1

    def _next_order(self, alive: Sequence[int]) -> tuple[int, ...]:
        if self._last:
            order = tuple(index for index in self._last[::-1] if index in alive)
            self._last = ()
        else:
            order = self._last = tuple(self._order_of.sample(alive, len(alive)))
        return order


def _is_long(screen: Sequence[Round]) -> bool:
    return min(us for times in screen for us in times.values()) >= _LONG_US


def _result(index: int, screen: Sequence[Round], rounds: Sequence[Round], noise: Noise) -> Result:
    rounds_us = tuple(times[index] for times in rounds if index in times)
    base_us = median(times[0] for times in rounds)
    if rounds_us:
        run_us = base_us * math.exp(log_ratio(rounds, index, 0))
        return Result(run_us, noise.of(index), len(rounds_us), rounds_us)
    run_us = base_us * math.exp(log_ratio(screen, index, 0))
    return Result(run_us, noise.pooled, len(screen), rounds_us=())
