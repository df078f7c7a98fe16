"""Rows of a file from elsewhere, one by one, each checked: a file is data and runs nothing."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from . import jsonl
from .checks import Column, Columns, RowDamagedError
from .conflicts import moment
from .database import connect_to_read, exists, schema_of, tolerant_text
from .errors import CacheForeignError, CacheUnreadableError, explained
from .query import JOINED, Which
from .records import (
    CHECKSUM,
    CHECKSUM_SINCE,
    COLUMNS,
    EXCHANGED,
    TABLES,
    Row,
    columns_of,
    kinds_at,
    kinds_of,
    selected,
)
from .rows import ConfirmationRow, DecisionRow, DeviceRow, MeasurementRow, ModelRow

if TYPE_CHECKING:
    from pathlib import Path

BUSY_TIMEOUT_S = 5.0
MOST_ROWS = 20_000_000
"""Of one file: ten times what a fleet of thousands of devices and models measures."""

_SQLITE = b"SQLite format 3\x00"

# What no measurement can be below, for who counts with it later.
_LEAST = {
    **dict.fromkeys(("page_size", "tensor_parallel", "method", "repeats"), 1),
    **dict.fromkeys(("gpu_us", "anchor_us"), 1e-9),
    **dict.fromkeys(
        (
            "call_us", "plan_us", "noise", "samples", "floor_fraction", "compile_s",
            "workspace_bytes", "voided_rounds", "multiprocessors", "memory_bytes",
            "last_level_cache_bytes", "bound", "power_limit_w", "captured_len", "clock_mhz",
            "error", "allowed", "evidence", "speedup", "drift", "drift_max", "drift_floor",
            "top1_agreement",
            *(
                f"{whose}_{what}"
                for whose in ("default", "winner")
                for what in (
                    "tokens_per_s", "ttft_ms", "tbt_ms", "kv_tokens", "peak_bytes", "cold_start_s",
                    "warm_start_s",
                )
            ),
        ),
        0,
    ),
}  # fmt: skip
_COLUMNS = {kind: Columns(kinds_of(kind), _LEAST) for kind in TABLES}
_NAMES = (
    "backend", "variant", "engine", "page_layout", "phase", "outcome", "winner", "verdict",
)  # fmt: skip
_WORDS = {
    kind: tuple(
        (place, column) for place, column in enumerate(columns_of(kind)) if column in _NAMES
    )
    for kind in TABLES
}
"""Names that are looked up, and never a path."""
_TIMES = {
    kind: columns_of(kind).index("created_at") for kind in TABLES if "created_at" in kinds_of(kind)
}
_NAME = re.compile(r"(?!\.+$)[\w@.+:-]{1,200}")


class Taken(NamedTuple):
    """A row that may be kept."""

    kind: type[Row]
    values: tuple[Column, ...]
    checksum: str


@dataclass(frozen=True)
class Refused:
    """A row that may not, where it stands, and why."""

    where: str
    why: str


Read: TypeAlias = Taken | Refused


@dataclass(frozen=True)
class Selected:
    """The part of a file that is wanted: decisions, and the evidence of these layers."""

    which: Which
    evidence: Mapping[str, tuple[str, ...]]
    """Device key -> spec keys."""


def read_source(
    path: Path,
    part: Selected | None = None,
    *,
    is_own: bool = False,
    is_ours: bool = True,
    kinds: Collection[type[Row]] = EXCHANGED,
) -> Generator[Read, None, None]:
    """All rows of a cache or of JSON Lines, or a part of a cache; each after those that it points
    at. Of a cache of one's own any row is taken that is as it was put; only a file that is ours is
    written, to undo what a killed writer left. Raises CacheError for a file
    that is neither, or damaged.
    """
    if not exists(path):
        raise CacheForeignError(path, "not there", "name a file that is")
    with explained(path, CacheUnreadableError, BUSY_TIMEOUT_S):
        if path.stat().st_size == 0:
            return
        with path.open("rb") as file:
            if file.read(len(_SQLITE)) != _SQLITE:
                file.seek(0)
                yield from _of_lines(path, jsonl.read_lines(file, path))
                return
        with closing(connect_to_read(path, BUSY_TIMEOUT_S, is_ours=is_ours)) as connection:
            yield from _of_tables(path, connection, part, is_own, kinds)


def _of_lines(path: Path, lines: Iterator[tuple[int, dict[str, object]]]) -> Iterator[Read]:
    for number, fields in lines:
        if number > MOST_ROWS:
            raise CacheForeignError(path, f"more than {MOST_ROWS} rows")
        try:
            kind, values = jsonl.kind_and_values(fields)
            yield _checked(kind, values)
        except RowDamagedError as error:
            yield Refused(f"line {number}", str(error))


def _of_tables(
    path: Path,
    connection: sqlite3.Connection,
    part: Selected | None,
    is_own: bool,
    kinds: Collection[type[Row]],
) -> Iterator[Read]:
    schema = schema_of(connection, path)
    for kind in (kind for kind in kinds_at(schema) if kind in kinds):
        for number, record in enumerate(_records(connection, kind, schema, part), 1):
            if number > MOST_ROWS:
                raise CacheForeignError(path, f"more than {MOST_ROWS} rows")
            yield checked_record(kind, record, schema, is_own=is_own)


def checked_record(kind: type[Row], record: Sequence[object], schema: int, *, is_own: bool) -> Read:
    """Of an id and the `selected` columns of a file of this schema."""
    row_id, values, checksum = record[0], tuple(record[1:-1]), record[-1]
    try:
        taken = _own(kind, values) if is_own else _checked(kind, values)
        if schema >= CHECKSUM_SINCE and checksum != taken.checksum:
            raise RowDamagedError(CHECKSUM, "does not fit what the row holds")
    except RowDamagedError as error:
        return Refused(f"{TABLES[kind].name} {row_id!r:.40}", str(error))
    return taken


def _records(
    connection: sqlite3.Connection, kind: type[Row], schema: int, part: Selected | None
) -> Iterator[tuple[object, ...]]:
    for where, values in _parts(kind, part):
        yield from _all_records(connection, kind, schema, where, values)


def _all_records(
    connection: sqlite3.Connection,
    kind: type[Row],
    schema: int,
    where: str,
    values: Sequence[Column],
) -> Iterator[tuple[object, ...]]:
    """In the order of their ids. Text that is no UTF-8 costs its row, and from there on time."""
    # By SQLite's own number of a row, which is ours too: another's `id` may be anything.
    table, first = TABLES[kind].name, -(1 << 63)
    sql = f"""SELECT rowid, {selected(kind, schema)} FROM {table}
        WHERE {where} AND rowid >= ? ORDER BY rowid"""
    connection.text_factory = str
    while True:
        try:
            for record in connection.execute(sql, [*values, first]):
                # Damaged pages lead to the same rows again and again.
                if type(record[0]) is not int or not first <= record[0] < (1 << 63) - 1:
                    raise sqlite3.DatabaseError("database disk image is malformed")
                first = record[0] + 1
                yield record
        except sqlite3.OperationalError as error:
            if connection.text_factory is not str or "decode" not in str(error):
                raise
            connection.text_factory = tolerant_text
        else:
            return


def _parts(kind: type[Row], part: Selected | None) -> Iterator[tuple[str, Sequence[Column]]]:
    """The conditions under which rows of a table are wanted, one after the other."""
    if part is None:
        yield "TRUE", ()
        return
    if kind is MeasurementRow:
        for device_key, spec_keys in part.evidence.items():
            marks = ", ".join("?" * len(spec_keys))
            yield f"device_key = ? AND spec_key IN ({marks})", (device_key, *spec_keys)
        return
    decisions = f"{JOINED} {part.which.where}"
    pointer = {
        DeviceRow: "key IN (SELECT decisions.device_key {})",
        ModelRow: "fingerprint IN (SELECT decisions.model_fingerprint {})",
        DecisionRow: "id IN (SELECT decisions.id {})",
        ConfirmationRow: "(device_key, question, versions) IN"
        " (SELECT decisions.device_key, decisions.question, decisions.versions {})",
    }[kind]
    yield pointer.format(decisions), part.which.values


def _own(kind: type[Row], values: tuple[object, ...]) -> Taken:
    plain: tuple[Column, ...] = values  # type: ignore[assignment]
    return Taken(kind, plain, COLUMNS[kind].checked(values))


def _checked(kind: type[Row], values: tuple[object, ...]) -> Taken:
    checksum = _COLUMNS[kind].checked(values)
    plain: tuple[Column, ...] = values  # type: ignore[assignment]
    for place, column in _WORDS[kind]:
        if not _is_name(plain[place]):
            raise RowDamagedError(column, "is no name")
    if kind in _TIMES and not _is_time(plain[_TIMES[kind]]):
        raise RowDamagedError("created_at", "is no time")
    return Taken(kind, plain, checksum)


@lru_cache(maxsize=1024)
def _is_name(text: Column) -> bool:
    return text is None or _NAME.fullmatch(str(text)) is not None


@lru_cache(maxsize=1024)
def _is_time(text: Column) -> bool:
    try:
        moment(str(text))
    except ValueError:
        return False
    return True
