"""Measurements to a verdict. Pure: stored evidence can be decided again on any machine.

A candidate's cost on a workload is L * time of a layer + time of a plan, summed over the kinds of
layers, where a layer that no graph replays takes as long as the slower of device and host; its
score is the weighted mean of cost over the incumbent's cost. The incumbent loses only to a score
that is better by the margin and by more than the noise, and a stored winner only to more than that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autotune.incumbents import rank
from autotune.reasons import explain, explain_kept, over, passed_over, waiting
from kernels_bench.clock import Lap
from kernels_bench.spec import Outcome, Pages, Timed
from kernels_bench.standings import (
    CONFIDENCE,
    MEDIAN_ERROR,
    PROMOTION_MARGIN,
    REPLACE_MARGIN,
    TIE_MARGIN,
    t_quantile,
)

_Z_99 = 2.33
"""One-sided 99 % bound of a normal."""
_MIN_DEGREES = 4
"""A race pools the spread of everybody's rounds, and has five at least. Whoever was sent home after
a sample or two knows that spread as well as the others, so that Student's 31.8 for one degree would
charge for an ignorance that is not there; what few samples lack, their square root charges."""


@dataclass(frozen=True)
class Candidate:
    """Who was measured."""

    backend: str
    variant: str
    pages: Pages

    @property
    def label(self) -> str:
        """For people: "torch_sdpa:padded"."""
        return f"{self.backend}:{self.variant}"


@dataclass(frozen=True)
class Evidence:
    """One outcome on one workload of one kind of layer."""

    kind: str
    num_layers: int
    workload: str
    candidate: Candidate
    outcome: Outcome


@dataclass(frozen=True)
class Ranked:
    """A legal candidate and its score: 0.8 costs 20 % less than the incumbent."""

    candidate: Candidate
    score: float
    bound: float
    """Half width of the 99 % interval around the score."""


@dataclass(frozen=True)
class Verdict:
    """What the evidence says."""

    incumbent: Candidate
    ranking: tuple[Ranked, ...]
    """Everyone legal, the winner first, then by score."""
    tie: bool
    """The runner-up is within the promotion margin of the winner."""
    why: str

    @property
    def winner(self) -> Ranked:
        """The first of the ranking."""
        return self.ranking[0]

    @property
    def speedup_vs_default(self) -> float:
        """The incumbent's cost over the winner's."""
        return 1.0 / self.winner.score


@dataclass(frozen=True)
class NoVerdict:
    """Nobody was timed on every workload."""

    why: str


def decide(
    evidence: Sequence[Evidence],
    weights: Mapping[str, float],
    order: tuple[str, ...],
    standing: Candidate | None = None,
) -> Verdict | NoVerdict:
    """Weigh the evidence; `order` is the default's, best first; `standing` won the last time, and
    has a say where it is still right and timed on every workload.
    """
    if not evidence:
        return NoVerdict("nothing was measured")
    costs = _costs(evidence)
    legal = sorted(costs, key=lambda candidate: rank(order, candidate.backend))
    if not legal:
        return NoVerdict("no candidate was right and timed on every workload measured")
    incumbent = legal[0]
    scale = Scale(costs, incumbent, weights)
    ranked = [scale.ranked(candidate) for candidate in legal]
    held = next((r for r in ranked if r.candidate == standing), None)
    picked = _pick(ranked)
    winner = picked if held is None else _succeed(held, ranked, scale)
    others = sorted((r for r in ranked if r is not winner), key=lambda r: r.score)
    extent = over(evidence)
    if winner is held and winner is not picked:
        why = explain_kept(winner, picked, scale, extent)
    else:
        why = explain(winner, others, incumbent, extent)
    why += passed_over(evidence, incumbent, order)
    why += waiting(evidence, (winner.candidate, incumbent))
    return Verdict(incumbent, (winner, *others), is_tie(winner, others), why)


def is_tie(winner: Ranked, others: Sequence[Ranked]) -> bool:
    """Whether the best of the others, who stand in order, is within the promotion margin."""
    return bool(others) and abs(others[0].score / winner.score - 1) < PROMOTION_MARGIN


@dataclass(frozen=True)
class _Cost:
    us: float
    error_us: float
    """Standard error, wider by what few samples lack."""

    @property
    def relative_error(self) -> float:
        return self.error_us / self.us


_Costs = dict[Candidate, dict[str, _Cost]]


def _costs(evidence: Sequence[Evidence]) -> _Costs:
    """Cost of a step's attention by candidate and workload; only of those timed everywhere."""
    points = {(item.kind, item.workload) for item in evidence}
    timed: dict[Candidate, list[tuple[Evidence, Timed]]] = {}
    for item in evidence:
        if isinstance(item.outcome, Timed):
            timed.setdefault(item.candidate, []).append((item, item.outcome))
    costs: _Costs = {}
    for candidate, found in timed.items():
        if {(item.kind, item.workload) for item, _ in found} != points:
            continue
        sums: dict[str, _Cost] = {}
        for item, outcome in found:
            before = sums.get(item.workload, _Cost(0.0, 0.0))
            # A plan is charged in full: no engine is taken to plan a step while another runs.
            us = item.num_layers * _layer_us(outcome) + outcome.plan_us
            error_us = us * _relative_error(outcome)
            sums[item.workload] = _Cost(before.us + us, math.hypot(before.error_us, error_us))
        costs[candidate] = sums
    return costs


