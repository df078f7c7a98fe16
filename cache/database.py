"""One cache file: how it is opened, and how it says that it is ours. Standard library only."""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, TypeAlias

from .errors import (
    CacheCorruptError,
    CacheNewerError,
    CacheUnreadableError,
    CacheUnwritableError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

APPLICATION_ID = int.from_bytes(b"attn", "big")
"""In the header of every file of ours; `file` and SQLite's tools show it."""

SCHEMA_VERSION = 3
"""The header's user_version: how many migrations of `schema.py` the file has seen."""

Mode: TypeAlias = Literal["ro", "rw", "rwc"]
"""SQLite's own names: read only; write what exists; write and create."""

_HEADER = """
SELECT page_count, page_size, application_id, user_version
FROM pragma_page_count, pragma_page_size, pragma_application_id, pragma_user_version
"""


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
        if not os.access(part, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
            raise CacheUnwritableError(path, f"{part} is not writable")


def connect(path: Path, mode: Mode, busy_timeout_s: float) -> sqlite3.Connection:
    """Open without any implicit transaction: ours are written out."""
    # As a URI, percent-encoded: "a?b.db" and ":memory:" are file names like any other.
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    return sqlite3.connect(uri, uri=True, timeout=busy_timeout_s, isolation_level=None)


def schema_of(connection: sqlite3.Connection, path: Path) -> int:
    """How many migrations the file has seen: none if empty. What is not ours, or newer, raises."""
    # Asked of the file first: inside a write transaction SQLite counts the page it is about to add.
    if path.stat().st_size == 0:
        return 0
    pages, page_bytes, application, version = connection.execute(_HEADER).fetchone()
    if pages == 0:  # the first writer was killed, and reading undid what it had written
        return 0
    if application != APPLICATION_ID or version < 1:
        raise CacheCorruptError(path, "a SQLite file, but not a cache of attn-autotune")
    if version > SCHEMA_VERSION:
        raise CacheNewerError(path, f"schema {version}, and this version knows {SCHEMA_VERSION}")
    # SQLite reads a last page that was cut short as if it ended in zeros. Asked after the header:
    # a file that another process makes longer meanwhile is fine.
    if path.stat().st_size < pages * page_bytes:
        raise CacheCorruptError(path, "the file was cut short")
    return int(version)


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
