"""Saves what is readable of a damaged file into a new one, and keeps the old one."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from .absorb import Absorber, Tally
from .backup import beside
from .database import connect, make_room, tolerant_text, version_of
from .errors import NOT_OURS, CacheBusyError, CacheCorruptError, CacheUnreadableError, explained
from .exchange import new_tables
from .records import TABLES, Row, selected
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
    make_room(path)
    for holder in tuners(path):
        raise CacheBusyError(path, f"in use by {holder}")
    lost = _Lost()
    with (
        explained(path, CacheUnreadableError, _BUSY_TIMEOUT_S),
        closing(connect(path, "rw", _BUSY_TIMEOUT_S)) as source,
        scratch_file(path) as scratch,
    ):
        source.text_factory = tolerant_text
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


def _keep(path: Path, kept: Path) -> None:
    """A second name for the old file: it has one or the other at every moment."""
    try:
        os.link(path, kept)
    except OSError:  # a file system without links
        shutil.copy2(path, kept)


def _rows(source: sqlite3.Connection, schema: int, size_bytes: int, lost: _Lost) -> Iterator[Read]:
    for kind in TABLES:
        last = size_bytes // _LEAST_ROW_BYTES
        for each in _records(source, kind, schema, last, lost):
            yield checked_record(kind, each, schema, is_own=True)


def _records(
    source: sqlite3.Connection, kind: type[Row], schema: int, last: int, lost: _Lost
) -> Iterator[tuple[object, ...]]:
    """Ids from 1 on, in stretches that are halved where one cannot be read."""
    table = TABLES[kind].name
    sql = f"""SELECT {table}.id, {selected(kind, schema)} FROM {table}
        WHERE id BETWEEN ? AND ? ORDER BY id"""
    stretches = [(first, first + _CHUNK - 1) for first in range(1, max(2, last + 1), _CHUNK)]
    stretches.reverse()
    failures = 0
    while stretches and failures < _MOST_FAILURES:
        first, end = stretches.pop()
        try:
            found = source.execute(sql, [first, end]).fetchall()
        except sqlite3.DatabaseError:
            failures += 1
            if first == end:
                lost.stretches += 1
                continue
            middle = (first + end) // 2
            stretches += [(middle + 1, end), (first, middle)]
            continue
        failures = 0 if found else failures
        yield from found
