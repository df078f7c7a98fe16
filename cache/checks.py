"""What a column may hold, whoever wrote it, and the checksum that tells whether a row changed."""

from __future__ import annotations

import math
import re
import sys
from dataclasses import dataclass
from hashlib import blake2b
from struct import Struct
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Column: TypeAlias = str | int | float | None

MOST_CHARACTERS = 1 << 18
"""In one column. The longest that this tool writes are rankings, of a few thousand."""

_MOST_INTEGER = 2**63
"""SQLite's integers end before it."""
_MOST_SHAPES = 1000
"""That are remembered. Ours have a dozen; a hostile file may have a new one in every row."""

MOST_ROW_CHARACTERS = 4 * MOST_CHARACTERS
"""In all columns of a row."""

# Codes that move a terminal's cursor, end a line, or turn the direction of what follows: a row is
# printed as it stands, and in JSON Lines it is one line. Lone surrogates cannot be printed at all.
_UNPRINTABLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


class RowDamagedError(ValueError):
    """A row does not hold what its columns may hold; it is left out, and so named."""

    def __init__(self, column: str, what: str) -> None:
        super().__init__(column, what)
        self.column = column
        self.what = what

    def __str__(self) -> str:
        return f"{self.column} {self.what}"


@dataclass(frozen=True)
class Kind:
    """What a column holds."""

    types: tuple[type, ...]
    """Of its values as SQLite gives them: a truth is 0 or 1."""
    is_truth: bool = False
    is_real: bool = False

    @classmethod
    def of(cls, annotation: str) -> Kind:
        """From the annotation of a field: "str", "float | None"."""
        name, _, rest = annotation.partition(" | ")
        none = (type(None),) if rest == "None" else ()
        match name:
            case "str":
                return cls((str, *none))
            case "int":
                return cls((int, *none))
            case "float":
                return cls((float, int, *none), is_real=True)
            case "bool":
                return cls((int, bool, *none), is_truth=True)
        raise TypeError(f"no column holds {annotation}")


@dataclass(frozen=True)
class _Shape:
    """What follows for all rows whose values have the same types."""

    texts: tuple[int, ...]
    """Places in the row."""
    numbers: tuple[int, ...]
    limits: tuple[tuple[int, float, float], ...]
    """The least that each number may be, and what it must be below."""
    truths: tuple[int, ...]
    names: bytes
    """Of the columns that are not NULL."""
    packing: Struct
    """Of the numbers: eight bytes each."""


class Columns:
    """The columns of a kind of row: whether values may stand in them, and their checksum.

    Rows are read by the million: what follows from types alone is worked out once for all rows
    that share them.
    """

    def __init__(self, kinds: Mapping[str, Kind], least: Mapping[str, float] | None = None) -> None:
        self._kinds = kinds
        self._names = tuple(kinds)
        self._least = least or {}
        """Column -> the smallest number that it may hold."""
        self._shapes: dict[tuple[type, ...], _Shape] = {}

    def _check(self, values: Sequence[object], shape: _Shape) -> None:
        texts: list[str] = [values[place] for place in shape.texts]  # type: ignore[misc]
        together = "".join(texts)
        if len(together) > MOST_ROW_CHARACTERS:
            raise RowDamagedError("row", f"has {len(together)} characters of text")
        if len(together) > MOST_CHARACTERS or not together.isprintable():
            for place, text in zip(shape.texts, texts, strict=True):
                _check_text(self._names[place], text)
        for place, least, end in shape.limits:
            # Neither a NaN nor an infinity is between the two.
            if not least <= values[place] < end:  # type: ignore[operator]
                raise RowDamagedError(self._names[place], f"is {values[place]!r:.40}")
        for place in shape.truths:
            if values[place] not in (0, 1):
                raise RowDamagedError(self._names[place], "is neither 0 nor 1")

    def checksum(self, values: Sequence[object]) -> str:
        """Of checked values. NULL counts for nothing, so that a column added later changes
        no checksum.

        Against damage, not against forgery: whoever writes a file can write its checksums.
        """
        return self._checksum(values, self._shape(values))

    def checked(self, values: Sequence[object]) -> str:
        """The checksum of values that are checked before; raises RowDamagedError for one that its
        column may not hold. SQLite keeps whatever it is given, in whatever column.
        """
        shape = self._shape(values)
        self._check(values, shape)
        return self._checksum(values, shape)

    def _checksum(self, values: Sequence[object], shape: _Shape) -> str:
        # SQLite gives back 0.0 for a -0.0: their sum is what both have in common.
        plain = [values[place] + 0 for place in shape.numbers]  # type: ignore[operator]
        numbers = shape.packing.pack(*plain)
        texts: list[str] = [values[place] for place in shape.texts]  # type: ignore[misc]
        text = "\x1f".join(texts).encode("utf-8", "surrogatepass")
        return blake2b(shape.names + numbers + text, digest_size=8).hexdigest()

    def _shape(self, values: Sequence[object]) -> _Shape:
        types = tuple(map(type, values))
        found = self._shapes.get(types)
        if found is None:
            if len(self._shapes) >= _MOST_SHAPES:
                self._shapes.clear()
            found = self._shapes[types] = self._shape_of(types)
        return found

    def _shape_of(self, types: tuple[type, ...]) -> _Shape:
        for (column, kind), found in zip(self._kinds.items(), types, strict=True):
            if found not in kind.types:
                raise RowDamagedError(column, f"holds a {found.__name__}")
        given = [place for place, found in enumerate(types) if found is not type(None)]
        kinds = tuple(self._kinds.values())
        numbers = tuple(place for place in given if types[place] is not str)
        # A column of reals gives back 3.0 for the 3 that was put.
        packing = "".join("d" if kinds[place].is_real else "q" for place in numbers)
        return _Shape(
            texts=tuple(place for place in given if types[place] is str),
            numbers=numbers,
            limits=tuple((place, *self._limits(place, types[place])) for place in numbers),
            truths=tuple(place for place in numbers if kinds[place].is_truth),
            names=",".join(self._names[place] for place in given).encode(),
            packing=Struct(f"<{packing}"),
        )

    def _limits(self, place: int, found: type) -> tuple[float, float]:
        least = self._least.get(self._names[place])
        if found is float:
            return -sys.float_info.max if least is None else least, math.inf
        return -_MOST_INTEGER if least is None else least, _MOST_INTEGER


def _check_text(column: str, text: str) -> None:
    if len(text) > MOST_CHARACTERS:
        raise RowDamagedError(column, f"has {len(text)} characters, at most {MOST_CHARACTERS}")
    if _UNPRINTABLE.search(text):
        raise RowDamagedError(column, "holds characters that cannot be printed")


def printable(value: Column) -> Column:
    """A value as it may be kept: an exception's message may hold the colours of a terminal."""
    if not isinstance(value, str):
        return value
    return _UNPRINTABLE.sub("\ufffd", value[:MOST_CHARACTERS])
