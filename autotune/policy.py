"""Measurements to a verdict. Pure: stored evidence can be decided again on any machine.

A candidate's score is the weighted mean, over workloads, of its cost over the incumbent's. The
incumbent loses only to a score that is better by the margin and by more than the noise, and a
stored winner only to more than that; two backends take the place of one under the same terms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from autotune import reasons
from autotune.costs import Costs, Evidence, costs_of
from autotune.criteria import Criteria
from autotune.crossovers import find_crossovers
from autotune.engines import ANY, Engine
from autotune.ranking import Candidate, Crossover, Ground, Ranked, is_tie
from autotune.scale import Scale, place_in
from autotune.splits import Split, best_split


@dataclass(frozen=True)
class Terms:
    """Under which a decision is made."""

    weights: Mapping[str, float]
    """Workload -> weight."""
    order: tuple[str, ...]
    """The default's, best first: names of backends, or "backend:variant"."""
    engine: Engine = ANY
    uncovered: Mapping[str, float] = field(default_factory=dict)
    """Workload -> share of all weight, of those that nothing measured stands for."""
    criteria: Criteria = field(default_factory=Criteria)
    standing: Candidate | None = None
    """Who won the last time; has a say where it is still right and timed on every workload."""
    standing_split: Mapping[str, Mapping[str, Candidate]] | None = None
    """Kind -> phase -> candidate, where two were taken the last time."""
    defective: frozenset[str] = frozenset()
    """Labels that refuse a layer for a defect which the engine's own check does not know."""

    def costs_of(self, evidence: Sequence[Evidence]) -> Costs:
        """What everyone costs this engine."""
        return costs_of(evidence, self.criteria.plan_share, self.engine.plans_ahead)

    def scale_of(self, costs: Costs, incumbent: Candidate) -> Scale:
        """What that weighs."""
        unmeasured = sum(self.uncovered.values())
        return Scale(costs, incumbent, self.weights, self.criteria, unmeasured)


@dataclass(frozen=True)
class Verdict:
    """What the evidence says."""

    incumbent: Candidate
    ranking: tuple[Ranked, ...]
    """Everyone legal, the winner first, then by score."""
    tie: bool
    """The runner-up is within the promotion margin of the winner."""
    ground: Ground
    why: str
    regret: float
    """What the winner costs more than if each workload were run by whoever is best at it."""
    split: Split | None
    """Two backends that are better than any single one."""
    crossovers: tuple[Crossover, ...]
    spoiled: str = ""
    """Label of what the engine loads by itself, where that is known to compute wrong numbers:
    leaving the engine alone is then no way to run the incumbent."""

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
    """Nobody was timed on every workload, or nothing of it weighs."""

    why: str


def decide(evidence: Sequence[Evidence], terms: Terms) -> Verdict | NoVerdict:
    """Weigh the evidence, whatever its order."""
    if not evidence:
        return NoVerdict("nothing was measured")
    costs = terms.costs_of(evidence)
    legal = sorted(costs.everywhere, key=lambda who: place_in(terms.order, who))
    if not legal:
        return NoVerdict("no candidate was right and timed on every workload measured")
    scale = terms.scale_of(costs, legal[0])
    if not scale.is_weighing:
        return NoVerdict("nothing that was measured weighs in the profile")
    ranked = [scale.ranked(who) for who in legal]
    held = next((r for r in ranked if r.candidate == terms.standing), None)
    picked = _pick(ranked, scale)
    winner = picked if held is None else _succeed(held, ranked, scale)
    others = tuple(sorted((r for r in ranked if r is not winner), key=lambda r: r.score))
    ground = _ground(winner, others, held if winner is not picked else None, scale)
    why = reasons.explain(reasons.Case(winner, others, picked, ground, scale))
    passed = reasons.passed_over(evidence, scale.incumbent, terms.order, terms.defective)
    why += "" if passed is None else passed.text
    why += reasons.waiting(costs, (winner.candidate, scale.incumbent))
    return Verdict(
        incumbent=scale.incumbent,
        ranking=(winner, *others),
        tie=is_tie(winner, others, terms.criteria),
        ground=ground,
        why=why,
        regret=scale.regret(costs.by_one(winner.candidate)),
        split=best_split(scale, terms.engine, terms.order, winner, terms.standing_split),
        crossovers=find_crossovers(scale, terms.order),
        spoiled=passed.label if passed is not None and passed.is_defective else "",
    )


def _promotable(ranked: Sequence[Ranked], scale: Scale) -> list[Ranked]:
    if not scale.is_telling:
        return []
    criteria = scale.criteria
    return [r for r in ranked if r.is_clear_of_default(criteria) and not r.regresses(criteria)]


def _pick(ranked: Sequence[Ranked], scale: Scale) -> Ranked:
    """`ranked` stands in the default's order, the incumbent first."""
    return _first_of_the_best(_promotable(ranked, scale) or ranked[:1], scale)


def _first_of_the_best(ranked: Sequence[Ranked], scale: Scale) -> Ranked:
    """Of those who tie with the best: whose start costs less, then the default's order."""
    best = min(r.score for r in ranked)
    tied = [r for r in ranked if r.score <= best * (1 + scale.criteria.tie)]
    return min(tied, key=lambda r: scale.costs.starts[r.candidate].burden)


def _succeed(held: Ranked, ranked: Sequence[Ranked], scale: Scale) -> Ranked:
    """Who follows the stored winner: itself, unless somebody is better by more than two runs of the
    same race differ, or the default is better at all.
    """
    criteria = scale.criteria
    if held.score - held.bound > 1 or held.regresses(criteria):
        return _pick(ranked, scale)
    better = [
        r
        for r in _promotable(ranked, scale)
        if r.score <= held.score * (1 - criteria.replace)
        and r.score + scale.bound(r.candidate, held.candidate) < held.score
    ]
    return _first_of_the_best(better or [held], scale)


def _ground(winner: Ranked, others: Sequence[Ranked], kept: Ranked | None, scale: Scale) -> Ground:
    """What decided."""
    criteria = scale.criteria
    if not others:
        return "only_candidate"
    if winner is kept:
        return "stored_winner_kept"
    if winner.candidate != scale.incumbent:
        best = min(r.score for r in (winner, *others) if r in _promotable((r,), scale))
        return "margin" if winner.score == best else "tie_broken"
    best_other = others[0]
    if best_other.score >= 1:
        return "default_is_fastest"
    clear = [r for r in others if r.is_clear_of_default(criteria)]
    return "regression" if clear and scale.is_telling else "margin_not_met"
