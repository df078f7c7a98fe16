"""The nouns of a decision: who was measured, how they rank, and what decided. Light: a start that
reads a decision imports nothing else of the policy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from autotune.criteria import Criteria
from kernels_bench.spec import Pages

Ground: TypeAlias = Literal[
    "only_candidate",
    "margin",
    "tie_broken",
    "default_is_fastest",
    "margin_not_met",
    "regression",
    "stored_winner_kept",
]
"""What decided. tie_broken: among equals, whose start costs less or who comes first in the
default's order. regression: somebody was better overall and much worse on a weighty workload."""

Axis: TypeAlias = Literal["batch", "new_tokens"]
"""batch: requests of a decode. new_tokens: those of a prefill or extend, all requests together."""


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
class Worst:
    """The weighty workload on which somebody does worst."""

    ratio: float
    """Cost over the default's."""
    workload: str


@dataclass(frozen=True)
class Ranked:
    """A legal candidate and its score: 0.8 costs 20 % less than the incumbent."""

    candidate: Candidate
    score: float
    bound: float
    """Half width of the 99 % interval around the score."""
    worst: Worst | None = None
    """None where no workload is weighty, or nobody recorded it."""

    def is_clear_of_default(self, criteria: Criteria) -> bool:
        """Better by the margin, and beyond the noise."""
        return self.score <= 1 - criteria.promotion and self.score + self.bound < 1

    def regresses(self, criteria: Criteria) -> bool:
        """Whether it is far worse than the default on a weighty workload."""
        return self.worst is not None and self.worst.ratio > criteria.regression


@dataclass(frozen=True)
class Crossover:
    """Two backends, and the gap between two measured values in which the second takes over."""

    axis: Axis
    low: Candidate
    high: Candidate
    last_low: int
    """The largest value that was measured where `low` is better."""
    first_high: int
    """The smallest where `high` is."""
    gain: float
    """What both cost less than the best single candidate, on this axis."""


def is_tie(winner: Ranked, others: Sequence[Ranked], criteria: Criteria) -> bool:
    """Whether the best of the others, who stand in order, is within the promotion margin."""
    return bool(others) and abs(others[0].score / winner.score - 1) < criteria.promotion
