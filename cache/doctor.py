"""What is wrong with a cache file, or about to be. Looks, and changes nothing."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from .database import (
    SCHEMA_VERSION,
    SIDE_FILES,
    connect_to_read,
    exists,
    is_in_wal_mode,
    is_writable,
    schema_of,
)
from .errors import CacheError, CacheUnfinishedError, CacheUnreadableError, explained
from .orphans import count_orphans
from .records import TABLES
from .sources import Refused, read_source

Level: TypeAlias = Literal["error", "warning", "note"]
"""error: rows are lost or cannot be read. warning: something will fail. note: to be known."""

_BUSY_TIMEOUT_S = 1.0
_MOST_LINES = 10
_LITTLE_ROOM_BYTES = 64 << 20


@dataclass(frozen=True)
class Finding:
    """One thing, and what to do about it."""

    level: Level
    what: str
    remedy: str = ""


def examine(path: Path) -> Iterator[Finding]:
    """Everything about one file, the worst not first: in the order in which it is looked for."""
    try:
        if not exists(path):
            yield Finding("note", "not there: it is empty, and the first tuning makes it")
            return
        with explained(path, CacheUnreadableError, _BUSY_TIMEOUT_S):
            yield from _about_places(path)
            yield from _about_journal(path)
            yield from _inside(path)
    except CacheUnfinishedError:
        return  # the journal was named; to look inside would undo what it holds
    except CacheError as error:
        yield Finding("error", error.what, error.remedy)


def _about_places(path: Path) -> Iterator[Finding]:
    for part in (path.parent, path):
        if not is_writable(part):
            yield Finding("note", f"{part} is not writable: it is read, and nothing is stored")
    free = shutil.disk_usage(path.parent).free
    if free < max(_LITTLE_ROOM_BYTES, path.stat().st_size):
        yield Finding("warning", f"{free >> 20} MiB are free on its disk", "make room")
    for suffix in SIDE_FILES:
        side = path.with_name(path.name + suffix)
        if side.exists() and side.stat().st_size:
            what = f"{side.name} beside it: a process writes now, or was killed while it wrote"
            yield Finding("note", what, "the next one that opens the file finishes or undoes that")
    copies = sorted(
        each.name
        for what in ("schema-*", "damaged.*")
        for each in path.parent.glob(f"{_literal(path.name)}.{what}")
    )
    if copies:
        yield Finding("note", f"copies of it are kept: {', '.join(copies)}", "remove what is old")


def _literal(name: str) -> str:
    """A file's name where a pattern is meant."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def _inside(path: Path) -> Iterator[Finding]:
    with (
        explained(path, CacheUnreadableError, _BUSY_TIMEOUT_S),
        closing(connect_to_read(path, _BUSY_TIMEOUT_S, is_ours=False)) as connection,
    ):
        schema = schema_of(connection, path)
        if schema == 0:
            yield Finding("note", "empty")
            return
        if schema < SCHEMA_VERSION:
            what = f"schema {schema}, read as it is; this version writes {SCHEMA_VERSION}"
            yield Finding("note", what, "the next command that writes brings it up to date")
        is_whole = True
        for line in _integrity(connection):
            is_whole = False
            yield Finding("error", line, "`autotune cache doctor --repair` saves what is readable")
        if is_whole:
            yield from _about_pointers(connection)
            yield from _about_orphans(connection, schema)
    yield from _about_rows(path)


def _about_journal(path: Path) -> Iterator[Finding]:
    if is_in_wal_mode(path):
        what = "in WAL mode, which somebody else set: not for network file systems or read-only use"
        yield Finding("warning", what, "sqlite-utils disable-wal")


def _integrity(connection: sqlite3.Connection) -> Iterator[str]:
    try:
        for (line,) in connection.execute(f"PRAGMA integrity_check({_MOST_LINES})"):
            if line != "ok":
                yield " ".join(str(line).split())
    except sqlite3.DatabaseError as error:
        yield str(error)


def _about_pointers(connection: sqlite3.Connection) -> Iterator[Finding]:
    found = connection.execute("PRAGMA foreign_key_check").fetchmany(_MOST_LINES)
    for table, row_id, parent, _ in found:
        what = f"{table} {row_id} points at a row of {parent} that is not there"
        yield Finding("error", what, "`autotune cache doctor --repair` leaves it out")


def _about_orphans(connection: sqlite3.Connection, schema: int) -> Iterator[Finding]:
    for table, count in count_orphans(connection, schema).items():
        if count:
            what = f"{count} {_ORPHANS[table]}"
            yield Finding("note", what, "autotune cache prune removes them")


_ORPHANS = {
    "confirmations": "confirmations without a decision",
    "models": "models without a decision",
    "devices": "devices without a row",
}


def _about_rows(path: Path) -> Iterator[Finding]:
    rows = read_source(path, is_own=True, is_ours=False, kinds=TABLES)
    refused = [each for each in rows if isinstance(each, Refused)]
    for each in refused[:_MOST_LINES]:
        what = f"{each.where}: {each.why}: changed by another tool, or damaged; no start takes it"
        yield Finding("error", what, "`autotune cache doctor --repair` leaves it out")
    if len(refused) > _MOST_LINES:
        yield Finding("error", f"{len(refused) - _MOST_LINES} more rows like these")
