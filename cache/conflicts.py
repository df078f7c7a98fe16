"""Two rows of one key that say different things: which of them stays. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Literal, TypeAlias, get_args

Prefer: TypeAlias = Literal["newest", "samples", "driver"]
"""newest: who was measured last. samples: who was measured most often; of decisions, whose interval
is tighter. driver: as newest, and of decisions that differ in the driver alone, those for a driver
that is named. Whoever is equal stays as it is.
"""
POLICIES: tuple[Prefer, ...] = get_args(Prefer)


@dataclass(frozen=True)
class Weight:
    """What the policies look at in a row."""

    created_at: str
    samples: int | None = None
    bound: float | None = None


def is_preferred(theirs: Weight, ours: Weight, prefer: Prefer) -> bool:
    """Whether what comes replaces what is there."""
    later = _age(theirs) > _age(ours)
    if prefer != "samples":
        return later
    mine, other = _certainty(ours), _certainty(theirs)
    return other > mine or (other == mine and later)


def _certainty(weight: Weight) -> tuple[float, float]:
    samples = float(weight.samples or 0)
    return samples, -1.0 if weight.bound is None else 1 / (1 + weight.bound)


def _age(weight: Weight) -> datetime:
    """A row whose time cannot be read is the oldest."""
    try:
        return moment(weight.created_at)
    except ValueError:
        return datetime.min.replace(tzinfo=timezone.utc)


def moment(text: str) -> datetime:
    """When a row was made, at any offset; one that names none is UTC. Raises ValueError."""
    found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return found if found.tzinfo is not None else found.replace(tzinfo=timezone.utc)
