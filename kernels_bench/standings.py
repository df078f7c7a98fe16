"""What the rounds so far say: who is out, who has won. Pure; the first contestant is the incumbent.

All that counts are ratios of costs inside a round, as logarithms: a clock that drifts moves the
times of everybody alike, and cancels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from statistics import median
from typing import TypeAlias

PROMOTION_MARGIN = 0.02
"""A challenger takes this much less time, or the default stays: vLLM's segmented-attention tuner
and SGLang's diffusion tuner promote at the same 2 %."""
TIE_MARGIN = 0.01
"""Challengers this close to the best are equal: the earlier in the default's order is taken."""
REPLACE_MARGIN = 0.03
"""A winner that was stored goes only to one that takes this much less: above the promotion's, so
that two that are close do not take turns."""
CONFIDENCE = 0.99
"""One-sided, of every bound."""
MEDIAN_ERROR = 1.253
"""Standard error of a median over that of a mean, normal noise."""
LEAST_NOISE = 0.002 * math.sqrt(2)
"""Of a ratio: no reading of a GPU is better than 0.2 %, however few of them agree."""
MAD_TO_SIGMA = 1.4826
"""Of normal noise, from the median distance to the median."""
_CENTRED = 1.2
"""n distances from their own median are short by n / (n - 1.2): simulated, within 2 % from n = 5
on. The usual sqrt(n / (n - 1)) leaves them 17 % short at n = 5, since one of five is 0."""

_PROMOTED = math.log1p(-PROMOTION_MARGIN)

Round: TypeAlias = Mapping[int, float]
"""Contestant -> what a layer costs, of those who took part."""


@dataclass(frozen=True)
class Undecided:
    """Another round is needed."""

    alive: tuple[int, ...]
    """Who takes part in it: nobody else can be the best any more."""


@dataclass(frozen=True)
class Promoted:
    """A challenger takes the incumbent's place."""

    index: int


@dataclass(frozen=True)
class Kept:
    """The incumbent stays."""

    why: str


Standing: TypeAlias = Undecided | Promoted | Kept


def standing(
    rounds: Sequence[Round], alive: Sequence[int], looks: int, is_last: bool = False
) -> Standing:
    """Judge after any number of rounds; `alive` took part in all of them.

    `looks` is how often a race may be judged: the risk is shared between them.
    """
    challengers = [index for index in alive if index != 0]
    if not challengers:
        return Kept("there is no challenger")
    gaps = _Gaps(rounds, bounds(rounds, alive, looks))
    lead = {index: gaps.log(index, 0) for index in alive}
    ahead = [i for i in challengers if lead[i] <= _PROMOTED and gaps.highest(i, 0) < 0]
    if ahead:
        best = min(ahead, key=lead.__getitem__)
        rivals = [index for index in challengers if index != best]
        if is_last or all(gaps.highest(best, rival) < -_PROMOTED for rival in rivals):
            # Candidates stand in the default's order.
            return Promoted(min(i for i in ahead if lead[i] - lead[best] <= TIE_MARGIN))
    if all(gaps.lowest(index, 0) > _PROMOTED for index in challengers):
        return Kept(f"no challenger can be {100 * PROMOTION_MARGIN:g} % faster")
    if is_last:
        return Kept(f"nobody is {100 * PROMOTION_MARGIN:g} % faster beyond the noise: ambiguous")
    leader = min(alive, key=lead.__getitem__)
    return Undecided(tuple(i for i in alive if i == 0 or gaps.lowest(i, leader) <= 0))


@dataclass(frozen=True)
class _Gaps:
    """Logarithms of ratios between contestants, with their bounds."""

    rounds: Sequence[Round]
    widths: Mapping[int, float]

    def log(self, index: int, base: int) -> float:
        return log_ratio(self.rounds, index, base)

    def lowest(self, index: int, base: int) -> float:
        return self.log(index, base) - max(self.widths[index], self.widths[base])

    def highest(self, index: int, base: int) -> float:
        return self.log(index, base) + max(self.widths[index], self.widths[base])


def log_ratio(rounds: Sequence[Round], index: int, base: int) -> float:
    """Median over the rounds in which both took part."""
    both = (times for times in rounds if index in times and base in times)
    return median(math.log(times[index] / times[base]) for times in both)


