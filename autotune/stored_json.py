"""Reads the JSON in the cache's columns. A file may be old, newer or damaged: whatever is not of
the expected form raises ValueError.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import get_args

from autotune.decision import PerKind, Seats, SplitDecision
from autotune.ranking import Candidate, Crossover, Ground, Ranked, Worst
from kernels_bench.spec import Layout, Pages, Reason


def read_reasons(text: str) -> tuple[Reason, ...]:
    """A list of {field, text}."""
    return tuple(_reason(each) for each in _list(text))


def read_runners_up(text: str) -> tuple[Ranked, ...]:
    """A list of {candidate, score, bound}."""
    return tuple(_ranked(each) for each in _list(text))


def read_per_kind(text: str) -> PerKind:
    """{kind: {phase: backend}}"""
    kinds: object = json.loads(text)
    if not isinstance(kinds, dict):
        raise ValueError(f"not a mapping of kinds: {text}")
    return {kind: _texts(phases) for kind, phases in kinds.items()}


def read_versions(text: str) -> Mapping[str, str | None]:
    """{distribution: version or null}"""
    versions: object = json.loads(text)
    if not isinstance(versions, dict) or not all(
        isinstance(version, str | None) for version in versions.values()
    ):
        raise ValueError(f"not a mapping of versions: {text}")
    return versions


def read_pages(size: int, layout: str) -> Pages:
    """Two columns, or two fields."""
    known: Layout = "HND" if layout == "HND" else "NHD"
    return Pages(size, known)


def _list(text: str) -> list[object]:
    values: object = json.loads(text)
    if not isinstance(values, list):
        raise ValueError(f"not a list: {text}")
    return values


def _texts(values: object) -> Mapping[str, str]:
    if not isinstance(values, dict) or not all(isinstance(each, str) for each in values.values()):
        raise ValueError(f"not a mapping of texts: {values!r}")
    return values


def _reason(fields: object) -> Reason:
    match fields:
        case {"field": str(field), "text": str(text)}:
            return Reason(field, text)
        case _:
            raise ValueError(f"not a reason: {fields!r}")


def _ranked(fields: object) -> Ranked:
    match fields:
        case {
            "candidate": candidate,
            "score": int() | float() as score,
            "bound": int() | float() as bound,
            **rest,
        } if score > 0:  # a ratio of two times
            worst = _worst(rest.get("worst"))
            return Ranked(_candidate(candidate), float(score), float(bound), worst)
        case _:
            raise ValueError(f"not a runner-up: {fields!r}")


def _worst(fields: object) -> Worst | None:
    """Schema 2 stored none."""
    match fields:
        case None:
            return None
        case {"ratio": int() | float() as ratio, "workload": str(workload)}:
            return Worst(float(ratio), workload)
        case _:
            raise ValueError(f"not a workload with a ratio: {fields!r}")


def _candidate(fields: object) -> Candidate:
    match fields:
        case {
            "backend": str(backend),
            "variant": str(variant),
            "pages": {"size": int(size), "layout": str(layout)},
        }:
            return Candidate(backend, variant, read_pages(size, layout))
        case _:
            raise ValueError(f"not a candidate: {fields!r}")


def read_ground(text: str) -> Ground:
    """What decided."""
    grounds: tuple[Ground, ...] = get_args(Ground)
    for ground in grounds:
        if ground == text:
            return ground
    raise ValueError(f"not a ground of a decision: {text}")


def read_split(text: str) -> SplitDecision:
    """{seats: {kind: {phase: candidate}}, score, gain, bound, regret}"""
    fields: object = json.loads(text)
    match fields:
        case {
            "seats": dict(seats),
            "score": int() | float() as score,
            "gain": int() | float() as gain,
            "bound": int() | float() as bound,
            "regret": int() | float() as regret,
        } if seats and score > 0 and not any(type(x) is bool for x in (score, gain, bound, regret)):
            found = (float(score), float(gain), float(bound), float(regret))
            return SplitDecision(_seats(seats), *found)
        case _:
            raise ValueError(f"not a split: {text}")


def _seats(kinds: Mapping[object, object]) -> Seats:
    seats: dict[str, dict[str, Candidate]] = {}
    for kind, phases in kinds.items():
        if not isinstance(kind, str) or not isinstance(phases, dict):
            raise ValueError(f"not a mapping of kinds: {kinds!r}")
        seats[kind] = {str(phase): _candidate(who) for phase, who in phases.items()}
    return seats


def read_crossovers(text: str) -> tuple[Crossover, ...]:
    """A list, one an axis."""
    return tuple(_crossover(each) for each in _list(text))


def _crossover(fields: object) -> Crossover:
    match fields:
        case {
            "axis": ("batch" | "new_tokens") as axis,
            "low": low,
            "high": high,
            "last_low": int(last_low),
            "first_high": int(first_high),
            "gain": int() | float() as gain,
        }:
            pair = _candidate(low), _candidate(high)
            return Crossover(axis, *pair, last_low, first_high, float(gain))
        case _:
            raise ValueError(f"not a crossover: {fields!r}")


def read_shares(text: str) -> Mapping[str, float]:
    """{workload: number}"""
    shares: object = json.loads(text)
    if not isinstance(shares, dict) or not all(
        type(share) in (int, float) for share in shares.values()
    ):
        raise ValueError(f"not a mapping of numbers: {text}")
    return {str(name): float(share) for name, share in shares.items()}
