"""Between rows and columns: a field is a column, and provenance is four of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from .checks import Column, Columns, Kind, RowDamagedError, printable
from .rows import (
    ConfirmationRow,
    DecisionRow,
    DeviceRow,
    MeasurementRow,
    MissRow,
    ModelRow,
    Provenance,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Row: TypeAlias = DeviceRow | ModelRow | MeasurementRow | DecisionRow | MissRow | ConfirmationRow
RowT = TypeVar("RowT", DeviceRow, ModelRow, MeasurementRow, DecisionRow, MissRow, ConfirmationRow)

CHECKSUM = "checksum"
"""A column of every table and a field of no row: it says that the others are as they were put."""
CHECKSUM_SINCE = 4
"""The schema that brought it."""


@dataclass(frozen=True)
class Table:
    """Where a kind of row is kept."""

    name: str
    key: tuple[str, ...]
    """The columns that are unique together: a row that repeats them replaces."""
    added: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """Schema -> the columns that came with it; all others came with the table."""
    first: int = 1
    """The schema that brought the table."""

    def since(self, column: str) -> int:
        """The schema that brought a column."""
        return next((since for since, names in self.added.items() if column in names), self.first)

    def term(self, column: str, schema: int) -> str:
        """What a SELECT says for a column: NULL where a file of this schema is too old for it."""
        return "NULL" if self.since(column) > schema else f"{self.name}.{column}"


_SINCE_2 = (
    "captured",
    "captured_len",
    "plan_waits",
    "compile_s",
    "workspace_bytes",
    "rounds_us",
    "voided_rounds",
    "clock_mhz",
    "temperature_c",
    "warnings",
)
_MEASURED_SINCE_3 = ("anchor_key", "anchor_us")
_DECIDED_SINCE_3 = (
    "bound",
    "regret",
    "ground",
    "split",
    "crossovers",
    "profile_weights",
    "uncovered",
)
_SUMMED = {4: (CHECKSUM,)}
_MEASURED_SINCE_4 = ("user", CHECKSUM)
_DECIDED_SINCE_4 = ("user", "evidence", CHECKSUM)

TABLES: Mapping[type[Row], Table] = {
    DeviceRow: Table("devices", ("key",), _SUMMED),
    ModelRow: Table("models", ("fingerprint",), _SUMMED),
    MeasurementRow: Table(
        "measurements", ("key",), {2: _SINCE_2, 3: _MEASURED_SINCE_3, 4: _MEASURED_SINCE_4}
    ),
    DecisionRow: Table(
        "decisions",
        ("device_key", "question", "versions"),
        {3: _DECIDED_SINCE_3, 4: _DECIDED_SINCE_4},
    ),
    MissRow: Table("misses", ("device_key", "question"), first=5),
    ConfirmationRow: Table(
        "confirmations", ("device_key", "question", "versions", "winner", "load"), first=6
    ),
}
"""Each after those that its keys point at."""

EXCHANGED: tuple[type[Row], ...] = tuple(kind for kind in TABLES if kind is not MissRow)
"""What files give each other: what a start missed is a note for its own machine."""


def kinds_at(schema: int) -> tuple[type[Row], ...]:
    """The kinds of row that a file of this schema has a table for."""
    return tuple(kind for kind, table in TABLES.items() if table.first <= schema)


def _kinds_of(kind: type[Row]) -> Mapping[str, Kind]:
    plain = {each.name: each.type for each in fields(kind) if each.name != "provenance"}
    if len(plain) < len(fields(kind)):
        plain |= {each.name: each.type for each in fields(Provenance)}
    return {name: Kind.of(str(annotation)) for name, annotation in plain.items()}


_KINDS: Mapping[type[Row], Mapping[str, Kind]] = {kind: _kinds_of(kind) for kind in TABLES}


COLUMNS: Mapping[type[Row], Columns] = {kind: Columns(kinds) for kind, kinds in _KINDS.items()}


def kinds_of(kind: type[Row]) -> Mapping[str, Kind]:
    """Column -> what it may hold, `id` and the checksum left out."""
    return _KINDS[kind]


def columns_of(kind: type[Row]) -> tuple[str, ...]:
    """The columns of a kind of row, `id` and the checksum left out."""
    return tuple(kinds_of(kind))


def columns_at(kind: type[Row], schema: int) -> tuple[str, ...]:
    """Those of them that a file of this schema has."""
    return tuple(each for each in columns_of(kind) if TABLES[kind].term(each, schema) != "NULL")


def to_record(row: Row) -> dict[str, Column]:
    """Column -> value, as the table takes it."""
    fields_of = asdict(row)
    fields_of.update(fields_of.pop("provenance", {}))
    columns = columns_of(type(row))
    record = {column: printable(fields_of[column]) for column in columns}
    return {**record, CHECKSUM: COLUMNS[type(row)].checksum(tuple(record.values()))}


def selected(kind: type[Row], schema: int) -> str:
    """The columns for a SELECT from a file of this schema, the checksum last."""
    table = TABLES[kind]
    known = _SELECTED.get((table.name, schema))
    if known is None:
        every = (*columns_of(kind), CHECKSUM)
        known = ", ".join(table.term(column, schema) for column in every)
        _SELECTED[table.name, schema] = known
    return known


_SELECTED: dict[tuple[str, int], str] = {}
"""Table and schema -> what `selected` gave: the same for every start."""


def width_of(kind: type[Row]) -> int:
    """How many columns `selected` gives."""
    return len(columns_of(kind)) + 1


def from_record(kind: type[RowT], record: Sequence[Column], schema: int) -> RowT:
    """The row of this kind from its `selected` columns; raises RowDamagedError."""
    *plain, checksum = record
    expected = COLUMNS[kind].checked(plain)
    # A file of this schema has a checksum in every row: one that is gone is damage too.
    if schema >= CHECKSUM_SINCE and checksum != expected:
        raise RowDamagedError(CHECKSUM, "does not fit what the row holds")
    return row_of(kind, dict(zip(kinds_of(kind), plain, strict=True)))


def row_of(kind: type[RowT], values: Mapping[str, Column]) -> RowT:
    """The row of these values, which were checked."""
    kinds = kinds_of(kind)
    given: dict[str, object] = {
        name: bool(value) if kinds[name].is_truth and value is not None else value
        for name, value in values.items()
    }
    if "host" in given:
        origin = {each.name: given.pop(each.name) for each in fields(Provenance)}
        given["provenance"] = Provenance(**origin)  # type: ignore[arg-type]
    return kind(**given)  # type: ignore[arg-type]
