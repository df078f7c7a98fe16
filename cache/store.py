"""The writing side. sqlite-utils is imported when a file is opened, not when this module is."""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .confirmations import check_whole, forget_confirmations, replace_confirmations
from .database import SCHEMA_VERSION, connect, make_room, transaction
from .errors import CacheMissingError, CacheUnwritableError, explained
from .misses import count_miss, forget_miss
from .orphans import delete_orphans
from .reader import decision_measurements
from .records import TABLES, Row, to_record

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    from sqlite_utils import Database

    from .rows import (
        ConfirmationRow,
        DecisionRow,
        DeviceRow,
        EvidenceGroup,
        MeasurementRow,
        MissRow,
        ModelRow,
        StoredDecision,
        StoredMiss,
    )

BUSY_TIMEOUT_S = 30.0
"""Eight ranks that write together wait for each other; a write takes milliseconds."""


@dataclass(frozen=True)
class Removed:
    """How many rows."""

    decisions: int
    measurements: int
    orphans: int
    """Devices and models, and confirmations of no decision."""
    misses: int = 0


def _identity(path: Path) -> tuple[int, int] | None:
    """Of the file that has the name now."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


class Store:
    """A cache file that is open for writing. Each call is one transaction: done or not at all.

    Belongs to the thread and the process that opened it.
    """

    def __init__(self, path: Path, busy_timeout_s: float) -> None:
        self.path = path
        self._busy_timeout_s = busy_timeout_s
        self._database = self._opened()
        self._file = _identity(path)
        self._process = os.getpid()
        self._described: dict[str, DeviceRow | ModelRow] = {}
        """What this store put, and puts again with what points at it: another process may have
        pruned it, as long as nothing did."""

    @classmethod
    def open(cls, path: Path, busy_timeout_s: float = BUSY_TIMEOUT_S) -> Store:
        """Open the file, or make it with its folder."""
        return cls(path, busy_timeout_s)

    def _opened(self) -> Database:
        from . import schema

        make_room(self.path)
        with explained(self.path, CacheUnwritableError, self._busy_timeout_s):
            connection = connect(self.path, "rwc", self._busy_timeout_s)
            try:
                schema.ensure(connection, self.path)
                connection.execute("PRAGMA foreign_keys = ON")
            except BaseException:
                connection.close()
                raise
            return schema.wrap(connection)

    def close(self) -> None:
        """Close the file; the store is of no use afterwards."""
        # In a forked child the file is its parent's: SQLite must not even close it there.
        if os.getpid() == self._process:
            self._database.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def put_device(self, row: DeviceRow) -> None:
        """Store a device, or replace the one with its key."""
        self._put([row])
        self._described[row.key] = row

    def put_model(self, row: ModelRow) -> None:
        """Store a model, or replace the one with its fingerprint."""
        self._put([row])
        self._described[row.fingerprint] = row

    def put_measurements(self, rows: Iterable[MeasurementRow]) -> None:
        """Store outcomes, all or none; one with a known key replaces. Their device comes first."""
        self._put([*self._described.values(), *rows])

    def put_decision(self, row: DecisionRow) -> int:
        """Store an answer, or replace the one of its device, question and versions; it is missed no
        more. Returns its id. The device and the model come first.
        """
        key = [row.device_key, row.question, row.versions]
        where = "device_key = ? AND question = ? AND versions = ?"
        with self._transaction() as database:
            self._upsert(database, [*self._described.values(), row])
            forget_miss(database.conn, row.device_key, row.question)
            return int(
                database.execute(f"SELECT id FROM decisions WHERE {where}", key).fetchone()[0]
            )

    def put_confirmations(self, rows: Sequence[ConfirmationRow]) -> None:
        """Store what runs of the engine said of winners, in the place of all that was stored of
        these before. The device comes first; rows of one winner share verdict, why and provenance.
        """
        check_whole(rows)
        with self._transaction() as database:
            replace_confirmations(database.conn, rows)
            self._upsert(database, [*self._described.values(), *rows])

    def put_miss(self, row: MissRow, device: DeviceRow, model: ModelRow) -> None:
        """Note what a start found no answer for, with what it points at, or count it once more. Of
        too many the oldest go.
        """
        with self._transaction() as database:
            if count_miss(database, row, device, model):
                delete_orphans(database.conn, SCHEMA_VERSION)

    def forget_misses(self, device_key: str, question: str) -> None:
        """Of a question that is answered for a device."""
        with self._transaction() as database:
            forget_miss(database.conn, device_key, question)

    def measurements(
        self, device_key: str, spec_keys: Collection[str]
    ) -> tuple[MeasurementRow, ...]:
        """The evidence for some kinds of layer on a device."""
        return decision_measurements(self.path, device_key, spec_keys)

    def forget(self, ids: Collection[int]) -> None:
        """Remove these decisions, and what runs of the engine said of them; where one is not there,
        none is removed. Evidence stays.
        """
        with self._transaction() as database:
            table = database.table("decisions")
            unknown = [each for each in ids if not table.count_where("id = ?", [each])]
            if unknown:
                raise CacheMissingError(self.path, f"no decision {', '.join(map(str, unknown))}")
            forget_confirmations(database.conn, "id = ?", [(each,) for each in ids])
            for each in ids:
                table.delete_where("id = ?", [each])

    def forget_measurements(self, device_key: str, spec_keys: Collection[str]) -> None:
        """Remove evidence, so that the next tuning measures again."""
        with self._transaction() as database:
            for spec_key in spec_keys:
                database.table("measurements").delete_where(
                    "device_key = ? AND spec_key = ?", [device_key, spec_key]
                )

    def remove(
        self,
        stored: Iterable[StoredDecision],
        evidence: Iterable[EvidenceGroup],
        missed: Iterable[StoredMiss] = (),
    ) -> Removed:
        """Remove decisions with their confirmations, groups of measurements and misses, and then
        the models and devices that nothing is stored for. What was stored since they were read
        stays.
        """
        with self._transaction() as database:
            ids = [(each.id, each.decision.provenance.created_at) for each in stored]
            is_read = "id = ? AND created_at = ?"
            forget_confirmations(database.conn, is_read, ids)
            decisions = self._delete(database, "decisions", is_read, ids)
            which = """device_key = ? AND spec_key = ? AND versions = ? AND method = ?
                AND created_at <= ?"""
            groups = [
                (each.device_key, each.spec_key, each.versions, each.method, each.newest_at)
                for each in evidence
            ]
            measurements = self._delete(database, "measurements", which, groups)
            seen = [(each.id, each.miss.last_seen) for each in missed]
            misses = self._delete(database, "misses", "id = ? AND last_seen = ?", seen)
            orphans = delete_orphans(database.conn, SCHEMA_VERSION)
        return Removed(decisions, measurements, orphans, misses)

    def shrink(self) -> bool:
        """Give the room of what was removed back to the disk; False where another process reads, or
        the disk has no room for the copy that this takes.
        """
        try:
            self._database.conn.execute("VACUUM")
        except sqlite3.OperationalError:
            return False
        return True

    @staticmethod
    def _delete(
        database: Database, table: str, which: str, values: Iterable[tuple[object, ...]]
    ) -> int:
        statement = f"DELETE FROM {table} WHERE {which}"
        return max(0, database.conn.executemany(statement, values).rowcount)

    def _put(self, rows: Sequence[Row]) -> None:
        with self._transaction() as database:
            self._upsert(database, rows)

    @staticmethod
    def _upsert(database: Database, rows: Sequence[Row]) -> None:
        for row in rows:
            table = TABLES[type(row)]
            database.table(table.name).upsert(to_record(row), pk=table.key)

    @contextmanager
    def _transaction(self) -> Iterator[Database]:
        if os.getpid() != self._process:
            raise RuntimeError(f"{self.path} was opened before the fork: open it in the child")
        if _identity(self.path) != self._file:
            # Repaired, restored or removed meanwhile: rows in the old file nobody would find.
            self._database.close()
            self._database = self._opened()
            self._file = _identity(self.path)
        with (
            explained(self.path, CacheUnwritableError, self._busy_timeout_s),
            transaction(self._database.conn),
        ):
            yield self._database
