"""Between rows and columns: a field is a column, and provenance is three of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
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


TABLES: Mapping[type[Row], Table] = {
    DeviceRow: Table("devices", ("key",)),
    ModelRow: Table("models", ("fingerprint",)),
    MeasurementRow: Table("measurements", ("key",)),
    DecisionRow: Table("decisions", ("device_key", "question", "versions")),
}


def columns_of(kind: type[Row]) -> tuple[str, ...]:
    """The columns of a kind of row, `id` left out."""
    names = [field.name for field in fields(kind) if field.name != "provenance"]
    if len(names) < len(fields(kind)):
        names += [field.name for field in fields(Provenance)]
    return tuple(names)


def to_record(row: Row) -> dict[str, Column]:
    """Column -> value, as the table takes it."""
    record = asdict(row)
    record.update(record.pop("provenance", {}))
    return record


def selected(kind: type[Row]) -> str:
    """The columns for a SELECT, each named after its table, so that joined rows stay apart."""
    table = TABLES[kind].name
    return ", ".join(f'{table}.{column} AS "{table}.{column}"' for column in columns_of(kind))


def from_record(kind: type[_RowT], record: sqlite3.Row) -> _RowT:
    """The row of this kind among the `selected` columns of a record."""
    table = TABLES[kind].name
    values = {column: record[f"{table}.{column}"] for column in columns_of(kind)}
    if "tie" in values:
        values["tie"] = bool(values["tie"])  # SQLite has no truth values
    if "host" in values:
        values["provenance"] = Provenance(
            created_at=values.pop("created_at"),
            host=values.pop("host"),
            tool_version=values.pop("tool_version"),
        )
    return kind(**values)