def bounds(rounds: Sequence[Round], alive: Sequence[int], looks: int) -> dict[int, float]:
    """Half widths of the intervals of log ratios, by contestant; of two the wider holds. Together
    they hold for every challenger and at every look.

    The risk of a look is its share by the square root of their number, since looks at a growing
    sample agree with each other.
    """
    if len(rounds) < 2:
        return dict.fromkeys(alive, math.inf)  # one round shows no spread
    risk = (1 - CONFIDENCE) / max(1, len(alive) - 1) / math.sqrt(looks)
    factor = t_quantile(1 - risk, degrees(rounds)) * MEDIAN_ERROR / math.sqrt(len(rounds))
    noise = noise_of(rounds)
    return {index: factor * noise.of(index) for index in alive}


@dataclass(frozen=True)
class Noise:
    """Relative spread, in one round, of the ratio between two contestants; robust."""

    pooled: float
    """Over all pairs: five rounds say little of one."""
    own: Mapping[int, float]
    """Over the pairs that a contestant is in."""

    def of(self, index: int) -> float:
        """The pooled noise; but whoever is noisier gets its own, or it would win by luck: three
        times as noisy as five equal others it was promoted in 12 % of simulated races.
        """
        return max(self.pooled, self.own[index])


def noise_of(rounds: Sequence[Round]) -> Noise:
    """Of all who took part; of the times themselves where one contestant runs alone. A contestant
    that is out does not come back.
    """
    logs: dict[int, list[float]] = {}
    for times in rounds:
        for index, us in times.items():
            logs.setdefault(index, []).append(math.log(us))
    if len(logs) == 1:
        ((index, row),) = logs.items()
        spread = max(LEAST_NOISE, math.sqrt(2) * _spread(_distances(row)))
        return Noise(spread, {index: spread})
    of: dict[int, list[float]] = {index: [] for index in logs}
    pooled: list[float] = []
    for one, other in combinations(logs, 2):
        # The shorter row ends where its contestant was sent home.
        distances = _distances([x - y for x, y in zip(logs[one], logs[other], strict=False)])
        pooled += distances
        of[one] += distances
        of[other] += distances
    return Noise(max(LEAST_NOISE, _spread(pooled)), {i: _spread(own) for i, own in of.items()})


def degrees(rounds: Sequence[Round]) -> float:
    """Degrees of freedom of the pooled noise: half of a standard deviation's, since a median of
    distances uses its sample half as well (simulated for 2 to 6 contestants).
    """
    present = {index for times in rounds for index in times}
    free = sum(len(times) - 1 for times in rounds) - (len(present) - 1)
    return max(1.0, free / 2)


def _distances(row: Sequence[float]) -> list[float]:
    """From their own median, as long as from the true one."""
    if len(row) < 2:
        return []
    centre, scale = median(row), len(row) / (len(row) - _CENTRED)
    return [scale * abs(value - centre) for value in row]


def _spread(distances: Sequence[float]) -> float:
    return MAD_TO_SIGMA * median(distances) if distances else 0.0


@lru_cache(maxsize=1024)
def t_quantile(probability: float, degrees: float) -> float:
    """Student's t, 0.5 <= probability < 1, by bisection of its distribution."""
    if not 0.5 <= probability < 1:
        raise ValueError(f"probability {probability}: at least 0.5 and below 1")
    low, high = 0.0, 1.0
    while _t_tail(high, degrees) > 1 - probability:
        low, high = high, 2 * high
    while high - low > 1e-9 * (1 + high):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_tail(middle, degrees) > 1 - probability else (low, middle)
    return (low + high) / 2


def _t_tail(t: float, degrees: float) -> float:
    """P(T > t) for t >= 0."""
    return _incomplete_beta(degrees / (degrees + t * t), degrees / 2, 0.5) / 2


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """Regularised, I_x(a, b), by the continued fraction 8.17.22 of the NIST handbook
    (dlmf.nist.gov), which converges fast for x below (a + 1) / (a + b + 2).
    """
    if x in (0.0, 1.0):
        return x
    if x > (a + 1) / (a + b + 2):
        return 1 - _incomplete_beta(1 - x, b, a)
    log_beta = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    front = math.exp(a * math.log(x) + b * math.log1p(-x) - log_beta) / a
    return front / _continued_fraction(x, a, b)


def _continued_fraction(x: float, a: float, b: float) -> float:
    """From its end; 200 terms are more than any degrees of freedom here need."""
    value = 1.0
    for n in range(200, 0, -1):
        m = n // 2
        if n % 2:
            term = -(a + m) * (a + b + m) * x / ((a + n - 1) * (a + n))
        else:
            term = m * (b - m) * x / ((a + n - 1) * (a + n))
        value = 1 + term / value
    return value
