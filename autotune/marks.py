"""Marks of engine starts: a decision whose start died is not taken again.

A start that takes a measured backend leaves a file, holds its lock, and removes it once the engine
serves. The operating system frees the lock of a process that is gone, so that a file without a
holder is of a start that died, whatever killed it.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from kernels_bench.errors import AutotuneError

_LARGEST_BYTES = 1 << 16
_SUFFIX = ".start"


class MarkError(AutotuneError):
    """No folder takes a mark."""


@dataclass(frozen=True)
class Dead:
    """A start that ended before its engine served."""

    file: Path
    key: str
    """Of the decision that it took."""
    what: str
    """The backend, the model and the device, for people."""
    when: str
    why: str
    """Its last words; empty where it left none."""


@dataclass
class Mark:
    """The file of a start under way. Mutable: it is left once, and ends once."""

    path: Path
    _descriptor: int
    _fields: dict[str, str]

    def clear(self) -> None:
        """The engine serves, or was stopped by its user."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)
        self._let_go()

    def bury(self, why: str) -> None:
        """The start failed: the file stays, with the reason."""
        with suppress(OSError):
            text = json.dumps(self._fields | {"why": why[:500]}).encode()
            os.pwrite(self._descriptor, text, 0)
            os.ftruncate(self._descriptor, len(text))
        self._let_go()

    def _let_go(self) -> None:
        with suppress(OSError):
            os.close(self._descriptor)


def mark_folders(cache: Path, environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Where marks may lie, best first: AUTOTUNE_STATE alone where it is set; else beside the user's
    cache, and in the temporary folder where that cannot be written.
    """
    if named := environ.get("AUTOTUNE_STATE"):
        return (Path(named).expanduser() / "starts",)
    temporary = Path(tempfile.gettempdir()) / f"attn-autotune-{os.getuid()}"
    return (cache.with_name(f"{cache.name}.starts"), temporary / "starts")


def can_mark(folders: Iterable[Path]) -> bool:
    """Whether a start could leave one."""
    return _writable(folders) is not None


def leave_mark(key: str, what: str, folders: Sequence[Path]) -> Mark:
    """Leave one in the first folder that takes it; raises MarkError."""
    folder = _writable(folders)
    if folder is None:
        tried = ", ".join(map(str, folders))
        raise MarkError(f"no mark of this start can be left in {tried}; set AUTOTUNE_STATE=FOLDER")
    fields = {
        "key": key,
        "what": what,
        "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "host": socket.gethostname(),
        "pid": str(os.getpid()),
    }
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{key}-", dir=folder)
        try:
            # Locked before it has its name: nobody may take it for that of a dead start.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(descriptor, json.dumps(fields).encode())
            path = folder / f"{Path(name).name[1:]}{_SUFFIX}"
            Path(name).rename(path)
        except OSError:
            os.close(descriptor)
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise MarkError(f"{folder}: no mark of this start can be left: {error}") from error
    return Mark(path, descriptor, fields)


def dead_starts(folders: Iterable[Path], key: str = "") -> tuple[Dead, ...]:
    """Of this decision, or of all; oldest first."""
    files = (file for folder in folders for file in _files(folder, key))
    found = [dead for file in files if (dead := _dead(file)) is not None]
    return tuple(sorted(found, key=lambda dead: dead.when))


def forget(starts: Iterable[Dead]) -> None:
    """Let their decisions be taken again; raises OSError."""
    for dead in starts:
        dead.file.unlink(missing_ok=True)


def _files(folder: Path, key: str) -> tuple[Path, ...]:
    try:
        return tuple(sorted(folder.glob(f"{key}*{_SUFFIX}"))) if _is_trusted(folder) else ()
    except OSError:
        return ()


def _dead(file: Path) -> Dead | None:
    """None where its start is under way, or over since the folder was listed."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # others may be looking too
        text = os.read(descriptor, _LARGEST_BYTES)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    said = _fields(text)
    key, what = said.get("key"), said.get("what")
    return Dead(
        file,
        key or file.name.partition("-")[0],
        what or "a start",
        said.get("when", ""),
        said.get("why", ""),
    )


def _fields(text: bytes) -> Mapping[str, str]:
    """Of a file that a full disk or a kill may have left empty."""
    try:
        fields: object = json.loads(text)
    except ValueError:
        return {}
    if not isinstance(fields, dict):
        return {}
    return {str(name): value for name, value in fields.items() if isinstance(value, str)}


def _writable(folders: Iterable[Path]) -> Path | None:
    for folder in folders:
        with suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if _is_trusted(folder):
                with tempfile.TemporaryFile(dir=folder) as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return folder
    return None


def _is_trusted(folder: Path) -> bool:
    """Not somebody else's folder under our name in /tmp."""
    return folder.stat().st_uid in (os.getuid(), 0)
