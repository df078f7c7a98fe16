"""Reads the JSON in the cache's columns. A file may be old, newer or damaged: whatever is not of
the expected form raises ValueError.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from autotune.decision import PerKind
from autotune.policy import Candidate, Ranked
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
            "candidate": {
                "backend": str(backend),
                "variant": str(variant),
                "pages": {"size": int(size), "layout": str(layout)},
            },
            "score": int() | float() as score,
            "bound": int() | float() as bound,
        } if score > 0:  # a ratio of two times
            candidate = Candidate(backend, variant, read_pages(size, layout))
            return Ranked(candidate, float(score), float(bound))
        case _:
            raise ValueError(f"not a runner-up: {fields!r}")
