"""Measurements to a verdict. Pure: stored evidence can be decided again on any machine.

A candidate's cost on a workload is L * time of a layer + time of a plan, summed over the kinds of
layers; its score is the weighted mean of cost over the incumbent's cost. The incumbent loses only
to a score that is better by the margin and by more than the noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autotune.incumbents import rank
from kernels_bench.spec import Failed, Outcome, Pages, Timed, Wrong

PROMOTION_MARGIN = 0.02
"""vLLM's segmented-attention tuner and SGLang's diffusion tuner promote at the same 2 %."""
TIE_MARGIN = 0.01
"""Challengers this close to the best are equal: the earlier in the default's order is taken."""
_TOLD = 3
"""Workloads that a reason names; it counts the rest."""
_Z_99 = 2.33
"""One-sided 99 % bound of a normal."""
_MEDIAN_SE = 1.253
"""Standard error of a median over that of a mean, normal noise."""


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
    evidence: Sequence[Evidence], weights: Mapping[str, float], order: tuple[str, ...]
) -> Verdict | NoVerdict:
    """Weigh the evidence; `order` is the default's, best first."""
    if not evidence:
        return NoVerdict("nothing was measured")
    costs = _costs(evidence)
    legal = sorted(costs, key=lambda candidate: rank(order, candidate.backend))
    if not legal:
        return NoVerdict("no candidate was right and timed on every workload measured")
    incumbent = legal[0]
    ranked = [_score(candidate, costs, incumbent, weights) for candidate in legal]
    winner = _pick(ranked)
    others = sorted((r for r in ranked if r is not winner), key=lambda r: r.score)
    tie = is_tie(winner, others)
    num_workloads = len({item.workload for item in evidence})
    why = _explain(winner, others, incumbent, num_workloads)
    why += _passed_over(evidence, incumbent, order)
    return Verdict(incumbent, (winner, *others), tie, why)


def is_tie(winner: Ranked, others: Sequence[Ranked]) -> bool:
    """Whether the best of the others, who stand in order, is within the promotion margin."""
    return bool(others) and abs(others[0].score / winner.score - 1) < PROMOTION_MARGIN


@dataclass(frozen=True)
class _Cost:
    us: float
    error_us: float
    """Standard error."""


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
            layers_us = item.num_layers * outcome.gpu_us
            error_us = layers_us * _MEDIAN_SE * outcome.noise / math.sqrt(outcome.samples)
            sums[item.workload] = _Cost(
                before.us + layers_us + outcome.plan_us, math.hypot(before.error_us, error_us)
            )
        costs[candidate] = sums
    return costs


def _score(
    candidate: Candidate, costs: _Costs, incumbent: Candidate, weights: Mapping[str, float]
) -> Ranked:
    total = mean = variance = 0.0
    for workload, base in costs[incumbent].items():
        weight = weights.get(workload, 0.0)
        own = costs[candidate][workload]
        total += weight
        mean += weight * own.us / base.us
        # The challenger's noise is that of the paired ratio, so the incumbent's is in it.
        variance += (weight * own.error_us / base.us) ** 2
    if not total or candidate == incumbent:
        return Ranked(candidate, 1.0, 0.0)
    return Ranked(candidate, mean / total, _Z_99 * math.sqrt(variance) / total)


def _pick(ranked: Sequence[Ranked]) -> Ranked:
    """`ranked` stands in the default's order, the incumbent first."""
    promotable = [
        r for r in ranked[1:] if r.score <= 1 - PROMOTION_MARGIN and r.score + r.bound < 1
    ]
    if not promotable:
        return ranked[0]
    best = min(r.score for r in promotable)
    return next(r for r in promotable if r.score <= best * (1 + TIE_MARGIN))


def _explain(
    winner: Ranked, others: Sequence[Ranked], incumbent: Candidate, num_workloads: int
) -> str:
    over = f"over {num_workloads} workload{'s' if num_workloads != 1 else ''}"
    label = winner.candidate.label
    if not others:
        return f"{label} is the only candidate that was right and timed {over}"
    if winner.candidate != incumbent:
        less = f"{1 - winner.score:.1%} (±{winner.bound:.1%})"
        return f"{label} costs {less} less than the default {incumbent.label} {over}"
    best = others[0]
    if best.score >= 1:
        return f"the default {label} is the fastest {over}; next is {best.candidate.label}"
    needs = f"promotion needs {PROMOTION_MARGIN:.0%} and a clear 99 % bound"
    return (
        f"the default {label} is kept: {best.candidate.label} costs {1 - best.score:.1%}"
        f" (±{best.bound:.1%}) less {over}, {needs}"
    )


def _passed_over(evidence: Sequence[Evidence], incumbent: Candidate, order: tuple[str, ...]) -> str:
    """What the first of the default's order did, where it is not the incumbent: an engine that is
    left alone runs it.
    """
    first = min(evidence, key=lambda item: rank(order, item.candidate.backend)).candidate
    if first == incumbent:
        return ""
    who = f"; {first.label}, otherwise the default,"
    own = [item for item in evidence if item.candidate == first]
    for outcome, did in ((Wrong, "was wrong"), (Failed, "failed")):
        spoiled = [*dict.fromkeys(i.workload for i in own if isinstance(i.outcome, outcome))]
        if spoiled:
            more = f" and {len(spoiled) - _TOLD} more" if len(spoiled) > _TOLD else ""
            return f"{who} {did} on {', '.join(spoiled[:_TOLD])}{more}"
    return f"{who} was not measured everywhere"
