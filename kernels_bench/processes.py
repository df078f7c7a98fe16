"""Processes of ours: what one that is started can import, and how it ends with its parent."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def search_path() -> str:
    """The parent's own path in its order, so that the child finds the same packages and plug-ins;
    and this package, should the parent have found it by other means.
    """
    home = str(Path(__file__).resolve().parents[1])
    entries = [str(Path(entry).resolve()) for entry in sys.path if entry]
    return os.pathsep.join(dict.fromkeys([*entries, home]))


def end_with_parent(by: signal.Signals) -> None:
    """A parent killed by -9 cannot tell us: let the kernel do it (prctl(2), Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, by)
