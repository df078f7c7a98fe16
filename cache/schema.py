"""Brings a file's tables up to date. Imports sqlite-utils; `store.py` imports this module late."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlite_utils import Database

from .backup import back_up
from .database import SCHEMA_VERSION, schema_of, transaction
from .migrations import MIGRATIONS

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path


def wrap(connection: sqlite3.Connection) -> Database:
    """The connection as sqlite-utils' database, without the plug-ins that others installed."""
    return Database(connection, execute_plugins=False)


def ensure(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the tables up to date, from none or from an older version, in one transaction; a file
    that has rows is copied beside itself before. One that is up to date is read and not locked.
    """
    if schema_of(connection, path) == SCHEMA_VERSION:
        return
    with transaction(connection):
        # Asked again under the lock: of eight ranks that open the file together, one changes it.
        schema = schema_of(connection, path)
        if schema == SCHEMA_VERSION:
            return
        copy = back_up(path, schema) if schema > 0 else None
        try:
            MIGRATIONS.apply(wrap(connection))
        except BaseException:
            if copy is not None:  # nothing has changed
                copy.unlink(missing_ok=True)
            raise
