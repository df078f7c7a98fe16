"""The read path: the standard library alone, read-only, one statement a question.

A file that is not there, or empty, holds no rows. Nothing here creates one.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, TypeAlias

from .database import Mode, connect, exists, schema_of
from .errors import CacheMissingError, CacheUnreadableError, CacheUnwritableError, explained
from .records import Column, from_record, selected
from .rows import DecisionRow, DeviceRow, MeasurementRow, ModelRow, StoredDecision

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

BUSY_TIMEOUT_S = 5.0
"""A writer holds its lock for milliseconds; an engine's start does not wait for a stuck one."""

_Statement: TypeAlias = "Callable[[int], str]"
"""SQL for a file of this schema: an old one that nobody may write is read as it is."""

_NEWEST_FIRST = "ORDER BY decisions.created_at DESC, decisions.id DESC"


def find_decisions(path: Path, question: str) -> tuple[StoredDecision, ...]:
    """Every device's answers to a question, newest first."""
    statement = _decisions(f"WHERE decisions.question = ? {_NEWEST_FIRST}")
    return tuple(_decision(record) for record in _select(path, statement, [question]))


def list_decisions(path: Path) -> tuple[StoredDecision, ...]:
    """All answers, newest first."""
    return tuple(_decision(record) for record in _select(path, _decisions(_NEWEST_FIRST), []))


def show_decision(path: Path, decision_id: int) -> StoredDecision:
    """One answer by its id; raises CacheMissingError."""
    records = _select(path, _decisions("WHERE decisions.id = ?"), [decision_id])
    if not records:
        raise CacheMissingError(path, f"no decision {decision_id}")
    return _decision(records[0])


def decision_measurements(
    path: Path, device_key: str, spec_keys: Collection[str]
) -> tuple[MeasurementRow, ...]:
    """The evidence for some kinds of layer on a device, in the order it was first stored."""
    marks = ", ".join("?" * len(spec_keys))

    def statement(schema: int) -> str:
        return f"""
            SELECT {selected(MeasurementRow, schema)} FROM measurements
            WHERE device_key = ? AND spec_key IN ({marks}) ORDER BY id
        """

    records = _select(path, statement, [device_key, *spec_keys])
    return tuple(from_record(MeasurementRow, record) for record in records)


def _decisions(which: str) -> _Statement:
    def statement(schema: int) -> str:
        columns = ", ".join(selected(kind, schema) for kind in (DecisionRow, DeviceRow, ModelRow))
        return f"""
            SELECT decisions.id, {columns} FROM decisions
            JOIN devices ON devices.key = decisions.device_key
            JOIN models ON models.fingerprint = decisions.model_fingerprint
            {which}
        """

    return statement


def _decision(record: sqlite3.Row) -> StoredDecision:
    return StoredDecision(
        id=record["id"],
        decision=from_record(DecisionRow, record),
        device=from_record(DeviceRow, record),
        model=from_record(ModelRow, record),
    )


def _select(path: Path, statement: _Statement, values: Sequence[Column]) -> list[sqlite3.Row]:
    if not exists(path):
        return []
    try:
        return _select_in_mode("ro", path, statement, values)
    except CacheUnwritableError:
        return _select_after_crash(path, statement, values)


def _select_after_crash(
    path: Path, statement: _Statement, values: Sequence[Column]
) -> list[sqlite3.Row]:
    """Read where a killed writer left its journal: SQLite undoes that first, and must write."""
    try:
        return _select_in_mode("rw", path, statement, values)
    except (CacheUnwritableError, CacheUnreadableError) as error:
        what = "a killed process left a half-written change, and undoing it needs write permission"
        raise CacheUnreadableError(path, what) from error


def _select_in_mode(
    mode: Mode, path: Path, statement: _Statement, values: Sequence[Column]
) -> list[sqlite3.Row]:
    with (
        explained(path, CacheUnreadableError),
        closing(connect(path, mode, BUSY_TIMEOUT_S)) as connection,
    ):
        connection.row_factory = sqlite3.Row
        connection.execute("BEGIN")  # the header and the rows are of one moment
        schema = schema_of(connection, path)
        if schema == 0:
            return []
        return connection.execute(statement(schema), values).fetchall()
