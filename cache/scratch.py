"""Whole files only: written aside, and given their name when they are complete."""

from __future__ import annotations

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
