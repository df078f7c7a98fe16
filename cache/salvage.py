"""Saves what is readable of a damaged file into a new one, and keeps the old one."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from .absorb import Absorber, Tally
from .backup import beside
from .database import SIDE_FILES, connect, make_room, tolerant_text, version_of
from .errors import NOT_OURS, CacheBusyError, CacheCorruptError, CacheUnreadableError, explained
from .exchange import new_tables
from .records import TABLES, Row, kinds_at, selected
from .scratch import put_in_place, scratch_file
from .sources import Read, checked_record
from .tuning import tuners

_BUSY_TIMEOUT_S = 5.0
_CHUNK = 1024
"""Ids that are read at once where nothing is damaged."""
_LEAST_ROW_BYTES = 16
"""A file cannot hold more rows than its bytes over this."""
_MOST_FAILURES = 20_000
"""In a row: beyond them the pages that lead to a table's rows are gone."""


@dataclass(frozen=True)
class Salvaged:
    """What was saved."""

    kept: Path
    """The old file, as it was."""
    tally: Tally
    lost: int
    """Stretches of ids that could not be read; how many rows they held nobody knows."""


def salvage_file(path: Path) -> Salvaged:
    """Put a new file in the place of a damaged one. Raises CacheError where it is not ours, or
    another process holds it: then it stays.
    """
    path = path.resolve()  # a link stays one
    make_room(path)
    for holder in tuners(path):
        raise CacheBusyError(path, f"in use by {holder}")
    lost = _Lost()
    with explained(path, CacheUnreadableError, _BUSY_TIMEOUT_S), scratch_file(path) as scratch:
        with closing(connect(path, "rw", _BUSY_TIMEOUT_S)) as source:
            source.text_factory = tolerant_text
            # With this alone SQLite opens a file that was cut short, or has damaged tables.
            source.execute("PRAGMA writable_schema = ON")
            _keep_writers_out(source)
            schema = _schema(source, path)
            with new_tables(scratch) as target:
                rows = _rows(source, schema, path.stat().st_size, lost)
                tally = Absorber(target, "newest", is_new=True).absorb(rows)
        kept = beside(path, "damaged")
        _keep(path, kept)
        put_in_place(scratch, path)
    return Salvaged(kept, tally, lost.stretches)


def _schema(source: sqlite3.Connection, path: Path) -> int:
    """Of a file that may have been cut short."""
    try:
        with explained(path, CacheUnreadableError, _BUSY_TIMEOUT_S):
            return version_of(source, path)
    except CacheCorruptError as error:
        what = f"{error.what}, and nothing leads to its rows"
        raise CacheCorruptError(path, what, NOT_OURS) from error


def _keep_writers_out(source: sqlite3.Connection) -> None:
    """Nobody writes what would not be saved. Damaged pages may be in the way of the lock."""
    try:
        source.execute("BEGIN IMMEDIATE")
    except sqlite3.DatabaseError as error:
        if "locked" in str(error):
            raise


class _Lost:
    """Counts what could not be read."""

    def __init__(self) -> None:
        self.stretches = 0
        self._last = -1

    def add(self, row_id: int) -> None:
        """A row that cannot be read; those that follow each other are one stretch."""
        if row_id != self._last + 1:
            self.stretches += 1
        self._last = row_id


def _keep(path: Path, kept: Path) -> None:
    """A second name for the old file: it has one or the other at every moment. What SQLite left
    beside it goes along, or it would be played into the new file.
    """
    try:
        os.link(path, kept)
    except OSError:  # a file system without links
        shutil.copy2(path, kept)
    for suffix in (*SIDE_FILES, "-shm"):
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(kept.with_name(kept.name + suffix))


def _rows(source: sqlite3.Connection, schema: int, size_bytes: int, lost: _Lost) -> Iterator[Read]:
    for kind in kinds_at(schema):
        for each in _records(source, kind, schema, size_bytes // _LEAST_ROW_BYTES, lost):
            yield checked_record(kind, each, schema, is_own=True)


def _records(
    source: sqlite3.Connection, kind: type[Row], schema: int, last: int, lost: _Lost
) -> Iterator[tuple[object, ...]]:
    """Ids from 1 on, in stretches that are halved where one cannot be read."""
    table = TABLES[kind].name
    sql = f"SELECT rowid, {selected(kind, schema)} FROM {table} WHERE rowid "
    stretches = [(first, first + _CHUNK - 1) for first in range(1, max(2, last + 1), _CHUNK)]
    stretches.reverse()
    failures = 0
    while stretches and failures < _MOST_FAILURES:
        first, end = stretches.pop()
        # Between two equal ids SQLite looks at the next page too, which may be the damaged one.
        which = (
            ("= ?", [first]) if first == end else ("BETWEEN ? AND ? ORDER BY rowid", [first, end])
        )
        found: list[tuple[object, ...]] = []
        try:
            for record in source.execute(sql + which[0], which[1]):
                found.append(record)
        except sqlite3.OperationalError as error:
            if str(error).startswith("no such"):
                lost.add(first)
                return
            raise
        except sqlite3.DatabaseError:
            failures += 1
            if first == end:
                lost.add(first)
            else:
                middle = (first + end) // 2
                stretches += [(middle + 1, end), (first, middle)]
            continue
        failures = 0 if found else failures
        yield from found
