"""Export, import, merge: whole files or none, and a report of what became of every row."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import jsonl
from .absorb import Absorber, Tally
from .backup import copy_cache
from .confirmations import forget_confirmations
from .conflicts import Prefer
from .database import SIDE_FILES, connect, exists, make_room, transaction
from .errors import CacheUnwritableError, explained
from .misses import forget_answered
from .records import TABLES, columns_of
from .scratch import put_in_new_place, put_in_place, scratch_file
from .sources import Read, Refused, Selected, Taken, read_source

if TYPE_CHECKING:
    import sqlite3

BUSY_TIMEOUT_S = 30.0
_CACHE_KIB = 128 << 10
"""Of pages, where a whole file is written: keys come in no order."""


@dataclass(frozen=True)
class Policy:
    """Which of two rows of one key stays."""

    prefer: Prefer = "newest"
    drivers: Mapping[str, str] | None = None
    """Package -> version, for "driver"."""


@dataclass(frozen=True)
class Absorbed:
    """What became of the rows of one file."""

    path: Path
    tally: Tally


@dataclass(frozen=True)
class Merged:
    """What became of the rows of many."""

    files: tuple[Absorbed, ...]
    other_drivers: int = 0
    """Decisions that gave way to those of the driver."""


def export_cache(
    source: Path, target: Path, part: Selected | None = None, is_forced: bool = False
) -> Absorbed:
    """Write a cache, or a part of it, to a new file: JSON Lines where its name ends in .jsonl.

    Damaged rows are left out and told. Raises CacheError; a target that is there stays as it is
    unless forced, and then too until the new one is whole.
    """
    with closing(read_source(source, part, is_own=True)) as rows:
        if target.suffix == ".jsonl":
            with _new_file(target, is_forced) as scratch:
                return Absorbed(source, _write_lines(scratch, rows))
        with _new_cache(target, is_forced) as connection:
            return Absorbed(source, Absorber(connection, "newest", is_new=True).absorb(rows))


def import_rows(source: Path, target: Path, policy: Policy, is_rehearsal: bool = False) -> Merged:
    """Take the rows of a file into a cache, all that may be taken or, on an error, none; in a
    rehearsal into a copy of it that is thrown away.
    """
    if not is_rehearsal and exists(target):
        with _opened(target) as connection, transaction(connection):
            return _absorb([source], connection, policy, is_new=False)
    if not is_rehearsal:
        return merge_files([source], target, policy)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / target.name
        if exists(target):
            with explained(target, CacheUnwritableError, BUSY_TIMEOUT_S):
                copy_cache(target, copy)
        return import_rows(source, copy, policy)


def merge_files(
    sources: Sequence[Path], target: Path, policy: Policy, is_forced: bool = False
) -> Merged:
    """Make one new cache of many files, in their order."""
    with _new_cache(target, is_forced) as connection:
        return _absorb(sources, connection, policy, is_new=True)


def _absorb(
    sources: Sequence[Path], connection: sqlite3.Connection, policy: Policy, *, is_new: bool
) -> Merged:
    absorber = Absorber(connection, policy.prefer, is_new)
    files = []
    for path in sources:
        # Closed at once: an error that is still looked at would hold its lock.
        with closing(read_source(path)) as rows:
            files.append(Absorbed(path, absorber.absorb(rows)))
    dropped = 0
    if policy.prefer == "driver" and policy.drivers:
        dropped = _drop_other_drivers(connection, policy.drivers)
    forget_answered(connection)
    return Merged(tuple(files), dropped)


def _drop_other_drivers(connection: sqlite3.Connection, drivers: Mapping[str, str]) -> int:
    """Of decisions that differ in these versions alone, keep those that have them all."""
    alike: dict[tuple[str, str, str], list[tuple[int, bool]]] = {}
    rows = connection.execute("SELECT id, device_key, question, versions FROM decisions")
    for row_id, device_key, question, text in rows:
        try:
            versions = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if not isinstance(versions, dict):
            continue
        rest = {name: version for name, version in versions.items() if name not in drivers}
        key = device_key, question, json.dumps(rest, sort_keys=True)
        alike.setdefault(key, []).append((row_id, drivers.items() <= versions.items()))
    others = [
        (row_id,)
        for group in alike.values()
        if any(is_ours for _, is_ours in group)
        for row_id, is_ours in group
        if not is_ours
    ]
    forget_confirmations(connection, "id = ?", others)
    connection.executemany("DELETE FROM decisions WHERE id = ?", others)
    return len(others)


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """A cache for writing; made, and brought up to date, where it has to be."""
    from . import schema

    make_room(path)
    with (
        explained(path, CacheUnwritableError, BUSY_TIMEOUT_S),
        closing(connect(path, "rwc", BUSY_TIMEOUT_S)) as connection,
    ):
        schema.ensure(connection, path)
        # Readers are kept out while pages are written, so all are written at the commit.
        connection.execute("PRAGMA cache_spill = OFF")
        yield connection


@contextmanager
def _new_cache(path: Path, is_forced: bool) -> Iterator[sqlite3.Connection]:
    with _new_file(path, is_forced) as scratch, new_tables(scratch) as connection:
        yield connection


@contextmanager
def new_tables(scratch: Path) -> Iterator[sqlite3.Connection]:
    """A cache that nobody else knows of, for an absorber."""
    from . import schema

    with closing(connect(scratch, "rwc", BUSY_TIMEOUT_S)) as connection:
        # A half of it is thrown away: one sync, of the whole, by who gives it its name.
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        schema.ensure(connection, scratch)
        with transaction(connection), _sorted_later(connection):
            yield connection


@contextmanager
def _sorted_later(connection: sqlite3.Connection) -> Iterator[None]:
    """Make the indexes when all rows are there: to sort once is faster than to keep sorted."""
    indexes = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql NOT NULL"
        " AND tbl_name NOT LIKE '!_%' ESCAPE '!'"
    ).fetchall()
    for name, _ in indexes:
        connection.execute(f'DROP INDEX "{name}"')
    yield
    for _, sql in indexes:
        connection.execute(sql)


@contextmanager
def _new_file(path: Path, is_forced: bool) -> Iterator[Path]:
    """A scratch file that takes its place when the block ends without an error."""
    path = path.resolve()  # a link stays one
    make_room(path)
    if path.exists() and not is_forced:
        raise CacheUnwritableError(path, "is there already", "name another file, or pass --force")
    for suffix in SIDE_FILES:
        if (side := path.with_name(path.name + suffix)).exists():
            # SQLite would play it back into the new file.
            what = f"{side.name} lies beside it, of a process that writes or was killed"
            raise CacheUnwritableError(path, what, "name another file, or remove both")
    with explained(path, CacheUnwritableError, BUSY_TIMEOUT_S), scratch_file(path) as scratch:
        yield scratch
        if is_forced:
            put_in_place(scratch, path)
        else:
            put_in_new_place(scratch, path)


def _write_lines(path: Path, rows: Iterator[Read]) -> Tally:
    """Sorted by key, so that two exports of the same rows are the same text."""
    tally = Tally()
    lines: list[tuple[int, tuple[object, ...], str]] = []
    order = {kind: place for place, kind in enumerate(TABLES)}
    for each in rows:
        match each:
            case Refused():
                tally.refused.append(each)
                tally.fates["refused"] += 1
            case Taken(kind=kind, values=values):
                named = dict(zip(columns_of(kind), values, strict=True))
                key = tuple(named[column] for column in TABLES[kind].key)
                lines.append((order[kind], key, jsonl.row_line(kind, values)))
                tally.fates["new"] += 1
    with path.open("w", encoding="utf-8") as file:
        file.write(jsonl.header_line())
        file.writelines(line for _, _, line in sorted(lines))
    return tally
