"""Times candidates side by side, and stops as soon as the answer is clear.

Candidates run in rounds, interleaved, in random order and then in reverse, so that a drifting clock
hits all of them alike; each is compared with the others inside the same round. What is compared is
what a layer costs: the slower of device and host, and the layer's share of a step's plan.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeAlias

from kernels_bench.clock import Lap
from kernels_bench.health import Reading, Watch, disturbed, idle
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
    """Median of the device's time of a call; for a challenger the incumbent's median times the
    median paired ratio.
    """
    call_us: float | None
    """Median of the host's time of a call, where somebody waits for that."""
    noise: float
    """Relative spread, in one round, of the ratio between the costs of two contestants, pooled over
    all, or its own where that is larger: the standard error of a challenger's ratio is
    1.253 * noise / sqrt(samples).
    """
    samples: int
    """Rounds: the recorded ones, or those of the screen where it went no further."""
    rounds_us: tuple[float, ...]
    """The device's times of a call in the recorded rounds that it took part in, from the first."""


@dataclass(frozen=True)
class Heat:
    """A whole race."""

    results: tuple[Result, ...]
    standing: Standing
    voided_rounds: int
    readings: tuple[Reading, ...]
    """Before, between and after the rounds."""


Laps: TypeAlias = Mapping[int, Lap]
"""Contestant -> its lap of one round."""
RunRound: TypeAlias = Callable[[Sequence[int]], Laps]
"""One block of each contestant, in this order. Raises ContestantError."""


def lineup(costs_us: Sequence[float], rules: Rules) -> tuple[int, ...]:
    """Whom to race, by coarse costs: the incumbent, which is the first, and whoever has hope."""
    slowest_us = max(rules.hopeless_us, rules.hopeless * min(costs_us))
    return tuple(i for i, cost_us in enumerate(costs_us) if i == 0 or cost_us <= slowest_us)


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


def warm_up(run_round: RunRound, contestants: int, rules: Rules) -> None:
    """Whole rounds until the incumbent's time is steady: an idle device has lowered its clocks."""
    started = time.perf_counter()
    recent: list[float] = []
    spent_s = 0.0
    while spent_s < rules.max_warm_seconds:
        recent.append(run_round(range(contestants))[0].device_us)
        recent = recent[-_STEADY_ROUNDS:]
        spent_s = time.perf_counter() - started
        is_steady = len(recent) == _STEADY_ROUNDS and max(recent) < (1 + _STEADY) * min(recent)
        if is_steady and spent_s >= rules.warm_seconds:
            return


def race(
    run_round: RunRound,
    plans_us: Sequence[float],
    rules: Rules,
    watch: Watch,
    order_of: random.Random,
) -> Heat:
    """Time all; the first is the incumbent. `plans_us` holds what a layer bears of each one's plan.

    Raises ContestantError.
    """
    deadline = time.perf_counter() + rules.seconds
    track = _Track(run_round, watch, order_of)
    everybody = tuple(range(len(plans_us)))
    screen_rounds = rules.screen_rounds if len(plans_us) > 1 else 0
    screen = [track.round(everybody, rules.max_voided) for _ in range(screen_rounds)]
    screened = [_costs(laps, plans_us) for laps in screen]
    alive = finalists(screened, len(plans_us), rules)
    if screen and _is_long(screened):
        rules = rules.at_most(_LONG_ROUNDS)
    ran: list[Laps] = []
    rounds: list[Round] = []
    while True:
        ran.append(track.round(alive, rules.max_voided))
        rounds.append(_costs(ran[-1], plans_us))
        if len(rounds) < rules.min_rounds:
            continue
        noise = noise_of(rounds)
        most = rules.rounds_at(noise.pooled / math.sqrt(2))
        is_last = len(rounds) >= most or time.perf_counter() > deadline
        verdict = standing(rounds, alive, most - rules.min_rounds + 1, is_last)
        if not isinstance(verdict, Undecided):
            results = tuple(_result(index, screen, ran, noise) for index in everybody)
            return Heat(results, verdict, track.voided, tuple(track.readings))
        alive = verdict.alive


class _Track:
    """Runs one round after the other, and throws away those that were disturbed."""

    def __init__(self, run: RunRound, watch: Watch, order_of: random.Random) -> None:
        self._run, self._watch, self._order_of = run, watch, order_of
        self._last: tuple[int, ...] = ()
        """The order to be reversed next; none, where the next one is drawn."""
        self.voided = 0
        self.readings = [idle(watch.read())]

    def round(self, alive: Sequence[int], max_voided: int) -> Laps:
        while True:
            laps = self._run(self._next_order(alive))
            self.readings.append(self._watch.read())
            if disturbed(*self.readings[-2:]) is None or self.voided == max_voided:
                return laps
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


def _costs(laps: Laps, plans_us: Sequence[float]) -> Round:
    return {index: lap.us + plans_us[index] for index, lap in laps.items()}


def _result(index: int, screen: Sequence[Laps], ran: Sequence[Laps], noise: Noise) -> Result:
    own = [laps[index] for laps in ran if index in laps]
    base_us = median(laps[0].device_us for laps in ran)
    if own:
        run_us = base_us * math.exp(log_ratio(_devices(ran), index, 0))
        rounds_us = tuple(lap.device_us for lap in own)
        return Result(run_us, _host_us(own), noise.of(index), len(own), rounds_us)
    own = [laps[index] for laps in screen]
    run_us = base_us * math.exp(log_ratio(_devices(screen), index, 0))
    return Result(run_us, _host_us(own), noise.pooled, len(own), rounds_us=())


def _devices(rounds: Sequence[Laps]) -> list[Round]:
    return [{index: lap.device_us for index, lap in laps.items()} for laps in rounds]


def _host_us(laps: Sequence[Lap]) -> float | None:
    times_us = [lap.host_us for lap in laps if lap.host_us is not None]
    return median(times_us) if times_us else None
