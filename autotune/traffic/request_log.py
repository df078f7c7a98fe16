"""A log of requests, CSV or JSON Lines: how long their prompts and answers were."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from autotune.errors import ProfileError
from autotune.traffic.lengths import Lengths

_PROMPT = (
    "prompt_tokens", "prompt_len", "prompt_length", "input_tokens", "input_len", "input_length",
    "num_prompt_tokens", "num_prefill_tokens", "contexttokens", "request tokens",
)  # fmt: skip
_OUTPUT = (
    "output_tokens", "output_len", "output_length", "completion_tokens", "generation_tokens",
    "generated_tokens", "num_output_tokens", "num_decode_tokens", "generatedtokens",
    "response tokens",
)  # fmt: skip
_CACHED = ("cached_tokens", "num_cached_tokens")
# contexttokens, generatedtokens: the Azure traces; input_length, output_length: Mooncake's; request
# and response tokens: BurstGPT; prompt_tokens, completion_tokens: OpenAI's `usage`.


@dataclass(frozen=True)
class Log:
    """What could be read."""

    requests: tuple[Lengths, ...]
    notes: tuple[str, ...]


def is_log(filled: Sequence[str]) -> bool:
    """Whether the first line is a header with a length, or an object of which there are several."""
    first = filled[0].strip()
    if not first.startswith("{"):
        return bool({*_PROMPT, *_OUTPUT}.intersection(_cells(first, _delimiter(first))))
    try:
        fields: object = json.loads(first)
    except ValueError:
        fields = None
    if isinstance(fields, dict) and _columns(_flat(fields)):
        return True
    # A file of weights in JSON begins with a brace as well, and has one object.
    return len(filled) > 1 and filled[1].lstrip().startswith("{")


def read_log(lines: Sequence[str], source: str) -> Log:
    """Broken lines are counted, the first is named, and the rest is used; raises ProfileError where
    none is left.
    """
    requests: list[Lengths] = []
    broken: list[str] = []
    for number, row in _rows(lines):
        try:
            requests.append(_served(row))
        except ValueError as error:
            broken.append(f"line {number}: {error}")
    if not requests:
        told = f"; {broken[0]}" if broken else ""
        raise ProfileError(f"profile {source}: no request in it can be read{told}")
    if not broken:
        return Log(tuple(requests), ())
    total = len(requests) + len(broken)
    note = f"{source}: {len(broken)} of {total} lines cannot be read, the first is {broken[0]}"
    return Log(tuple(requests), (note,))


def _rows(lines: Sequence[str]) -> Iterator[tuple[int, Mapping[str, object] | str]]:
    """Line number -> fields, or why there are none."""
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if numbered[0][1].lstrip().startswith("{"):
        for number, line in numbered:
            yield number, _object(line)
        return
    header = numbered[0][1]
    delimiter = _delimiter(header)
    names = _cells(header, delimiter)
    for number, line in numbered[1:]:
        cells = _cells(line, delimiter)
        if len(cells) == len(names):
            yield number, dict(zip(names, cells, strict=True))
        else:
            yield number, f"{len(cells)} columns where the header has {len(names)}"


def _object(line: str) -> Mapping[str, object] | str:
    try:
        fields: object = json.loads(line)
    except (ValueError, RecursionError):
        return "not JSON"
    return _flat(fields) if isinstance(fields, dict) else "not an object"


def _flat(fields: Mapping[str, object]) -> dict[str, object]:
    """OpenAI's answers keep both lengths in `usage`."""
    inner = fields.get("usage")
    every = {**fields, **inner} if isinstance(inner, dict) else fields
    return {name.strip().lower(): value for name, value in every.items()}


def _delimiter(header: str) -> str:
    return max(",;\t", key=header.count)


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return [cell.strip().lower() for cell in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:
        return []


def _columns(names: Mapping[str, object]) -> tuple[str, str] | tuple[()]:
    """Those of the lengths; none where one of them is missing."""
    prompt = next((name for name in _PROMPT if name in names), None)
    output = next((name for name in _OUTPUT if name in names), None)
    return () if prompt is None or output is None else (prompt, output)


def _served(row: Mapping[str, object] | str) -> Lengths:
    if isinstance(row, str):
        raise ValueError(row)
    columns = _columns(row)
    if not columns:
        raise ValueError(f"no length of a prompt or of its answer among {', '.join(row)}"[:200])
    prompt, output = (_tokens(name, row[name]) for name in columns)
    # An answer that was cut off before its first token had its prompt served all the same.
    cached = next((_tokens(name, row[name]) for name in _CACHED if name in row), 0)
    prompt = max(1, prompt)
    return Lengths(prompt, max(1, output), min(cached, prompt - 1))


def _tokens(name: str, value: object) -> int:
    try:
        number = float(value) if isinstance(value, str | int | float) else -1.0
    except ValueError:
        number = -1.0
    if isinstance(value, bool) or not 0 <= number <= 1e8:
        raise ValueError(f"{name} {value!r}: expected a number of tokens")
    return int(number)
