"""Whether a winner holds in the whole engine: two sides' runs, compared. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from autotune.engine_loads import Load
from autotune.engine_messages import EngineRun, Sample, Scores
from kernels_bench.standings import MAD_TO_SIGMA, MEDIAN_ERROR

Verdict: TypeAlias = Literal["confirmed", "revoked", "unconfirmed"]

LOSS = 0.01
"""Fewer tokens a second than this part of the default's, and beyond the noise, is a loss."""
MOST_DOUBT = 0.03
"""The winner may be slower by no more than this at the end of the interval, to be confirmed."""
MOST_DRIFT = 0.3
"""Mean |difference of log-probabilities| beyond which the winner computes something else. Right
backends differ by 0.07 in a Llama-3.1-8B of random weights (`benchmarks/results`), whose
log-probabilities vary by 0.9; two that have nothing in common differ by about 1.0 there."""
PROCESS_SPREAD = 0.003
"""Relative standard deviation between two processes of the same engine that is always allowed for,
as two pairs of processes may be alike by luck."""
_Z_99 = 2.58
"""Two-sided 99 % bound of a normal."""


@dataclass(frozen=True)
class Side:
    """Starts of one engine, the same each time."""

    label: str
    runs: tuple[EngineRun, ...]
    is_first_cold: bool = False
    """Nothing was compiled before the first of them."""

    @property
    def failure(self) -> str:
        """Why one of its runs ended early; empty where none did."""
        return next((run.failure for run in self.runs if run.failure), "")

    def samples(self, load: Load) -> tuple[Sample, ...]:
        """Of all runs."""
        return tuple(sample for run in self.runs for sample in run.of(load))

    @property
    def cold_start_s(self) -> float | None:
        """None where it was not seen."""
        starts = self._starts_s
        return starts[0] if self.is_first_cold and starts else None

    @property
    def warm_start_s(self) -> float | None:
        """Of the last start; None where it was not seen."""
        starts = self._starts_s[1 if self.is_first_cold else 0 :]
        return starts[-1] if starts else None

    @property
    def kv_tokens(self) -> int | None:
        """The least of its runs'."""
        return min((run.started.kv_tokens for run in self.runs if run.started), default=None)

    @property
    def peak_bytes(self) -> int | None:
        """The most of its runs'; None where the device does not say."""
        return max((run.peak_bytes for run in self.runs), default=0) or None

    @property
    def engine_version(self) -> str:
        """As its runs said; empty where none did."""
        return next((run.started.engine_version for run in self.runs if run.started), "")

    @property
    def _starts_s(self) -> list[float]:
        return [run.started.start_s for run in self.runs if run.started]


@dataclass(frozen=True)
class Speedup:
    """The winner's output tokens a second over the default's."""

    ratio: float
    bound: float
    """Half width of the 99 % interval."""


@dataclass(frozen=True)
class Drift:
    """|Differences| of the log-probabilities of the same tokens after the same tokens."""

    mean: float
    largest: float
    top1_agreement: float


@dataclass(frozen=True)
class Comparison:
    """Everything about a decision that whole engines said."""

    default: Side
    winner: Side
    loads: tuple[Load, ...]
    verdict: Verdict
    why: str
    speedups: tuple[Speedup | None, ...]
    """A load each; None where one side has no sample of it."""
    drift: Drift | None
    drift_floor: Drift | None
    """Of the default against itself in another process."""


def compare(default: Side, winner: Side, loads: Sequence[Load]) -> Comparison:
    """Judge the winner."""
    speedups = tuple(_speedup(default, winner, load) for load in loads)
    first, again = (*_scores(default), None, None)[:2]
    drift = _drift(first, next(iter(_scores(winner)), None))
    verdict, why = _judged(default, winner, loads, speedups, drift)
    floor = _drift(first, again)
    return Comparison(default, winner, tuple(loads), verdict, why, speedups, drift, floor)


