"""A lock: decisions in a text file that people review, and that outranks the cache.

JSON, indented and sorted, since it needs no library on any Python and diffs line by line. It holds
names and numbers only: nothing in it is imported, run or opened.
"""

from __future__ import annotations

import errno
import hashlib
import json
import stat
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from autotune.errors import LockError
from autotune.keys import device_key
from autotune.lock_entries import LockEntry, entry_fields, read_entry
from autotune.lock_text import decision_lines, one_line, read_json
from kernels_bench.spec import Device

SCHEMA = 1
LARGEST_BYTES = 4 << 20
"""A ConfigMap holds 1 MiB; more than this is no lock of ours."""


@dataclass(frozen=True)
class Located:
    """An entry of a file."""

    entry: LockEntry
    line: int
    """Where it begins, from 1."""


@dataclass(frozen=True)
class Lock:
    """A file that was read."""

    source: str
    entries: tuple[Located, ...]
    deny: frozenset[str]
    """Backends that are never taken."""


def evidence_digest(lines: Iterable[str]) -> str:
    """Of measurements, whatever their order."""
    text = "\n".join(sorted(set(lines)))
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def render_lock(entries: Iterable[LockEntry], deny: Collection[str]) -> str:
    """The same bytes for the same decisions."""
    ordered = sorted(
        entries,
        key=lambda each: (
            each.model_name, each.device.name, each.engine, each.profile, each.question_text,
            device_key(each.device),
        ),
    )  # fmt: skip
    fields = {
        "autotune_lock": SCHEMA,
        "decisions": [entry_fields(each) for each in ordered],
        "deny": sorted(set(deny)),
    }
    return json.dumps(fields, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def load_lock(path: Path) -> Lock:
    """Read a file; raises LockError."""
    try:
        content = _content(path)
        if len(content) > LARGEST_BYTES:
            large = f"larger than {LARGEST_BYTES >> 20} MiB, not a lock"
            raise LockError(f"lock {path}: {large}; {_REMEDY}")
        text = content.decode()
    except OSError as error:
        why = error.strerror or str(error)
        raise LockError(f"lock {path}: cannot be read ({why}); {_REMEDY}") from error
    except UnicodeDecodeError as error:
        raise LockError(f"lock {path}: not a text in UTF-8; {_REMEDY}") from error
    return parse_lock(text, str(path))


_REMEDY = "write one with autotune lock, or unset AUTOTUNE_LOCK"


def _content(path: Path) -> bytes:
    """No more than shows that it is too large. A pipe or a device may never end, and an engine's
    start would wait for it.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError(errno.EINVAL, "not a regular file")
    with path.open("rb") as file:
        return file.read(LARGEST_BYTES + 1)


def parse_lock(text: str, source: str) -> Lock:
    """Read a text; raises LockError that names the line."""
    try:
        fields = read_json(text)
    except (ValueError, RecursionError) as error:
        raise LockError(f"lock {source}: not JSON ({one_line(error)}); {_REMEDY}") from error
    match fields:
        case {"autotune_lock": int(schema)} if type(schema) is int and schema > SCHEMA:
            raise LockError(
                f"lock {source}: schema {schema}, and this version knows {SCHEMA}; upgrade"
                " attn-autotune, or point AUTOTUNE_LOCK at another file"
            )
        case {"autotune_lock": int(schema), "decisions": list(decisions), **rest} if (
            type(schema) is int and schema == SCHEMA  # True is 1 too
        ):
            deny = _deny(rest.get("deny", []), source)
        case _:
            raise LockError(f"lock {source}: not a lock of attn-autotune; {_REMEDY}")
    lines = decision_lines(text, len(decisions))
    entries = [
        Located(_entry(each, source, line), line)
        for each, line in zip(decisions, lines, strict=True)
    ]
    _refuse_twins(entries, source)
    return Lock(source, tuple(entries), deny)


def matching(lock: Lock, question_text: str, device: Device) -> Located | None:
    """The entry for this very question and part."""
    key = device_key(device)
    for each in lock.entries:
        if each.entry.question_text == question_text and device_key(each.entry.device) == key:
            return each
    return None


def _deny(names: object, source: str) -> frozenset[str]:
    if not isinstance(names, list) or not all(
        isinstance(name, str) and name and name.isprintable() for name in names
    ):
        raise LockError(f"lock {source}: deny: expected a list of names of backends; {_REMEDY}")
    return frozenset(names)


def _entry(fields: object, source: str, line: int) -> LockEntry:
    try:
        return read_entry(fields)
    except ValueError as error:
        what = one_line(error)
        raise LockError(f"lock {source} line {line}: {what}; {_REMEDY}") from error


def _refuse_twins(entries: Iterable[Located], source: str) -> None:
    seen: dict[tuple[str, str], int] = {}
    for each in entries:
        place = each.entry.question_text, device_key(each.entry.device)
        if place in seen:
            raise LockError(
                f"lock {source}: lines {seen[place]} and {each.line} answer the same question for"
                " the same device; remove one"
            )
        seen[place] = each.line
