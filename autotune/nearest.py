"""On a miss: what is stored that comes close, and the fields that differ. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from autotune.keys import device_key
from kernels_bench.spec import Device

MOST = 3
"""Rows that are told: the nearest says what is missing."""


@dataclass(frozen=True)
class Stored:
    """A question that has an answer somewhere."""

    where: str
    """For people: "decision 7", "line 12"."""
    model: str
    question: str
    device: Device


@dataclass(frozen=True)
class Near:
    """One that comes close."""

    stored: Stored
    differences: tuple[str, ...]
    """A field each, with both values."""


def nearest(question: str, device: Device, stored: Iterable[Stored]) -> tuple[Near, ...]:
    """Those that differ in the fewest fields, at most so many; another model's are not told."""
    asked = _question_fields(question)
    near = [
        Near(each, differences(question, device, each.question, each.device))
        for each in stored
        if _question_fields(each.question).get("model") == asked.get("model")
    ]
    near.sort(key=lambda each: len(each.differences))
    return tuple(near[:MOST])


def differences(
    question: str, device: Device, other_question: str, other_device: Device
) -> tuple[str, ...]:
    """The fields in which a stored question or its device is not the one that is asked."""
    ours = {**_question_fields(question), **_device_fields(device)}
    theirs = {**_question_fields(other_question), **_device_fields(other_device)}
    return tuple(_differing(ours, theirs))


def _differing(ours: Mapping[str, object], theirs: Mapping[str, object]) -> Iterator[str]:
    for name in sorted({*ours, *theirs}):
        mine, stored = ours.get(name), theirs.get(name)
        if mine == stored:
            continue
        if name == "model":
            yield "model: its layers are others"
        else:
            yield f"{name}: {_text(stored)} is stored, {_text(mine)} is asked"


def _text(value: object) -> str:
    return "none" if value is None else value if isinstance(value, str) else json.dumps(value)


def _question_fields(question: str) -> dict[str, object]:
    try:
        fields: object = json.loads(question)
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}


def _device_fields(device: Device) -> dict[str, object]:
    return {f"device.{name}": value for name, value in json.loads(device_key(device)).items()}
