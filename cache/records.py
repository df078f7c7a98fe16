"""Between rows and columns: a field is a column, and provenance is three of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from .rows import DecisionRow, DeviceRow, MeasurementRow, ModelRow, Provenance

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

Row: TypeAlias = DeviceRow | ModelRow | MeasurementRow | DecisionRow
Column: TypeAlias = str | int | float | None
_RowT = TypeVar("_RowT", DeviceRow, ModelRow, MeasurementRow, DecisionRow)


@dataclass(frozen=True)
class Table:
    """Where a kind of row is kept."""

    name: str
    key: tuple[str, ...]
    """The columns that are unique together: a row that repeats them replaces."""
    added: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """Schema -> the columns that came with it; all others came with the first."""

    def term(self, column: str, schema: int) -> str:
        """What a SELECT says for a column: NULL where a file of this schema is too old for it."""
        later = (names for since, names in self.added.items() if since > schema)
        return "NULL" if any(column in names for names in later) else f"{self.name}.{column}"


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
_TRUTHS = frozenset({"tie", "captured", "plan_waits"})
"""Kept as 0 and 1: SQLite has no truth values."""

TABLES: Mapping[type[Row], Table] = {
    DeviceRow: Table("devices", ("key",)),
    ModelRow: Table("models", ("fingerprint",)),
    MeasurementRow: Table("measurements", ("key",), {2: _SINCE_2, 3: _MEASURED_SINCE_3}),
    DecisionRow: Table("decisions", ("device_key", "question", "versions"), {3: _DECIDED_SINCE_3}),
}


def columns_of(kind: type[Row]) -> tuple[str, ...]:
    """The columns of a kind of row, `id` left out."""
    names = [each.name for each in fields(kind) if each.name != "provenance"]
    if len(names) < len(fields(kind)):
        names += [each.name for each in fields(Provenance)]
    return tuple(names)


def to_record(row: Row) -> dict[str, Column]:
    """Column -> value, as the table takes it."""
    record = asdict(row)
    record.update(record.pop("provenance", {}))
    return record


def selected(kind: type[Row], schema: int) -> str:
    """The columns for a SELECT from a file of this schema, each named after its table, so that
    joined rows stay apart.
    """
    table = TABLES[kind]
    return ", ".join(
        f'{table.term(column, schema)} AS "{table.name}.{column}"' for column in columns_of(kind)
    )


def from_record(kind: type[_RowT], record: sqlite3.Row) -> _RowT:
    """The row of this kind among the `selected` columns of a record."""
    table = TABLES[kind].name
    values = {column: record[f"{table}.{column}"] for column in columns_of(kind)}
    for column in _TRUTHS.intersection(values):
        if values[column] is not None:
            values[column] = bool(values[column])
    if "host" in values:
        values["provenance"] = Provenance(
            created_at=values.pop("created_at"),
            host=values.pop("host"),
            tool_version=values.pop("tool_version"),
        )
    return kind(**values)