def _judged(
    default: Side,
    winner: Side,
    loads: Sequence[Load],
    speedups: Sequence[Speedup | None],
    drift: Drift | None,
) -> tuple[Verdict, str]:
    if drift is not None and not drift.mean <= MOST_DRIFT:  # nor may it be NaN
        far = f"differ by {drift.mean:.2g} in the mean, allowed {MOST_DRIFT}"
        return "revoked", f"its log-probabilities and those of {default.label} {far}"
    for side in (default, winner):
        if side.failure:
            return "unconfirmed", f"{side.label}: {side.failure}"
    found = [each for each in speedups if each is not None]
    if not found or len(found) < len(loads):
        return "unconfirmed", "not every load was run on both sides"
    total = _together(found)
    said = _said(total, default.label, loads)
    if total.ratio < 1 - LOSS and total.ratio + total.bound < 1:
        return "revoked", said
    if total.ratio >= 1 - LOSS and total.ratio - total.bound >= 1 - MOST_DOUBT:
        return "confirmed", said
    return "unconfirmed", f"{said}: that may be noise; more --repeats and a longer --budget tell"


def _said(total: Speedup, default: str, loads: Sequence[Load]) -> str:
    more = "more" if total.ratio >= 1 else "fewer"
    much = f"{abs(total.ratio - 1):.1%} (±{total.bound:.1%}) {more} output tokens a second"
    return f"{much} than {default} under {', '.join(load.text for load in loads)}"


def _together(speedups: Sequence[Speedup]) -> Speedup:
    """The geometric mean."""
    logs = [math.log(each.ratio) for each in speedups]
    errors = [each.bound / each.ratio for each in speedups]
    ratio = math.exp(statistics.fmean(logs))
    return Speedup(ratio, ratio * math.hypot(*errors) / len(errors))


def _speedup(default: Side, winner: Side, load: Load) -> Speedup | None:
    ours, theirs = _rate(winner, load), _rate(default, load)
    if ours is None or theirs is None:
        return None
    ratio = ours.tokens_per_s / theirs.tokens_per_s
    errors = (each.error_per_s / each.tokens_per_s for each in (ours, theirs))
    return Speedup(ratio, _Z_99 * ratio * math.hypot(*errors))


@dataclass(frozen=True)
class _Rate:
    """Of output, with its standard error."""

    tokens_per_s: float
    error_per_s: float


def _rate(side: Side, load: Load) -> _Rate | None:
    """Over all repeats; None where there is none."""
    runs = [[sample.tokens_per_s for sample in run.of(load)] for run in side.runs]
    medians = [statistics.median(rates) for rates in runs if rates]
    if not medians:
        return None
    mean = statistics.fmean(medians)
    spread = statistics.stdev(medians) if len(medians) > 1 else 0.0
    between = max(spread, PROCESS_SPREAD * mean) / math.sqrt(len(medians))
    within = math.hypot(*(_median_error(rates) for rates in runs if rates)) / len(medians)
    return _Rate(mean, math.hypot(between, within))


def _median_error(values: Sequence[float]) -> float:
    """Standard error of the median, by the median of the deviations from it."""
    middle = statistics.median(values)
    deviation = MAD_TO_SIGMA * statistics.median(abs(value - middle) for value in values)
    return MEDIAN_ERROR * deviation / math.sqrt(len(values))


def of_samples(side: Side, load: Load, what: Callable[[Sample], float]) -> float | None:
    """The median of something over all repeats; None where there is none."""
    samples = side.samples(load)
    return statistics.median(map(what, samples)) if samples else None


def _scores(side: Side) -> list[Scores]:
    return [run.scores for run in side.runs if run.scores is not None]


def _drift(a: Scores | None, b: Scores | None) -> Drift | None:
    """None where either is missing."""
    if a is None or b is None:
        return None
    differences = [*_differences(a.prompt, b.prompt), *_answered(a, b)]
    same = [
        x == y
        for left, right in zip(a.tops, b.tops, strict=True)
        for x, y in zip(left, right, strict=True)
    ]
    return Drift(statistics.fmean(differences), max(differences), statistics.fmean(same))


def _differences(
    one: Iterable[Sequence[float]], other: Iterable[Sequence[float]]
) -> Iterable[float]:
    for left, right in zip(one, other, strict=True):
        yield from (abs(x - y) for x, y in zip(left, right, strict=True))


def _answered(a: Scores, b: Scores) -> Iterable[float]:
    """Of the answers, as far as they are the same: behind that, other tokens precede."""
    for left, right, x, y in zip(
        a.answers, b.answers, a.answer_scores, b.answer_scores, strict=True
    ):
        same = next(
            (i for i, (p, q) in enumerate(zip(left, right, strict=True)) if p != q), len(left)
        )
        yield from _differences([x[:same]], [y[:same]])
