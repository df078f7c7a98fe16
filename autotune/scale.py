"""Weighs what candidates cost over the workloads of a profile; the incumbent weighs 1."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from autotune.costs import Z_99, Cost, Costs
from autotune.criteria import Criteria
from autotune.ranking import Candidate, Ranked, Worst

Step: TypeAlias = Mapping[str, Cost]
"""Workload -> what it costs."""


@dataclass(frozen=True)
class Scale:
    """Of one set of costs, under one profile."""

    costs: Costs
    incumbent: Candidate
    weights: Mapping[str, float]
    criteria: Criteria
    unmeasured: float = 0.0
    """Share of the profile's weight that nothing of this stands for."""

    @cached_property
    def base(self) -> Step:
        """The incumbent's."""
        return self.costs.by_one(self.incumbent)

    @cached_property
    def shares(self) -> Mapping[str, float]:
        """Workload -> its part of all weight; nobody's where nothing that was measured weighs."""
        total = sum(self.weights.get(workload, 0.0) for workload in self.base)
        if not total:
            return dict.fromkeys(self.base, 0.0)
        return {workload: self.weights.get(workload, 0.0) / total for workload in self.base}

    @property
    def is_weighing(self) -> bool:
        """Whether anything that was measured weighs; where nothing does, all scores are 0."""
        return any(self.shares.values())

    @property
    def is_telling(self) -> bool:
        """Whether enough of the profile was measured to leave the default for."""
        return self.unmeasured <= self.criteria.unmeasured

    def ranked(self, candidate: Candidate) -> Ranked:
        """One candidate for everything."""
        step = self.costs.by_one(candidate)
        worst = self.worst(step)
        if candidate == self.incumbent:
            return Ranked(candidate, 1.0, 0.0, worst)
        return Ranked(candidate, self.score(step), self.bound_of(step, self.base), worst)

    def score(self, step: Step) -> float:
        """Weighted mean of cost over the incumbent's."""
        return sum(
            share * (step[workload].us / self.base[workload].us)
            for workload, share in self.shares.items()
        )

    def bound(self, candidate: Candidate, rival: Candidate) -> float:
        """Half width of the 99 % interval around the difference of their scores."""
        return self.bound_of(self.costs.by_one(candidate), self.costs.by_one(rival))

    def bound_of(self, step: Step, rival: Step, same: Collection[str] = ()) -> float:
        """As `bound`; `same` are workloads that both run alike, so that they do not differ."""
        variance = 0.0
        for workload, share in self.shares.items():
            if workload in same:
                continue
            own, other = step[workload], rival[workload]
            # A race's noise is that of the ratio of any two, so both are in it: the larger error is
            # that of whoever has fewer samples.
            error = max(own.relative_error, other.relative_error)
            variance += (share * error * own.us / self.base[workload].us) ** 2
        return Z_99 * math.sqrt(variance)

    def worst(self, step: Step) -> Worst | None:
        """Where somebody does worst against the incumbent."""
        weighty = [name for name, share in self.shares.items() if share >= self.criteria.weighty]
        ratios = {name: step[name].us / self.base[name].us for name in weighty}
        if not ratios:
            return None
        name = max(ratios, key=ratios.__getitem__)
        return Worst(ratios[name], name)

    def regret(self, step: Step) -> float:
        """What it costs more than if each workload were run by whoever is best at it: 0.03 is 3 %,
        weighted as the score is. No engine can load that; it is what a choice leaves on the table.
        """
        best = {workload: Cost(us, 0.0) for workload, us in self.costs.best_us.items()}
        return self.score(step) / self.score(best) - 1


def place_in(order: tuple[str, ...], candidate: Candidate) -> tuple[int, str, int, str]:
    """A sort key: the order first, then whoever it does not name, by name."""
    pages = candidate.pages
    where = next(
        (i for i, name in enumerate(order) if name in (candidate.label, candidate.backend)),
        len(order),
    )
    return where, candidate.label, pages.size, pages.layout
