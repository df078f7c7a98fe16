"""Times candidates side by side, and stops as soon as the answer is clear.

Candidates run in rounds, interleaved, in random order and then in reverse, so that a drifting clock
hits all of them alike; each is compared with the others inside the same round.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from kernels_bench.clock import Clock, OnTurn, TimerT
from kernels_bench.health import Reading, Watch, disturbed
from kernels_bench.rules import Rules
from kernels_bench.standings import Noise, Round, Standing, Undecided, log_ratio, noise_of, standing

_LONG_US = 20_000.0
"""From here on a call costs more time than a close race is worth."""
_LONG_CHALLENGERS, _LONG_ROUNDS = 2, 8
_STEADY_ROUNDS, _STEADY = 3, 0.01


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
