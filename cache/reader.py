"""The read path: the standard library alone, read-only, one statement a question.

A file that is not there, or empty, holds no rows. Nothing here creates one. A connection lives for
one question: none is there to be carried into a forked process. A row that is damaged is left out,
and told where somebody asks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

from .checks import Column, RowDamagedError
from .database import connect_to_read, exists, limit_time, schema_of, tolerant_text
from .errors import CacheMissingError, CacheUnreadableError, explained
from .query import JOINED, Which
from .records import from_record, selected, width_of
from .rows import (
    DecisionRow,
    DeviceRow,
    EvidenceGroup,
    MeasurementRow,
    MissRow,
    ModelRow,
    StoredDecision,
)
from .verdict import verdict_of, verdict_term

if TYPE_CHECKING:
    from pathlib import Path

BUSY_TIMEOUT_S = 5.0
"""A writer holds its lock for milliseconds; an engine's start does not wait for a stuck one."""
MOST_SECONDS = 20.0
"""For one statement. A whole file of a million rows takes less."""

_T = TypeVar("_T")
Record: TypeAlias = Sequence[Column]


@dataclass(frozen=True)
class Reading(Generic[_T]):
    """What a file holds of what was asked for."""

    rows: tuple[_T, ...] = ()
    damaged: tuple[str, ...] = ()
    """A line for each row that was left out."""


@dataclass(frozen=True)
class Asked(Generic[_T]):
    """A statement, and what becomes of its records."""

    statement: Callable[[int], str]
    """SQL for a file of this schema: an old one that nobody may write is read as it is."""
    values: Sequence[Column]
    row: Callable[[Record, int], _T]
    """From a record of a file of this schema; raises RowDamagedError."""
    what: str
    """The table, for people."""
    since: int = 1
    """The schema that brought the table; a file of an older one holds none of it."""


def read_decisions(path: Path, which: Which, *, is_ours: bool = True) -> Reading[StoredDecision]:
    """The decisions that fit, in the order asked for; of a file that is not ours without writing
    even what a killed writer left undone.
    """
    return read(path, _decisions(path, which, is_ours), is_ours)


def _decisions(path: Path, which: Which, is_ours: bool = True) -> Asked[StoredDecision]:
    def statement(schema: int) -> str:
        kinds = (DecisionRow, DeviceRow, ModelRow)
        columns = ", ".join((*(selected(kind, schema) for kind in kinds), verdict_term(schema)))
        if which.limit is None and not which.offset:
            # The planner follows the index of what is asked for.
            return f"SELECT decisions.id, {columns} {JOINED} {which.where} ORDER BY {which.order}"
        # A page is found by the narrow columns of its order before anything wide is read.
        page = f"SELECT decisions.id {JOINED} {which.where} ORDER BY {which.order} {which.page}"
        return f"""SELECT decisions.id, {columns} {JOINED}
            WHERE decisions.id IN ({page}) ORDER BY {which.order}"""

    def row(record: Record, schema: int) -> StoredDecision:
        return replace(_decision(path, record, schema, which), is_ours=is_ours)

    return Asked(statement, which.values, row, "decisions")


def read_measurements(
    path: Path, device_key: str, spec_keys: Collection[str], *, is_ours: bool = True
) -> Reading[MeasurementRow]:
    """The evidence for some kinds of layer on a device, in the order it was first stored."""
    marks = ", ".join("?" * len(spec_keys))

    def statement(schema: int) -> str:
        return f"""
            SELECT measurements.id, {selected(MeasurementRow, schema)} FROM measurements
            WHERE device_key = ? AND spec_key IN ({marks}) ORDER BY id
        """

    def row(record: Record, schema: int) -> MeasurementRow:
        found = from_record(MeasurementRow, record[1:], schema)
        if found.device_key != device_key or found.spec_key not in spec_keys:
            raise RowDamagedError("spec_key", "is not the one that the index has")
        return found

    asked = Asked(statement, [device_key, *spec_keys], row, "measurements")
    return read(path, asked, is_ours)


def list_devices(path: Path, *, is_ours: bool = True) -> tuple[DeviceRow, ...]:
    """All devices, as they were first stored."""

    def statement(schema: int) -> str:
        return f"SELECT devices.id, {selected(DeviceRow, schema)} FROM devices ORDER BY id"

    def row(record: Record, schema: int) -> DeviceRow:
        return from_record(DeviceRow, record[1:], schema)

    return read(path, Asked(statement, [], row, "devices"), is_ours).rows


