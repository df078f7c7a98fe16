"""Rows as JSON Lines: a line a row, for review in git. Text that comes back is data, read strictly.

The first line says what the file is. A column that is NULL is left out; ids are of one file and are
not written; the checksum is computed again as a row is taken.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import IO, TYPE_CHECKING

from .checks import MOST_ROW_CHARACTERS, Column, RowDamagedError
from .database import SCHEMA_VERSION
from .errors import CacheForeignError
from .records import EXCHANGED, TABLES, Row, columns_of

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = "attn-autotune cache"
_TABLE = "table"
_KINDS: Mapping[str, type[Row]] = {TABLES[kind].name: kind for kind in EXCHANGED}

MOST_LINE_BYTES = 8 * MOST_ROW_CHARACTERS
"""A character takes four bytes, or two where it is escaped; the rest is for names and numbers."""


def header_line() -> str:
    """The first line."""
    return _line({"format": FORMAT, "schema": SCHEMA_VERSION})


def row_line(kind: type[Row], values: tuple[Column, ...]) -> str:
    """One row, in the order of its columns."""
    named = zip(columns_of(kind), values, strict=True)
    return _line(
        {_TABLE: TABLES[kind].name, **{name: value for name, value in named if value is not None}}
    )


def read_lines(file: IO[bytes], path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    """The number of each line after the first, and what it holds; raises CacheForeignError for a
    file that is not ours, and RowDamagedError for a line that is none.
    """
    first = file.readline(MOST_LINE_BYTES)
    try:
        header = _parse(first)
    except RowDamagedError as error:
        raise CacheForeignError(path, "neither a cache nor JSON Lines of one") from error
    if header.get("format") != FORMAT:
        raise CacheForeignError(path, f"its first line does not say {FORMAT!r}")
    schema = header.get("schema")
    if type(schema) is not int or not 1 <= schema <= SCHEMA_VERSION:
        what = f"schema {schema!r:.40}, and this version knows 1 to {SCHEMA_VERSION}"
        raise CacheForeignError(path, what, "upgrade attn-autotune")
    number = 1
    while line := file.readline(MOST_LINE_BYTES + 1):
        number += 1
        if len(line) > MOST_LINE_BYTES:
            raise CacheForeignError(path, f"line {number} is longer than {MOST_LINE_BYTES} bytes")
        if line.strip():
            yield number, _row(line)


def kind_and_values(fields: Mapping[str, object]) -> tuple[type[Row], tuple[object, ...]]:
    """Of a line; raises RowDamagedError for a table or a column that nobody knows."""
    kind = _KINDS.get(str(fields.get(_TABLE)))
    if not fields:
        raise RowDamagedError("line", "is no JSON object, or says a name twice")
    if kind is None:
        raise RowDamagedError(_TABLE, "is none of " + ", ".join(_KINDS))
    columns = columns_of(kind)
    if unknown := sorted(fields.keys() - {_TABLE, *columns}):
        name = unknown[0] if unknown[0].isprintable() else repr(unknown[0])
        raise RowDamagedError(name[:40], "is no column of " + TABLES[kind].name)
    return kind, tuple(map(fields.get, columns))


def _row(line: bytes) -> dict[str, object]:
    try:
        return _parse(line)
    except RowDamagedError:
        return {}


def _line(fields: Mapping[str, Column]) -> str:
    return json.dumps(fields, ensure_ascii=False, allow_nan=False) + "\n"


def _parse(line: bytes) -> dict[str, object]:
    try:
        found: object = json.loads(line, object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise RowDamagedError("line", "is no JSON") from error
    if not isinstance(found, dict):
        raise RowDamagedError("line", "is no JSON object")
    return found


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no number")
