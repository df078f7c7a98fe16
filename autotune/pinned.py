"""The lock that the user points at, as far as it fits this question."""

from __future__ import annotations

from pathlib import Path

from autotune.decision import Decision
from autotune.elsewhere import stack_under
from autotune.errors import LockError
from autotune.known import Known, unknown, unknown_text
from autotune.lock import Located, Lock, load_lock, matching
from autotune.nearest import Stored, nearest
from autotune.remembered import Answer, Pinned
from autotune.today import Asked
from kernels_bench.backends import is_known


def pinned(asked: Asked, path: Path) -> Pinned:
    """The entry for this question and device; a lock that cannot be read is an error under
    `strict`, and otherwise a note.
    """
    try:
        lock = load_lock(path)
    except LockError as error:
        if asked.strict:
            raise
        return Pinned(notes=(str(error),))
    notes = _misspelt(lock, asked)
    found = matching(lock, asked.question.text, asked.found.device)
    if found is None or not is_known(found.entry.candidate.backend):
        why = _nothing_fits(lock, asked) if found is None else _unknown_backend(lock, found)
        if asked.strict:
            raise LockError(why)
        return Pinned(deny=lock.deny, notes=(*notes, why))
    where = f"lock {lock.source} line {found.line}"
    return Pinned((Answer(_decision(found), "lock"),), lock.deny, notes, where)


def _misspelt(lock: Lock, asked: Asked) -> tuple[str, ...]:
    """Names of the deny list that deny nobody."""
    missing = unknown(lock.deny)
    if not missing:
        return ()
    known = Known(asked, stack_under(asked.found)).text
    told = f"lock {lock.source}: deny: {unknown_text(missing)}; known: {known}"
    if asked.strict:
        raise LockError(told)
    return (told,)


def _unknown_backend(lock: Lock, found: Located) -> str:
    name = found.entry.candidate.backend
    return f"lock {lock.source} line {found.line}: no such backend is installed: {name}"


def _nothing_fits(lock: Lock, asked: Asked) -> str:
    """What comes closest, and why it is not taken."""
    stored = (
        Stored(
            f"line {each.line}", each.entry.model_name, each.entry.question_text, each.entry.device
        )
        for each in lock.entries
    )
    near = nearest(asked.question.text, asked.found.device, stored)
    told = "it has no line for this model"
    if near:
        told = f"{near[0].stored.where} does not fit: {', '.join(near[0].differences)}"
    return f"lock {lock.source}: {told}"


def _decision(found: Located) -> Decision:
    """What the entry was written from, as far as a lock keeps it."""
    entry = found.entry
    return Decision(
        winner=entry.candidate,
        default=entry.default,
        per_kind=entry.per_kind,
        split=entry.split,
        speedup_vs_default=entry.speedup_vs_default,
        tie=False,
        why=f"{entry.candidate.label} is pinned, as decided on {entry.measured_at[:10]}",
        runners_up=(),
        versions=entry.versions,
        method=entry.method,
        power_limit_w=entry.device.power_limit_w,
        measured_at=entry.measured_at,
    )
