"""What a column may hold, whoever wrote it, and the checksum that tells whether a row changed."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Column: TypeAlias = str | int | float | None

MOST_CHARACTERS = 1 << 18
"""In one column. The longest that this tool writes are rankings, of a few thousand."""

# Codes that move a terminal's cursor, end a line, or turn the direction of what follows: a row is
# printed as it stands, and in JSON Lines it is one line. Lone surrogates cannot be printed at all.
_UNPRINTABLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
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


def check_values(kinds: Mapping[str, Kind], values: Iterable[object]) -> None:
    """Raise RowDamagedError for the first value that its column may not hold.

    SQLite keeps whatever it is given, of whatever type, in whatever column.
    """
    for (column, kind), value in zip(kinds.items(), values, strict=True):
        if type(value) not in kind.types:
            raise RowDamagedError(column, f"holds a {type(value).__name__}")
        if isinstance(value, str):
            _check_text(column, value)
        elif isinstance(value, float) and not math.isfinite(value):
            raise RowDamagedError(column, f"is {value}")
        elif kind.is_truth and value not in (0, 1, None):
            raise RowDamagedError(column, f"is {value}, neither 0 nor 1")
        elif isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
            raise RowDamagedError(column, "is more than 64 bits hold")


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


def checksum_of(kinds: Mapping[str, Kind], values: Iterable[Column]) -> str:
    """Of a row's values. NULL counts for nothing, so that a column added later changes no checksum.

    Against damage, not against forgery: whoever writes a file can write its checksums.
    """
    # A column of reals gives back 3.0 for the 3 that was put, and a truth 1 for True.
    said = [
        (column, float(value) if kind.is_real else int(value) if kind.is_truth else value)
        for (column, kind), value in zip(kinds.items(), values, strict=True)
        if value is not None
    ]
    return blake2b(repr(said).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
