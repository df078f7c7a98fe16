"""Processes of ours: what one that is started can import, how it ends, and its last words."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO

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


def kill_group(leader: subprocess.Popen[bytes]) -> None:
    """Of a process that leads a session, and hence a group: with all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(leader.pid, signal.SIGKILL)


def ended_text(code: int) -> str:
    """A process's exit code, for people."""
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"


def last_lines(output: IO[bytes], most_bytes: int, from_byte: int = 0) -> list[str]:
    """Of what a process wrote into a file, which may be gigabytes; not before `from_byte`."""
    end = output.seek(0, os.SEEK_END)
    output.seek(max(from_byte, end - most_bytes))
    return output.read().decode(errors="replace").splitlines()
