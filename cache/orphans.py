"""Models and devices that nothing is stored for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .records import TABLES
from .rows import MissRow

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

# What must not point at them. Indexes serve: of a million measurements none is read.
_POINTERS = {
    "models": {"decisions": "model_fingerprint = models.fingerprint"},
    "devices": {
        "decisions": "device_key = devices.key",
        "measurements": "device_key = devices.key",
    },
}
_POINTERS_OF_MISSES = {
    "models": "model_fingerprint = models.fingerprint",
    "devices": "device_key = devices.key",
}


def delete_orphans(connection: sqlite3.Connection, schema: int) -> int:
    """Remove them from a file of this schema; how many there were."""
    wheres = _wheres(schema).items()
    return sum(
        connection.execute(f"DELETE FROM {table} WHERE {where}").rowcount for table, where in wheres
    )


def count_orphans(connection: sqlite3.Connection, schema: int) -> Mapping[str, int]:
    """Table -> how many."""
    return {
        table: connection.execute(f"SELECT count(*) FROM {table} WHERE {where}").fetchone()[0]
        for table, where in _wheres(schema).items()
    }


def _wheres(schema: int) -> Mapping[str, str]:
    """Table -> the condition that nothing points at a row of it."""
    has_misses = schema >= TABLES[MissRow].first
    found = {}
    for table, pointers in _POINTERS.items():
        every = {**pointers, **({"misses": _POINTERS_OF_MISSES[table]} if has_misses else {})}
        terms = (
            f"NOT EXISTS (SELECT 1 FROM {other} WHERE {other}.{pointer})"
            for other, pointer in every.items()
        )
        found[table] = " AND ".join(terms)
    return found