def group_evidence(path: Path) -> tuple[EvidenceGroup, ...]:
    """All measurements, counted by what a decision takes or leaves as a whole."""
    grouped = """SELECT device_key, spec_key, versions, method, count(*), max(created_at)
        FROM measurements GROUP BY device_key, spec_key, versions, method"""

    def row(record: Record, _: int) -> EvidenceGroup:
        device_key, spec_key, versions, method, count, newest_at = record
        if not isinstance(method, int) or not isinstance(count, int):
            raise RowDamagedError("method", "is no number")
        return EvidenceGroup(
            device_key=str(device_key),
            spec_key=str(spec_key),
            versions=str(versions),
            method=method,
            count=count,
            newest_at=str(newest_at),
        )

    return read(path, Asked(lambda _: grouped, [], row, "measurements")).rows


def count_decisions(path: Path, which: Which, *, is_ours: bool = True) -> int:
    """How many there are, whatever page of them is asked for."""
    counted = f"SELECT count(*) {JOINED} {which.where}"

    def row(record: Record, _: int) -> int:
        return int(record[0] or 0)

    asked = Asked(lambda _: counted, which.values, row, "decisions")
    return sum(read(path, asked, is_ours).rows)


def find_decisions(path: Path, question: str) -> tuple[StoredDecision, ...]:
    """Every device's answers to a question, newest first."""
    return read_decisions(path, Which(questions=(question,))).rows


def list_decisions(path: Path, which: Which | None = None) -> tuple[StoredDecision, ...]:
    """All answers, newest first, or those that fit."""
    return read_decisions(path, which or Which()).rows


def show_decision(path: Path, decision_id: int, *, is_ours: bool = True) -> StoredDecision:
    """One answer by its id; raises CacheMissingError."""
    found = read_decisions(path, Which(ids=(decision_id,)), is_ours=is_ours)
    if not found.rows:
        damaged = f": {found.damaged[0]}" if found.damaged else ""
        raise CacheMissingError(path, f"no decision {decision_id}{damaged}")
    return found.rows[0]


def decision_measurements(
    path: Path, device_key: str, spec_keys: Collection[str]
) -> tuple[MeasurementRow, ...]:
    """The evidence for some kinds of layer on a device, in the order it was first stored."""
    return read_measurements(path, device_key, spec_keys).rows


def check_joined(row: DecisionRow | MissRow, device: DeviceRow, model: ModelRow) -> None:
    """Raise RowDamagedError where a damaged index led to other rows than it says."""
    if row.device_key != device.key or row.model_fingerprint != model.fingerprint:
        raise RowDamagedError("device_key", "or model_fingerprint leads to another row")


def _decision(path: Path, record: Record, schema: int, which: Which) -> StoredDecision:
    decided, device = 1 + width_of(DecisionRow), 1 + width_of(DecisionRow) + width_of(DeviceRow)
    number, (confirmation, revoked) = record[0], verdict_of(record[-1])
    if not isinstance(number, int):
        raise RowDamagedError("id", "is no number")
    stored = StoredDecision(
        id=number,
        decision=from_record(DecisionRow, record[1:decided], schema),
        device=from_record(DeviceRow, record[decided:device], schema),
        model=from_record(ModelRow, record[device:-1], schema),
        file=path,
        confirmation=confirmation,
        revoked=revoked,
    )
    row = stored.decision
    check_joined(row, stored.device, stored.model)
    if which.questions and row.question not in which.questions:
        raise RowDamagedError("question", "is not the one that the index has")
    return stored


def read(path: Path, asked: Asked[_T], is_ours: bool = True) -> Reading[_T]:
    """Ask one file; raises CacheError."""
    if not exists(path):
        return Reading()
    with (
        explained(path, CacheUnreadableError, BUSY_TIMEOUT_S),
        closing(connect_to_read(path, BUSY_TIMEOUT_S, is_ours=is_ours)) as connection,
    ):
        limit_time(connection, MOST_SECONDS)
        connection.text_factory = tolerant_text
        schema = schema_of(connection, path)
        if schema < asked.since:
            return Reading()
        records = connection.execute(asked.statement(schema), asked.values)
        return _sorted_out(records, schema, asked)


def _sorted_out(records: Iterable[Record], schema: int, asked: Asked[_T]) -> Reading[_T]:
    rows, damaged = [], []
    for record in records:
        try:
            rows.append(asked.row(record, schema))
        except RowDamagedError as error:
            damaged.append(f"{asked.what} {record[0]!r:.40}: {error}")
    return Reading(tuple(rows), tuple(damaged))
