"""Whole files only: written aside, and given their name when they are complete."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def scratch_file(final: Path) -> Iterator[Path]:
    """A path on the final one's file system, to be renamed to it; what was not is removed, and what
    SQLite puts beside it too. Raises OSError.
    """
    with tempfile.TemporaryDirectory(dir=final.parent, prefix=f".{final.name}.") as folder:
        yield Path(folder) / final.name


def put_in_place(scratch: Path, final: Path) -> None:
    """Give a whole file its name, whatever has it, once it is on the disk; who may read and write
    the old one may the new one.
    """
    _sync(scratch)
    if final.exists():
        shutil.copymode(final, scratch)
    scratch.replace(final)


def put_in_new_place(scratch: Path, final: Path) -> None:
    """As `put_in_place`; raises FileExistsError where another process was faster."""
    _sync(scratch)
    try:
        os.link(scratch, final)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        scratch.replace(final)


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
