"""Takes rows of another file into a cache, and says what became of each."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from .checks import Column
from .confirmations import Standing
from .conflicts import Prefer, Weight, is_preferred
from .records import CHECKSUM, TABLES, Row, columns_of
from .rows import ConfirmationRow, DecisionRow, DeviceRow, MeasurementRow, MissRow, ModelRow
from .sources import Read, Refused, Taken

Fate: TypeAlias = Literal["new", "same", "replaced", "kept", "refused"]
"""same: it was there. replaced, kept: another of its key was there, and gave way or stayed."""

_BATCH = 500
MOST_TOLD = 20
"""Of conflicts and of refusals; all are counted."""


@dataclass(frozen=True)
class Conflict:
    """Two rows of one key."""

    table: str
    what: str
    """Which one, for people."""
    ours: str
    theirs: str
    fate: Fate


@dataclass
class Tally:
    """What became of the rows of a file."""

    fates: Counter[Fate] = field(default_factory=Counter)
    conflicts: list[Conflict] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)


class Absorber:
    """A cache that takes rows, in a transaction of its caller's.

    With `is_new` the file is empty and nobody else's, its indexes are made when it is full, and
    which keys it has is known without them: a million keys in no order are slow to keep sorted.
    """

    def __init__(self, connection: sqlite3.Connection, prefer: Prefer, is_new: bool) -> None:
        self._connection = connection
        self._prefer = prefer
        self._ids: dict[type[Row], dict[int, int]] | None = None
        """Hash of a key -> id, which SQLite counts from 1 on."""
        if is_new:
            self._ids = {kind: {} for kind in TABLES}
        self._counts: Counter[type[Row]] = Counter()
        self._keys: dict[type[Row], set[Column]] = {
            kind: {key for (key,) in connection.execute(_STATEMENTS[kind].keys)}
            for kind in (DeviceRow, ModelRow)
        }
        """Of devices and models, which are few: what points at another is refused."""
        self._standing = Standing(connection)
        self._waiting: list[Taken] = []

    def absorb(self, rows: Iterable[Read]) -> Tally:
        """Take every row that may be taken."""
        tally = Tally()
        # What raced together is believed together: the first conflict of a race is all of them.
        races: dict[tuple[Column, ...], bool] = {}
        for each in rows:
            taken = self._points_nowhere(each) or each if isinstance(each, Taken) else each
            if isinstance(taken, Taken):
                tally.fates[self._take(taken, tally, races)] += 1
                continue
            tally.fates["refused"] += 1
            if len(tally.refused) < MOST_TOLD:
                tally.refused.append(taken)
        self._flush()
        return tally

    def _take(self, each: Taken, tally: Tally, races: dict[tuple[Column, ...], bool]) -> Fate:
        if each.kind is ConfirmationRow and self._standing.is_other(each.values):
            return self._take_whole(each, tally)
        known = self._find(each)
        if known is None:
            if each.kind in self._keys:
                self._keys[each.kind].add(each.values[_STATEMENTS[each.kind].key[0]])
            self._insert(each)
            return "new"
        if known.checksum == each.checksum:
            return "same"
        if each.kind in self._keys:
            return "kept"  # a device or a model of this key is this one; its name is an alias
        race = _at(each, _STATEMENTS[each.kind].race)
        if race not in races:
            theirs = _weight(each.kind, _at(each, _STATEMENTS[each.kind].weighed))
            races[race] = is_preferred(theirs, known.weight, self._prefer)
        fate: Fate = "replaced" if races[race] else "kept"
        self._tell(tally, each, known.row_id, fate)
        if races[race]:
            values = (*each.values, each.checksum, known.row_id)
            self._connection.execute(_STATEMENTS[each.kind].replace, values)
        return fate

    def _take_whole(self, each: Taken, tally: Tally) -> Fate:
        """Of a confirmation where another of the same winner stands: its loads are no rows of that,
        so it replaces all of it or nothing.
        """
        self._flush()
        fate: Fate = "replaced" if self._standing.gives_way(each.values) else "kept"
        self._tell(tally, each, self._standing.row_id(each.values), fate)
        if fate == "replaced":
            self._standing.replace(each.values)
            self._insert(each)
        return fate

    def _tell(self, tally: Tally, each: Taken, row_id: int, fate: Fate) -> None:
        if len(tally.conflicts) < MOST_TOLD:
            tally.conflicts.append(self._conflict(each, row_id, fate))

    def _find(self, each: Taken) -> _Known | None:
        """The row of its key."""
        statements = _STATEMENTS[each.kind]
        key = _at(each, statements.key)
        found = None
        if self._ids is None:
            found = self._connection.execute(statements.find, key).fetchone()
        elif row_id := self._ids[each.kind].get(hash(key)):
            self._flush()
            found = self._connection.execute(f"{statements.find} AND id = ?", (*key, row_id))
            # Two keys of one hash: the other is looked for without an index.
            found = found.fetchone() or self._connection.execute(statements.find, key).fetchone()
        if found is None:
            return None
        return _Known(found[0], found[1], _weight(each.kind, found[2:]))

    def _insert(self, each: Taken) -> None:
        if self._waiting and self._waiting[0].kind is not each.kind:
            self._flush()
        self._waiting.append(each)
        self._counts[each.kind] += 1
        if self._ids is None or len(self._waiting) == _BATCH:
            self._flush()
        if self._ids is not None:
            key = _at(each, _STATEMENTS[each.kind].key)
            self._ids[each.kind][hash(key)] = self._counts[each.kind]

    def _flush(self) -> None:
        if self._waiting:
            values = [(*each.values, each.checksum) for each in self._waiting]
            self._connection.executemany(_STATEMENTS[self._waiting[0].kind].insert, values)
            self._waiting.clear()

    def _points_nowhere(self, each: Taken) -> Refused | None:
        """Why it cannot be kept where what it points at is not there."""
        for kind, place in _POINTS[each.kind]:
            if each.values[place] not in self._keys[kind]:
                lost = f"its {columns_of(each.kind)[place]} is not in the file"
                return Refused(TABLES[each.kind].name, lost)
        return None

    def _conflict(self, each: Taken, row_id: int, fate: Fate) -> Conflict:
        told = _TOLD[each.kind]
        columns = columns_of(each.kind)
        theirs = dict(zip(columns, each.values, strict=True))
        sql = f"SELECT {', '.join(columns)} FROM {TABLES[each.kind].name} WHERE id = ?"
        (record,) = self._connection.execute(sql, [row_id])
        ours = dict(zip(columns, record, strict=True))
        return Conflict(
            table=TABLES[each.kind].name,
            what=" ".join(str(theirs[column]) for column in told.which if theirs[column]),
            ours=_said(ours, told),
            theirs=_said(theirs, told),
            fate=fate,
        )


@dataclass(frozen=True)
class _Known:
    """A row that is there already."""

    row_id: int
    checksum: str | None
    weight: Weight


def _at(each: Taken, places: Sequence[int]) -> tuple[Column, ...]:
    return tuple([each.values[place] for place in places])


@dataclass(frozen=True)
class _Told:
    """The columns that a person knows a row by, and those that say what it says."""

    which: tuple[str, ...]
    says: tuple[str, ...]


_TOLD: Mapping[type[Row], _Told] = {
    MeasurementRow: _Told(
        ("backend", "variant", "phase", "workload"), ("outcome", "gpu_us", "samples")
    ),
    DecisionRow: _Told(("engine", "profile"), ("backend", "variant", "speedup_vs_default")),
    MissRow: _Told(("engine", "profile"), ("model", "times_seen")),
    ConfirmationRow: _Told(("winner", "load"), ("verdict", "speedup")),
}
_POINTS: Mapping[type[Row], tuple[tuple[type[Row], int], ...]] = {
    DeviceRow: (),
    ModelRow: (),
    MeasurementRow: ((DeviceRow, columns_of(MeasurementRow).index("device_key")),),
    DecisionRow: (
        (DeviceRow, columns_of(DecisionRow).index("device_key")),
        (ModelRow, columns_of(DecisionRow).index("model_fingerprint")),
    ),
    MissRow: (
        (DeviceRow, columns_of(MissRow).index("device_key")),
        (ModelRow, columns_of(MissRow).index("model_fingerprint")),
    ),
    ConfirmationRow: ((DeviceRow, columns_of(ConfirmationRow).index("device_key")),),
}
"""What a row points at, and the place of the value that does."""


def _said(values: Mapping[str, Column], told: _Told) -> str:
    said = " ".join(f"{values[column]}" for column in told.says if values[column] is not None)
    return f"{said} ({values['created_at']}, {values['host']})"


@dataclass(frozen=True)
class _Statements:
    """SQL for a kind of row, and the places of its values in a row."""

    keys: str
    find: str
    insert: str
    replace: str
    key: tuple[int, ...]
    weighed: tuple[int, ...]
    race: tuple[int, ...]


def _statements(kind: type[Row]) -> _Statements:
    table, columns = TABLES[kind], columns_of(kind)
    weighed = _weighed(kind)
    raced = ("device_key", "spec_key", "workload") if kind is MeasurementRow else table.key
    found = ", ".join(("id", CHECKSUM, *weighed))
    where = " AND ".join(f"{name} = ?" for name in table.key)
    every = (*columns, CHECKSUM)
    return _Statements(
        keys=f"SELECT {table.key[0]} FROM {table.name}",
        find=f"SELECT {found} FROM {table.name} WHERE {where}",
        insert=f"INSERT INTO {table.name} ({', '.join(every)}) VALUES ({_marks(every)})",
        replace=f"UPDATE {table.name} SET ({', '.join(every)}) = ({_marks(every)}) WHERE id = ?",
        key=tuple(columns.index(name) for name in table.key),
        weighed=tuple(columns.index(name) for name in weighed),
        race=tuple(columns.index(name) for name in raced),
    )


def _weight(kind: type[Row], values: Sequence[Column]) -> Weight:
    """From the values of the weighed columns."""
    named = dict(zip(_weighed(kind), values, strict=True))
    samples, bound = named.get("samples"), named.get("bound")
    return Weight(
        created_at=str(named.get("created_at")),
        # A row that is there may be damaged: what is no number counts for nothing.
        samples=samples if isinstance(samples, int) else None,
        bound=bound if isinstance(bound, (int, float)) else None,
    )


def _weighed(kind: type[Row]) -> tuple[str, ...]:
    wanted = ("created_at", "samples", "bound")
    return tuple(name for name in wanted if name in columns_of(kind))


def _marks(columns: tuple[str, ...]) -> str:
    return ", ".join("?" * len(columns))


_STATEMENTS = {kind: _statements(kind) for kind in TABLES}
