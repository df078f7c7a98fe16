"""What runs of the engine said of winners: stored, read and replaced as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .checks import RowDamagedError
from .conflicts import Weight, is_preferred
from .reader import Asked, Record, read
from .records import TABLES, columns_of, from_record, selected
from .rows import ConfirmationRow

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from .checks import Column

_TABLE = TABLES[ConfirmationRow]
_WHOLE = ("device_key", "question", "versions", "winner")
"""What the rows of one confirmation share, the loads apart."""
_ORIGIN = ("created_at", "host")
"""What tells two confirmations of one winner apart."""
_IS_OF = " AND ".join(f"{column} = ?" for column in _WHOLE)


def read_confirmations(
    path: Path, device_key: str, question: str, versions: str, *, is_ours: bool = True
) -> tuple[ConfirmationRow, ...]:
    """Of one decision's winner, and of others that the same evidence had before, load by load as
    they were stored; without what is damaged.
    """
    key = [device_key, question, versions]

    def statement(schema: int) -> str:
        return f"""SELECT confirmations.id, {selected(ConfirmationRow, schema)} FROM confirmations
            WHERE device_key = ? AND question = ? AND versions = ? ORDER BY id"""

    def row(record: Record, schema: int) -> ConfirmationRow:
        found = from_record(ConfirmationRow, record[1:], schema)
        if [found.device_key, found.question, found.versions] != key:
            raise RowDamagedError("question", "is not the one that the index has")
        return found

    return read(path, Asked(statement, key, row, _TABLE.name, _TABLE.first), is_ours).rows


def check_whole(rows: Iterable[ConfirmationRow]) -> None:
    """Raise ValueError where rows of one winner are not of one confirmation."""
    seen: dict[tuple[str, ...], tuple[object, ...]] = {}
    for row in rows:
        said = row.verdict, row.why, row.provenance
        if seen.setdefault(_whole_of(row), said) != said:
            raise ValueError(
                f"confirmation of {row.winner}: its loads differ in verdict, why or provenance;"
                " give all of them the same"
            )


def replace_confirmations(connection: sqlite3.Connection, rows: Iterable[ConfirmationRow]) -> None:
    """Remove what was stored of their winners before. In a transaction of the caller's."""
    wholes = dict.fromkeys(map(_whole_of, rows))
    connection.executemany(f"DELETE FROM confirmations WHERE {_IS_OF}", wholes)


def forget_confirmations(
    connection: sqlite3.Connection, which: str, values: Iterable[Sequence[Column]]
) -> None:
    """Those of decisions that are about to go: a condition on these, and the values for its marks,
    a decision each. In a transaction of the caller's.
    """
    connection.executemany(
        "DELETE FROM confirmations WHERE (device_key, question, versions) IN"
        f" (SELECT device_key, question, versions FROM decisions WHERE {which})",
        values,
    )


def _whole_of(row: ConfirmationRow) -> tuple[str, ...]:
    return row.device_key, row.question, row.versions, row.winner


class Standing:
    """Which confirmation of each winner a file holds, while rows of other files come in: of two the
    newer stays, and the loads of both are never mixed.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        columns = ", ".join((*_WHOLE, *_ORIGIN))
        self._origins: dict[tuple[Column, ...], tuple[Column, ...]] = {
            tuple(record[: len(_WHOLE)]): tuple(record[len(_WHOLE) :])
            for record in connection.execute(f"SELECT DISTINCT {columns} FROM confirmations")
        }

    def is_other(self, values: Sequence[Column]) -> bool:
        """Whether another confirmation of the winner stands than the one that this row is of."""
        origin = _at(values, _ORIGIN)
        return self._origins.setdefault(_at(values, _WHOLE), origin) != origin

    def gives_way(self, values: Sequence[Column]) -> bool:
        """Whether the one that stands is older than that of this row."""
        standing = self._origins[_at(values, _WHOLE)]
        theirs = _at(values, _ORIGIN)
        return is_preferred(Weight(str(theirs[0])), Weight(str(standing[0])), "newest")

    def row_id(self, values: Sequence[Column]) -> int:
        """Of a row of the one that stands, of the same load if it has that."""
        load = values[_PLACES["load"]]
        (found,) = self._connection.execute(
            f"SELECT id FROM confirmations WHERE {_IS_OF} ORDER BY load <> ?, id LIMIT 1",
            (*_at(values, _WHOLE), load),
        ).fetchone()
        return int(found)

    def replace(self, values: Sequence[Column]) -> None:
        """Remove the one that stands; that of this row stands from now on."""
        whole = _at(values, _WHOLE)
        self._connection.execute(f"DELETE FROM confirmations WHERE {_IS_OF}", whole)
        self._origins[whole] = _at(values, _ORIGIN)


_PLACES = {column: place for place, column in enumerate(columns_of(ConfirmationRow))}


def _at(values: Sequence[Column], columns: tuple[str, ...]) -> tuple[Column, ...]:
    return tuple([values[_PLACES[column]] for column in columns])
