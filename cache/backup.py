"""A copy beside a file, before its tables change."""

from __future__ import annotations

from contextlib import closing
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from .database import connect, connect_to_read
from .errors import CacheUnwritableError, explained
from .scratch import scratch_file

if TYPE_CHECKING:
    from pathlib import Path

_BUSY_TIMEOUT_S = 5.0


def back_up(path: Path, schema: int) -> Path:
    """Copy what is committed, under a name that says which schema and when; returns the copy.

    The caller holds the write lock, so nobody changes the file meanwhile. Raises CacheError where
    there is no room for the copy: then nothing has changed.
    """
    copy = beside(path, f"schema-{schema}")
    with explained(copy, CacheUnwritableError, _BUSY_TIMEOUT_S), scratch_file(copy) as scratch:
        copy_cache(path, scratch)
        scratch.replace(copy)
    return copy


def copy_cache(path: Path, copy: Path) -> None:
    """What is committed, whoever writes meanwhile; raises what SQLite raises."""
    with (
        closing(connect_to_read(path, _BUSY_TIMEOUT_S)) as source,
        closing(connect(copy, "rwc", _BUSY_TIMEOUT_S)) as target,
    ):
        source.backup(target)


def beside(path: Path, what: str) -> Path:
    """A name that nobody has: "autotune.db.schema-3.20261123T070102Z"."""
    now = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    first = path.with_name(f"{path.name}.{what}.{now}")
    found, number = first, 1
    while found.exists():
        number += 1
        found = first.with_name(f"{first.name}-{number}")
    return found
