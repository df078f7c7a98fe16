"""One cache file: how it is opened, and how it says that it is ours. Standard library only."""

from __future__ import annotations

import os
import re
import sqlite3
import stat
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, TypeAlias

from .errors import (
    NOT_OURS,
    CacheCorruptError,
    CacheNewerError,
    CacheUnfinishedError,
    CacheUnreadableError,
    CacheUnwritableError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

APPLICATION_ID = int.from_bytes(b"attn", "big")
"""In the header of every file of ours; `file` and SQLite's tools show it."""

SCHEMA_VERSION = 6
"""The header's user_version: how many migrations the file has seen."""

Mode: TypeAlias = Literal["ro", "rw", "rwc", "immutable"]
"""SQLite's own names: read only; write what exists; write and create; read what nobody can change,
without locks.
"""

SIDE_FILES = ("-journal", "-wal")
"""What SQLite keeps beside a file while it changes, and what a killed process leaves."""

_OUR_TABLES = """
SELECT name, type, rootpage, sql FROM sqlite_master
WHERE lower(name) IN (
    'devices', 'models', 'measurements', 'decisions', 'misses', 'confirmations'
)
"""
"""Of whatever case, as SQLite looks names up."""
_COMPUTES = re.compile(r"\bAS\b", re.IGNORECASE)
"""Stands in the text of every generated column, and in none of ours."""


def exists(path: Path) -> bool:
    """Whether a file is there; anything else that is there raises."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise CacheUnreadableError(path, error.strerror or str(error)) from error
    if stat.S_ISDIR(mode):
        raise CacheUnreadableError(path, "a folder, not a file")
    if not stat.S_ISREG(mode):
        # SQLite would wait for ever for the other end of a pipe.
        raise CacheUnreadableError(path, "not a regular file")
    return True


def make_room(path: Path) -> None:
    """Make the folder, and refuse now what SQLite would refuse at the first row only."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        what = f"its folder cannot be made ({error.strerror})"
        raise CacheUnwritableError(path, what) from error
    # The folder too: SQLite keeps its rollback journal beside the file.
    for part in (path.parent, path) if exists(path) else (path.parent,):
        if not is_writable(part):
            raise CacheUnwritableError(path, f"{part} is not writable")


def is_writable(path: Path) -> bool:
    """Whether this process may write there, by its effective ids."""
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def connect(path: Path, mode: Mode, busy_timeout_s: float) -> sqlite3.Connection:
    """Open without any implicit transaction: ours are written out."""
    # As a URI, percent-encoded: "a?b.db" and ":memory:" are file names like any other.
    access = "mode=ro&immutable=1" if mode == "immutable" else f"mode={mode}"
    uri = f"{path.absolute().as_uri()}?{access}"
    connection = sqlite3.connect(uri, uri=True, timeout=busy_timeout_s, isolation_level=None)
    # A file may come from anywhere: no function that its schema names, and no cell that reaches
    # over the end of its page, is believed.
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    return connection


def connect_to_read(
    path: Path, busy_timeout_s: float, *, is_ours: bool = True
) -> sqlite3.Connection:
    """Open without a right to write, in a transaction: all that is read is of one moment.

    What a killed writer left half-written SQLite undoes first, and that takes a right to write:
    raises CacheUnreadableError where there is none, as in a file that is not `is_ours`.
    """
    try:
        return _begun(path, _mode_for_reading(path, is_ours), busy_timeout_s)
    except sqlite3.OperationalError as error:
        if "readonly" not in str(error):
            raise
        if not is_ours:
            what = "a killed process left a half-written change, and this file is never written"
            raise CacheUnfinishedError(path, what) from error
    try:
        return _begun(path, "rw", busy_timeout_s)
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise
        what = "a killed process left a half-written change, and undoing it needs write permission"
        raise CacheUnfinishedError(path, what) from error


def _begun(path: Path, mode: Mode, busy_timeout_s: float) -> sqlite3.Connection:
    connection = connect(path, mode, busy_timeout_s)
    try:
        connection.execute("BEGIN")
        connection.execute("PRAGMA user_version").fetchone()  # the lock comes with the first page
    except BaseException:
        connection.close()
        raise
    return connection


def _mode_for_reading(path: Path, is_ours: bool) -> Mode:
    """Without locks where the medium itself is read-only, so that nobody can change the file: there
    a lock may be refused. And of a file in WAL mode where nothing may be written beside it, since
    SQLite would. A file that is merely read-only for this user may well be written by another.
    """
    is_medium_ours = not os.statvfs(path).f_flag & os.ST_RDONLY
    is_beside = is_medium_ours and is_ours and is_writable(path.parent)
    if is_medium_ours and (is_beside or not is_in_wal_mode(path)):
        return "ro"
    for suffix in SIDE_FILES:
        side = path.with_name(path.name + suffix)
        if side.exists() and side.stat().st_size > 0:
            what = f"{side.name} beside it holds a change, and nothing may be written there"
            raise CacheUnfinishedError(path, what)
    return "immutable"


def is_in_wal_mode(path: Path) -> bool:
    """By the file's header, without SQLite: https://sqlite.org/fileformat2.html, offset 18."""
    with path.open("rb") as file:
        return file.read(20)[18:] == b"\2\2"


def schema_of(connection: sqlite3.Connection, path: Path) -> int:
    """How many migrations the file has seen: none if empty. What is not ours, newer or cut short
    raises.
    """
    version = version_of(connection, path)
    if version == 0:
        return 0
    # SQLite reads a last page that was cut short as if it ended in zeros. Asked after the pages: a
    # file that another process makes longer meanwhile is fine.
    whole_bytes = _pragma(connection, "page_count") * _pragma(connection, "page_size")
    if path.stat().st_size < whole_bytes and not _is_wal(connection):
        raise CacheCorruptError(path, "the file was cut short")
    return version


def version_of(connection: sqlite3.Connection, path: Path) -> int:
    """As `schema_of`, of a file that may have been cut short."""
    # Asked of the file first: inside a write transaction SQLite counts the page it is about to add.
    if path.stat().st_size == 0:
        return 0
    # Read first: only then are locks taken, and what a killed writer left undone.
    tables = connection.execute(_OUR_TABLES).fetchall()
    if _pragma(connection, "page_count") == 0:  # of the first writer, which was killed
        return 0
    version = _pragma(connection, "user_version")
    application = _pragma(connection, "application_id")
    if application != APPLICATION_ID or version < 1:
        what = "a SQLite file, but not a cache of attn-autotune"
        raise CacheCorruptError(path, what, NOT_OURS)
    if version > SCHEMA_VERSION:
        raise CacheNewerError(path, f"schema {version}, and this version knows {SCHEMA_VERSION}")
    for name, *form in tables:
        if not _is_plain(*form):
            raise CacheCorruptError(path, f"{name} is no plain table", NOT_OURS)
    return version


def _is_plain(kind: object, rootpage: object, sql: object) -> bool:
    """A view, a virtual table or a generated column under one of our names would compute what it
    likes while it is read.
    """
    text = str(sql)
    is_table = kind == "table" and rootpage != 0 and text.startswith("CREATE TABLE ")
    return is_table and not _COMPUTES.search(text)


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _is_wal(connection: sqlite3.Connection) -> bool:
    """Whether somebody put the file into WAL mode: then new pages stand beside it first."""
    return bool(connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal")


def tolerant_text(text: bytes) -> str:
    """What is no UTF-8 becomes what no column may hold, so that it costs its row and not all."""
    return text.decode("utf-8", "surrogateescape")


def limit_time(connection: sqlite3.Connection, seconds: float) -> None:
    """Interrupt what runs for longer: damaged pages can point at each other in circles."""
    ends = time.monotonic() + seconds
    connection.set_progress_handler(lambda: time.monotonic() > ends, 100_000)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing, and the write lock from the start: waiting for it later can deadlock."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # A full disk makes SQLite roll back by itself.
        if connection.in_transaction:
            connection.rollback()
        raise
