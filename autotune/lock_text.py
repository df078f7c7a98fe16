"""A lock's text to JSON, more strictly than `json` reads it, and the lines of its entries. Pure."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable

DEEPEST = 32
"""Ours nest 9 deep. Far below Python's own limit, at which later readers of a part would fail."""
LONGEST_NUMBER = 20
"""Characters of a whole number: any of 64 bits fits."""
LONGEST_MESSAGE = 300


def read_json(text: str) -> object:
    """Less what json alone takes: NaN, numbers without bounds, a key twice. Raises ValueError or
    RecursionError.
    """
    fields: object = json.loads(
        text,
        parse_constant=_refuse_number,
        parse_float=_finite,
        parse_int=_whole,
        object_pairs_hook=_each_once,
    )
    level = [fields]
    for _ in range(DEEPEST):
        level = [part for each in level for part in _parts(each)]
    if level:
        raise ValueError(f"nested more than {DEEPEST} deep")
    return fields


def decision_lines(text: str, count: int) -> list[int]:
    """The line on which each of so many decisions begins, from 1, however the file is laid out; the
    text is one that `read_json` took.
    """
    decoder, lines = json.JSONDecoder(), list[int]()
    at, key = text.index("{") + 1, ""
    while key != "decisions":
        key, at = decoder.raw_decode(text, _skip(text, at))
        at = _skip(text, at)
        if key != "decisions":
            _, at = decoder.raw_decode(text, at)
    at += 1  # over the bracket
    line, counted = 1, 0
    for _ in range(count):
        at = _skip(text, at)
        line, counted = line + text.count("\n", counted, at), at
        lines.append(line)
        _, at = decoder.raw_decode(text, at)
    return lines


def one_line(error: Exception) -> str:
    """What it says, as part of a message; it may quote the file."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode()
        for each in str(error)[:LONGEST_MESSAGE]
    )


def _skip(text: str, at: int) -> int:
    """To the next value."""
    while text[at] in " \t\r\n,:":
        at += 1
    return at


def _parts(value: object) -> Iterable[object]:
    match value:
        case dict():
            return value.values()
        case list():
            return value
        case _:
            return ()


def _refuse_number(text: str) -> object:
    raise ValueError(f"{text} is no number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is out of range")
    return value


def _whole(text: str) -> int:
    if len(text) > LONGEST_NUMBER:
        raise ValueError(f"a number of {len(text)} digits is out of range")
    return int(text)


def _each_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A merge may leave both sides of a line, and json takes the last without a word."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        name, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"an object has {name} twice")
    return fields
