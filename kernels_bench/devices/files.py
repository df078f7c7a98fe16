"""Small files of the kernel, which may be missing or unreadable."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def text_of(path: Path) -> str:
    """The text of the file; empty where the kernel, the container or the rights do not give it."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
