"""What starts found no answer for: counted, read back, and forgotten once it is answered."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .checks import RowDamagedError
from .database import SCHEMA_VERSION
from .reader import Asked, Record, check_joined, read
from .records import TABLES, from_record, selected, to_record, width_of
from .rows import DeviceRow, MissRow, ModelRow, StoredMiss

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

    from sqlite_utils import Database

MOST_MISSES = 200
"""Of a file: neither a start that fails again and again nor a fleet makes it grow."""

_TABLE = TABLES[MissRow]


def read_misses(path: Path, *, is_ours: bool = True) -> tuple[StoredMiss, ...]:
    """All of a file, those seen last first; without what is damaged."""

    def statement(schema: int) -> str:
        columns = ", ".join(selected(kind, schema) for kind in (MissRow, DeviceRow, ModelRow))
        return f"""SELECT misses.id, {columns} FROM misses
            JOIN devices ON devices.key = misses.device_key
            JOIN models ON models.fingerprint = misses.model_fingerprint
            ORDER BY misses.last_seen DESC, misses.id DESC"""

    return read(path, Asked(statement, [], _stored, "misses", _TABLE.first), is_ours).rows


def _stored(record: Record, schema: int) -> StoredMiss:
    number = record[0]
    device = 1 + width_of(MissRow)
    model = device + width_of(DeviceRow)
    if not isinstance(number, int):
        raise RowDamagedError("id", "is no number")
    stored = StoredMiss(
        id=number,
        miss=from_record(MissRow, record[1:device], schema),
        device=from_record(DeviceRow, record[device:model], schema),
        model=from_record(ModelRow, record[model:], schema),
    )
    check_joined(stored.miss, stored.device, stored.model)
    return stored


def count_miss(database: Database, row: MissRow, device: DeviceRow, model: ModelRow) -> bool:
    """Add it, or count it once more where it was seen before; the device and the model stay as they
    are where they are known. Whether others had to go for it. In a transaction of the caller's.
    """
    for described in (device, model):
        _add_unknown(database.conn, described)
    before = _seen(database.conn, row)
    if before is not None:
        first_at = before.provenance.created_at
        row = replace(
            row,
            times_seen=before.times_seen + row.times_seen,
            provenance=replace(row.provenance, created_at=first_at),
        )
    database.table(_TABLE.name).upsert(to_record(row), pk=_TABLE.key)
    dropped = database.conn.execute(
        "DELETE FROM misses WHERE id IN"
        f" (SELECT id FROM misses ORDER BY last_seen DESC, id DESC LIMIT -1 OFFSET {MOST_MISSES})"
    )
    return dropped.rowcount > 0


def forget_miss(connection: sqlite3.Connection, device_key: str, question: str) -> None:
    """Of one question on one device; nothing where it was not missed."""
    which = "device_key = ? AND question = ?"
    connection.execute(f"DELETE FROM misses WHERE {which}", [device_key, question])


def forget_answered(connection: sqlite3.Connection) -> None:
    """All that a decision of the file answers, wherever that came from."""
    connection.execute(
        "DELETE FROM misses WHERE EXISTS (SELECT 1 FROM decisions"
        " WHERE decisions.device_key = misses.device_key"
        " AND decisions.question = misses.question)"
    )


def _add_unknown(connection: sqlite3.Connection, row: DeviceRow | ModelRow) -> None:
    # One that is there is left: a start does not rename the model of somebody's decisions.
    record = to_record(row)
    names, marks = ", ".join(record), ", ".join("?" * len(record))
    sql = f"INSERT OR IGNORE INTO {TABLES[type(row)].name} ({names}) VALUES ({marks})"
    connection.execute(sql, [*record.values()])


def _seen(connection: sqlite3.Connection, row: MissRow) -> MissRow | None:
    """As it was counted so far; None too where that is damaged."""
    sql = f"""SELECT {selected(MissRow, SCHEMA_VERSION)} FROM misses
        WHERE device_key = ? AND question = ?"""
    found = connection.execute(sql, [row.device_key, row.question]).fetchone()
    try:
        return None if found is None else from_record(MissRow, found, SCHEMA_VERSION)
    except RowDamagedError:
        return None
