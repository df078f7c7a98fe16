"""One question to all layers. A file that cannot be read costs its own rows and nobody else's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .database import exists
from .errors import CacheError, CacheUnreadableError
from .layers import Layer, Layers
from .query import Which
from .reader import read_decisions
from .rows import StoredDecision
from .verdict import REVOKED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True)
class LayeredReading:
    """What the layers hold of what was asked for."""

    stored: tuple[StoredDecision, ...] = ()
    """Layer by layer, in the order of each."""
    errors: tuple[CacheError, ...] = ()
    """Of files that could not be read."""
    damaged: tuple[str, ...] = ()
    """A line a file that has damaged rows among those asked for."""


def read_layers(layers: Layers, which: Which) -> LayeredReading:
    """Ask every file; raises nothing that a file may be the cause of."""
    stored: list[StoredDecision] = []
    errors: list[CacheError] = []
    damaged: list[str] = []
    for layer in layers.files:
        try:
            require_promised(layer)
            found = read_decisions(layer.path, which, is_ours=layer.is_written)
        except CacheError as error:
            errors.append(error)
            continue
        stored += found.rows
        if found.damaged:
            damaged.append(_damage_text(layer.path, found.damaged))
    return LayeredReading(_judged(stored), tuple(errors), tuple(damaged))


def _judged(stored: Sequence[StoredDecision]) -> tuple[StoredDecision, ...]:
    """A winner that one file revokes is revoked in all others too, save where a file confirms it:
    a fleet's file that comes first must not bring back what lost in the engine of this host.
    """
    reasons = {_winner_of(each): each.revoked for each in reversed(stored) if each.revoked}
    return tuple(
        replace(each, confirmation=REVOKED, revoked=why)
        if each.confirmation != "confirmed" and (why := reasons.get(_winner_of(each)))
        else each
        for each in stored
    )


def _winner_of(stored: StoredDecision) -> tuple[str, ...]:
    """What a confirmation is of."""
    row = stored.decision
    return row.device_key, row.question, row.versions, row.backend, row.variant


def require_promised(layer: Layer) -> None:
    """Raise CacheUnreadableError where a file that somebody named is not there."""
    if layer.is_promised and not exists(layer.path):
        remedy = f"mount it, or take it out of {layer.why}"
        raise CacheUnreadableError(layer.path, "not there", remedy)


def _damage_text(path: Path, damaged: tuple[str, ...]) -> str:
    more = f" and {len(damaged) - 1} more" if len(damaged) > 1 else ""
    return f"cache {path}: {damaged[0]}{more}; left out; `autotune cache doctor` tells more"
