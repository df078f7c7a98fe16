"""A file of workloads and their weights: lines, CSV, or JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from autotune.errors import ProfileError
from kernels_bench.errors import WorkloadError
from kernels_bench.workload import parse_workload

_HEAVIEST = 1e12
"""Only ratios matter, and sums have to stay finite."""
_FORM = "expected a workload and its weight, as in: 8q1s1k 3"


@dataclass(frozen=True)
class _Entry:
    """One of the file."""

    where: str
    workload: str
    weight: object
    """A text or a number, checked by whoever uses it."""


@dataclass(frozen=True)
class _Pairs:
    """An object of JSON."""

    pairs: list[tuple[str, object]]


def read_weights(lines: Sequence[str], source: str) -> dict[str, float]:
    """Canonical workload -> weight, each at least 0, not all of them; one that comes twice adds up.

    Raises ProfileError that names the line and the workload.
    """
    text = "\n".join(lines)
    is_json = text.lstrip()[:1] in ("{", "[")
    entries = _in_json(text, source) if is_json else _in_lines(lines, source)
    weights: dict[str, float] = {}
    for entry in entries:
        try:
            name = parse_workload(entry.workload).text
        except WorkloadError as error:
            raise ProfileError(f"{entry.where}: {error}") from error
        weights[name] = weights.get(name, 0.0) + _weight(entry)
    if not any(weights.values()):
        raise ProfileError(f"profile {source}: no workload has a weight above 0")
    return weights


def _weight(entry: _Entry) -> float:
    place = f"{entry.where}: workload {entry.workload}"
    try:
        weight = float(entry.weight) if isinstance(entry.weight, str | int | float) else math.nan
    except (ValueError, OverflowError):
        weight = math.nan
    if isinstance(entry.weight, bool) or not math.isfinite(weight):
        raise ProfileError(f"{place}: weight {_short(entry.weight)}: expected a number")
    if not 0 <= weight <= _HEAVIEST:
        raise ProfileError(f"{place}: weight {weight:g}: expected 0 to {_HEAVIEST:g}")
    return weight


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _in_lines(lines: Sequence[str], source: str) -> Iterator[_Entry]:
    is_first = True
    for number, line in enumerate(lines, 1):
        content = line.partition("#")[0].strip()
        if not content:
            continue
        words = content.replace(",", " ").split()
        is_header = is_first and [word.lower() for word in words] == ["workload", "weight"]
        is_first = False
        if is_header:
            continue
        where = f"profile {source} line {number}"
        match words:
            case [workload, weight]:
                yield _Entry(where, workload, weight)
            case [workload]:
                raise ProfileError(f"{where}: workload {workload} has no weight; {_FORM}")
            case _:
                raise ProfileError(f"{where}: {content!r}; {_FORM}")


def _in_json(text: str, source: str) -> Iterator[_Entry]:
    try:
        # As pairs, so that a workload that comes twice is seen twice.
        found: object = json.loads(text, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError) as error:
        what = " ".join(str(error).split())
        raise ProfileError(f"profile {source}: not JSON ({what})") from error
    match found:
        case _Pairs(pairs=pairs):
            for workload, weight in pairs:
                yield _Entry(f"profile {source}", workload, weight)
        case list():
            for number, each in enumerate(found, 1):
                where = f"profile {source} entry {number}"
                match dict(each.pairs) if isinstance(each, _Pairs) else each:
                    case {"workload": str(workload), "weight": weight}:
                        yield _Entry(where, workload, weight)
                    case {"workload": str(workload)}:
                        raise ProfileError(f"{where}: workload {workload} has no weight; {_FORM}")
                    case _:
                        raise ProfileError(f"{where}: {_FORM}")
