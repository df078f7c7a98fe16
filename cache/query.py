"""Which decisions, in which order: what `autotune cache ls` and `export` take, as SQL. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

Sort: TypeAlias = Literal["measured", "model", "device", "engine", "profile", "winner", "speedup"]
SORTS: tuple[Sort, ...] = get_args(Sort)

# A NULL speedup, where nobody could be compared, is the least in SQLite's order.
_TERMS: Mapping[Sort, str] = {
    "measured": "decisions.created_at",
    "model": "models.name",
    "device": "devices.name",
    "engine": "decisions.engine",
    "profile": "decisions.profile",
    "winner": "decisions.backend || ':' || decisions.variant",
    "speedup": "decisions.speedup_vs_default",
}
JOINED = """FROM decisions JOIN devices ON devices.key = decisions.device_key
    JOIN models ON models.fingerprint = decisions.model_fingerprint"""
"""The tables that `Which` speaks of."""
_FALLING = frozenset({"measured", "speedup"})
"""The newest and the largest first, names from A on."""


@dataclass(frozen=True)
class Which:
    """Those decisions that have one of the values of every field; an empty field takes all."""

    ids: tuple[int, ...] = ()
    questions: tuple[str, ...] = ()
    device_keys: tuple[str, ...] = ()
    fingerprints: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    """Names, as they were last given."""
    engines: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    backends: tuple[str, ...] = ()
    """Of the winner."""
    sort: Sort = "measured"
    reverse: bool = False
    limit: int | None = None
    offset: int = 0

    @property
    def values(self) -> list[str | int]:
        """For the marks of `page` and `where`, in their order."""
        return [value for _, wanted in self._wanted() for value in _values(wanted)]

    @property
    def where(self) -> str:
        """A WHERE, or nothing."""
        terms = [f"{column} IN ({_set(wanted)})" for column, wanted in self._wanted()]
        return f"WHERE {' AND '.join(terms)}" if terms else ""

    @property
    def order(self) -> str:
        """Of the sort, then the newest first, whichever way round."""
        falls = (self.sort in _FALLING) != self.reverse
        later = "decisions.created_at DESC, " if self.sort != "measured" else ""
        direction = "DESC" if falls else "ASC"
        return f"{_TERMS[self.sort]} {direction}, {later}decisions.id {direction}"

    @property
    def page(self) -> str:
        """LIMIT and OFFSET, whose numbers are ours."""
        limit = -1 if self.limit is None else self.limit
        return f"LIMIT {limit:d} OFFSET {self.offset:d}"

    def _wanted(self) -> Iterator[tuple[str, tuple[str, ...] | tuple[int, ...]]]:
        fields: tuple[tuple[str, tuple[str, ...] | tuple[int, ...]], ...] = (
            ("decisions.id", self.ids),
            ("decisions.question", self.questions),
            ("decisions.device_key", self.device_keys),
            ("decisions.model_fingerprint", self.fingerprints),
            ("models.name", self.models),
            ("decisions.engine", self.engines),
            ("decisions.profile", self.profiles),
            ("decisions.backend", self.backends),
        )
        return ((column, wanted) for column, wanted in fields if wanted)


_MOST_MARKS = 500
"""In a statement. SQLite before 3.32 takes 999."""


def _set(wanted: tuple[str, ...] | tuple[int, ...]) -> str:
    if len(wanted) > _MOST_MARKS:
        return "SELECT value FROM json_each(?)"
    return ", ".join("?" * len(wanted))


def _values(wanted: tuple[str, ...] | tuple[int, ...]) -> Sequence[str | int]:
    return wanted if len(wanted) <= _MOST_MARKS else (json.dumps(wanted),)
