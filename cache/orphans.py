"""Models and devices that nothing is stored for, and confirmations of no decision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .records import TABLES, kinds_at
from .rows import ConfirmationRow, DecisionRow, MeasurementRow, MissRow

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

    from .records import Row

# What must not point at them. Indexes serve: of a million measurements none is read.
_MODEL, _DEVICE = "model_fingerprint = models.fingerprint", "device_key = devices.key"
_CONFIRMED = """device_key = confirmations.device_key
    AND decisions.question = confirmations.question
    AND decisions.versions = confirmations.versions"""
_POINTERS: Mapping[str, Mapping[type[Row], str]] = {
    "confirmations": {DecisionRow: _CONFIRMED},
    "models": {DecisionRow: _MODEL, MissRow: _MODEL},
    "devices": {
        DecisionRow: _DEVICE,
        MeasurementRow: _DEVICE,
        MissRow: _DEVICE,
        ConfirmationRow: _DEVICE,
    },
}
"""Each before those that it points at."""


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
    names = {TABLES[kind].name: kind for kind in kinds_at(schema)}
    return {
        table: " AND ".join(
            f"NOT EXISTS (SELECT 1 FROM {other} WHERE {other}.{pointers[names[other]]})"
            for other in names
            if names[other] in pointers
        )
        for table, pointers in _POINTERS.items()
        if table in names
    }
