"""What can be wrong with a cache file. Each error says what, which file, and what to do: one line.

CacheError
├── CacheLocationError    the path cannot be made sense of
├── CacheMissingError     the row asked for is not there
├── CacheCorruptError     damaged, or not a cache at all
├── CacheNewerError       written by a newer version
├── CacheUnreadableError  the file or its folder cannot be read
│   └── CacheUnfinishedError  what a killed process left has to be undone first
├── CacheUnwritableError  read-only, a full disk, a folder at the path
├── CacheBusyError        another process holds the lock
└── CacheForeignError     what is to be taken from elsewhere cannot be made sense of
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_ELSEWHERE = "set AUTOTUNE_CACHE or pass --cache to use another file"
_REPAIR = "`autotune cache doctor --repair` saves what is readable"
NOT_OURS = f"move it away, or {_ELSEWHERE}"
"""The remedy for a file that nothing can be saved of."""


class CacheError(Exception):
    """Root of the tree. The file is never changed by whatever raises one."""

    remedy = _ELSEWHERE

    def __init__(self, path: Path, what: str, remedy: str | None = None) -> None:
        super().__init__(path, what, remedy)
        self.path = path
        self.what = what
        if remedy is not None:
            self.remedy = remedy

    def __str__(self) -> str:
        return f"cache {self.path}: {self.what}; {self.remedy}"


class CacheLocationError(CacheError):
    """The path asked for cannot be made sense of."""

    remedy = "set AUTOTUNE_CACHE or pass --cache with a full path"


class CacheMissingError(CacheError):
    """The row asked for is not there."""

    remedy = "`autotune cache ls` lists what is there"


class CacheCorruptError(CacheError):
    """The file is damaged, or was never a cache."""

    remedy = f"{_REPAIR}, or {_ELSEWHERE}"


class CacheNewerError(CacheError):
    """A newer version of this tool wrote the file."""

    remedy = f"upgrade attn-autotune, or {_ELSEWHERE}"


class CacheUnreadableError(CacheError):
    """The operating system does not let this process read the file."""


class CacheUnfinishedError(CacheUnreadableError):
    """A killed process left a half-written change, and nothing may be written to undo it."""


class CacheUnwritableError(CacheError):
    """Nothing can be stored in the file."""


class CacheBusyError(CacheError):
    """Another process held the lock for longer than we wait."""

    remedy = f"wait for that process to end, or {_ELSEWHERE}"


class CacheForeignError(CacheError):
    """A file to import or merge is none that `autotune cache export` writes, or is too large."""

    remedy = "nothing was taken from it; write it with autotune cache export"


# SQLite's own wording, by its start. Error codes reach Python from 3.11 on only; the texts are
# fixed in SQLite's sqlite3ErrStr and the same in all versions.
_STRANGE = "file is not a database"
_DAMAGE = {
    "database disk image is malformed": "the file is damaged",
    "malformed database schema": "the file is damaged",
    "no such table": "tables are missing",
    "no such column": "columns are missing",
    "Could not decode to UTF-8": "the file is damaged",
    "interrupted": "reading it takes too long, as where pages point at each other in circles",
}
_REFUSALS = {
    "database or disk is full": "the disk is full",
    "attempt to write a readonly database": "the file or its folder is read-only",
}
_BUSY = ("database is locked", "database table is locked")


@contextmanager
def explained(path: Path, denied: type[CacheError], waited_s: float) -> Iterator[None]:
    """Say in this module's terms what SQLite says of a file; `denied` is for what has no term, and
    `waited_s` how long a lock of another process was waited for.

    A broken constraint or a wrong statement is a bug of ours and passes through.
    """
    try:
        yield
    except UnicodeDecodeError as error:  # SQLite's message quotes the damage
        raise CacheCorruptError(path, "the file is damaged") from error
    except sqlite3.DatabaseError as error:
        if type(error) not in (sqlite3.DatabaseError, sqlite3.OperationalError):
            raise
        raise _explanation(path, str(error), denied, waited_s) from error
    except OSError as error:
        raise denied(path, error.strerror or str(error)) from error


def _explanation(path: Path, text: str, denied: type[CacheError], waited_s: float) -> CacheError:
    if text.startswith(_STRANGE):
        return CacheCorruptError(path, "not a SQLite file", NOT_OURS)
    for start, what in _DAMAGE.items():
        if text.startswith(start):
            return CacheCorruptError(path, what)
    for start, what in _REFUSALS.items():
        if text.startswith(start):
            return CacheUnwritableError(path, what)
    if text.startswith(_BUSY):
        return CacheBusyError(path, f"locked by another process for {waited_s:g} s")
    return denied(path, text)
