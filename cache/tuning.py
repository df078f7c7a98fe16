"""One tuner at a time for a device and a model, among all processes that share a cache.

The lock is the operating system's and goes with the process that holds it, however it ends. Beside
it stands who holds it, for people who wait.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import CacheBusyError

if TYPE_CHECKING:
    from filelock import BaseFileLock

_POLL_S = 0.2
_MOST_NOTE_BYTES = 4096


@dataclass(frozen=True)
class Holder:
    """Who tunes, or tuned when it died."""

    pid: int
    host: str
    since: str
    """UTC, ISO 8601, seconds."""
    what: str
    """The model and the device, for people."""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, which tunes {self.what} since {self.since}"


class TuningBusyError(CacheBusyError):
    """Somebody else tunes the same, and the caller does not wait any longer."""

    remedy = "autotune choose says what a start gets meanwhile"


@dataclass(frozen=True)
class LockPatience:
    """How a tuner waits for another."""

    most_s: float | None = None
    """None: as long as it takes; 0: not at all."""
    on_wait: Callable[[Holder | None], None] = lambda _: None
    """Called once, before the first wait."""
    on_dead: Callable[[Holder], None] = lambda _: None
    """Called with the one that died while it tuned; what it finished is stored."""


@dataclass(frozen=True)
class TuningSubject:
    """What is tuned, for one cache."""

    path: Path
    device_key: str
    fingerprint: str
    name: str
    """For people."""

    @property
    def folder(self) -> Path:
        """Of all locks of the cache."""
        return locks_folder(self.path)

    @property
    def stem(self) -> str:
        """Of its own."""
        both = json.dumps([self.device_key, self.fingerprint])
        return blake2b(both.encode(), digest_size=8).hexdigest()


def locks_folder(path: Path) -> Path:
    """Beside the cache."""
    return path.with_name(f"{path.name}.locks")


@contextmanager
def hold_tuning_lock(subject: TuningSubject, patience: LockPatience) -> Iterator[None]:
    """Hold the lock while the block runs. Raises TuningBusyError where another holds it for longer
    than is waited. Where the file system has no locks, nobody is kept out.
    """
    note = subject.folder / f"{subject.stem}.holder"
    try:
        lock = _lock(subject)
        is_held = _acquire(lock, note, patience)
    except (OSError, NotImplementedError):
        # No room, no right, no such call: two tuners cost time, and their rows replace each other.
        yield
        return
    if not is_held:
        raise TuningBusyError(subject.path, f"locked by {_holder(note) or 'another process'}")
    try:
        if dead := _holder(note):
            patience.on_dead(dead)
        _write(note, subject.name)
        yield
    finally:
        with suppress(OSError):
            note.unlink(missing_ok=True)
        lock.release()


def tuners(path: Path) -> tuple[Holder, ...]:
    """Who tunes for a cache now; a note whose lock is free is of somebody who died."""
    notes = sorted(locks_folder(path).glob("*.holder"))
    held = (note for note in notes if _is_held(note.with_suffix(".lock")))
    return tuple(holder for note in held if (holder := _holder(note)) is not None)


def _is_held(path: Path) -> bool:
    """Whether a process has the lock; also where this one may not try."""
    from filelock import FileLock, Timeout

    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0, thread_local=False):
            return False
    except (Timeout, OSError, NotImplementedError):
        return True


def _lock(subject: TuningSubject) -> BaseFileLock:
    # Imported late: reading needs no lock.
    from filelock import FileLock

    subject.folder.mkdir(exist_ok=True)
    # Who may write the cache may lock it.
    mode = subject.path.stat().st_mode & 0o666 if subject.path.exists() else 0o600
    return FileLock(subject.folder / f"{subject.stem}.lock", mode=mode, thread_local=False)


def _acquire(lock: BaseFileLock, note: Path, patience: LockPatience) -> bool:
    from filelock import Timeout

    ends = None if patience.most_s is None else time.monotonic() + patience.most_s
    has_told = False
    while True:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            pass
        else:
            return True
        if ends is not None and time.monotonic() >= ends:
            return False
        if not has_told:
            patience.on_wait(_holder(note))
            has_told = True
        time.sleep(_POLL_S)


def _write(note: Path, what: str) -> None:
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    holder = Holder(os.getpid(), platform.node(), now, what)
    with suppress(OSError):
        note.write_text(json.dumps(asdict(holder)), encoding="utf-8")


def _holder(note: Path) -> Holder | None:
    """Anybody may have written there: only what looks like ours is told."""
    try:
        with note.open("rb") as file:
            found = json.loads(file.read(_MOST_NOTE_BYTES))
        holder = Holder(**found)
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    texts = (holder.host, holder.since, holder.what)
    if type(holder.pid) is not int or not all(
        isinstance(t, str) and t.isprintable() for t in texts
    ):
        return None
    return holder
