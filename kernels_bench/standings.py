"""What the rounds so far say: who is out, who has won. Pure; the first contestant is the incumbent.

All that counts are ratios of times inside a round, as logarithms: a clock that drifts moves the
times of everybody alike, and cancels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
_MAD_TO_SIGMA = 1.4826
_CENTRED = 1.2
"""n distances from their own median are short by n / (n - 1.2): simulated, within 2 % from n = 5
on. The usual sqrt(n / (n - 1)) leaves them 17 % short at n = 5, since one of five is 0."""

Round: TypeAlias = Mapping[int, float]
"""Contestant -> time of a call, of those who took part."""


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
    width = bound(rounds, alive, looks)
    lead = {index: log_ratio(rounds, index, 0) for index in alive}
    ahead = [index for index in challengers if _is_ahead(lead[index], width)]
    if ahead:
        best = min(ahead, key=lead.__getitem__)
        rivals = [index for index in challengers if index != best]
        margin = math.log1p(PROMOTION_MARGIN)
        if is_last or all(log_ratio(rounds, best, i) + width < margin for i in rivals):
            return Promoted(_first_among_equals(ahead, lead, lead[best]))
    if all(lead[index] - width > math.log1p(-PROMOTION_MARGIN) for index in challengers):
        return Kept(f"no challenger can be {PROMOTION_MARGIN:.0%} faster")
    if is_last:
        return Kept(f"nobody is {PROMOTION_MARGIN:.0%} faster beyond the noise: ambiguous")
    leader = min(alive, key=lead.__getitem__)
    return Undecided(tuple(i for i in alive if i == 0 or log_ratio(rounds, i, leader) - width <= 0))


def _is_ahead(lead: float, width: float) -> bool:
    return lead <= math.log1p(-PROMOTION_MARGIN) and lead + width < 0


def _first_among_equals(ahead: Sequence[int], lead: Mapping[int, float], best: float) -> int:
    """Of those who may be promoted: candidates stand in the default's order."""
    return min(index for index in ahead if lead[index] - best <= TIE_MARGIN)


def log_ratio(rounds: Sequence[Round], index: int, base: int) -> float:
    """Median over the rounds in which both took part."""
    return median(_log_ratios(rounds, index, base))


def bound(rounds: Sequence[Round], alive: Sequence[int], looks: int) -> float:
    """Half width of a log ratio's interval: it holds for every challenger and at every look.

    The risk of a look is its share by the square root of their number, since looks at a growing
    sample agree with each other.
    """
    if len(rounds) < 2:
        return math.inf  # one round shows no spread
    challengers = max(1, len(alive) - 1)
    risk = (1 - CONFIDENCE) / challengers / math.sqrt(looks)
    error = MEDIAN_ERROR * paired_noise(rounds) / math.sqrt(len(rounds))
    return t_quantile(1 - risk, degrees(rounds)) * error


def paired_noise(rounds: Sequence[Round]) -> float:
    """Relative spread, in one round, of the ratio between two contestants: robust, and pooled over
    all pairs. Of the times themselves where one contestant runs alone.
    """
    present = sorted({index for times in rounds for index in times})
    pairs = list(combinations(present, 2))
    if pairs:
        rows = [_log_ratios(rounds, one, other) for one, other in pairs]
    else:
        rows = [[math.log(times[index]) for times in rounds] for index in present]
    distances = [distance for row in rows for distance in _distances(row)]
    spread = _MAD_TO_SIGMA * median(distances) if distances else 0.0
    return max(LEAST_NOISE, spread if pairs else spread * math.sqrt(2))


def degrees(rounds: Sequence[Round]) -> float:
    """Degrees of freedom of the pooled noise: half of a standard deviation's, since a median of
    distances uses its sample half as well (simulated for 2 to 6 contestants).
    """
    present = {index for times in rounds for index in times}
    free = sum(len(times) - 1 for times in rounds) - (len(present) - 1)
    return max(1.0, free / 2)


def _log_ratios(rounds: Iterable[Round], index: int, base: int) -> list[float]:
    both = (times for times in rounds if index in times and base in times)
    return [math.log(times[index] / times[base]) for times in both]


def _distances(row: Sequence[float]) -> Iterator[float]:
    """From their own median, as long as from the true one."""
    if len(row) < 2:
        return
    centre, scale = median(row), len(row) / (len(row) - _CENTRED)
    yield from (scale * abs(value - centre) for value in row)


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