def _layer_us(outcome: Timed) -> float:
    """Of a layer as an engine runs it, which is what was raced."""
    return Lap(outcome.gpu_us, None if outcome.is_captured else outcome.call_us).us


def _relative_error(outcome: Timed) -> float:
    """Standard error of a median paired ratio, such that the bound of a normal is that of Student's
    t; taken for the host's time too, where that sets the pace.
    """
    degrees = max(outcome.samples - 1, _MIN_DEGREES)
    widening = t_quantile(CONFIDENCE, degrees) / _Z_99
    return widening * MEDIAN_ERROR * outcome.noise / math.sqrt(outcome.samples)


@dataclass(frozen=True)
class Scale:
    """Weighs candidates over the workloads; the incumbent weighs 1."""

    costs: _Costs
    incumbent: Candidate
    weights: Mapping[str, float]

    def ranked(self, candidate: Candidate) -> Ranked:
        """Over all workloads."""
        total = mean = 0.0
        for workload, base in self.costs[self.incumbent].items():
            weight = self.weights.get(workload, 0.0)
            total += weight
            mean += weight * self.costs[candidate][workload].us / base.us
        if not total or candidate == self.incumbent:
            return Ranked(candidate, 1.0, 0.0)
        return Ranked(candidate, mean / total, self.bound(candidate, self.incumbent))

    def bound(self, candidate: Candidate, rival: Candidate) -> float:
        """Half width of the 99 % interval around the difference of their scores."""
        total = variance = 0.0
        for workload, base in self.costs[self.incumbent].items():
            weight = self.weights.get(workload, 0.0)
            own, other = self.costs[candidate][workload], self.costs[rival][workload]
            # A race's noise is that of the ratio of any two, so both are in it: the larger error is
            # that of whoever has fewer samples.
            error = max(own.relative_error, other.relative_error)
            total += weight
            variance += (weight * error * own.us / base.us) ** 2
        return _Z_99 * math.sqrt(variance) / total if total else 0.0


def _promotable(ranked: Sequence[Ranked]) -> list[Ranked]:
    return [r for r in ranked if r.score <= 1 - PROMOTION_MARGIN and r.score + r.bound < 1]


def _earliest_of_the_best(ranked: Sequence[Ranked]) -> Ranked:
    best = min(r.score for r in ranked)
    return next(r for r in ranked if r.score <= best * (1 + TIE_MARGIN))


def _pick(ranked: Sequence[Ranked]) -> Ranked:
    """`ranked` stands in the default's order, the incumbent first."""
    return _earliest_of_the_best(_promotable(ranked) or ranked[:1])


def _succeed(held: Ranked, ranked: Sequence[Ranked], scale: Scale) -> Ranked:
    """Who follows the stored winner: itself, unless somebody is better by more than two runs of the
    same race differ, or the default is better at all.
    """
    if held.score - held.bound > 1:
        return _pick(ranked)
    better = [
        r
        for r in _promotable(ranked)
        if r.score <= held.score * (1 - REPLACE_MARGIN)
        and r.score + scale.bound(r.candidate, held.candidate) < held.score
    ]
    return _earliest_of_the_best(better or [held])
