"""An entry of a lock, to JSON and back."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar, get_args

from autotune.decision import PerKind, SplitDecision
from autotune.keys import canonical
from autotune.ranking import Candidate
from autotune.stored_json import read_split
from kernels_bench.spec import Device, DeviceKind, Layout, Pages


@dataclass(frozen=True)
class LockEntry:
    """One decision, as it was made."""

    question_text: str
    """Canonical, as `Question.text`."""
    model_name: str
    device: Device
    """With the power limit under which it was measured."""
    engine: str
    profile: str
    candidate: Candidate
    engine_args: Mapping[str, object]
    """The engine's own names and values: for people, never handed to an engine."""
    per_kind: PerKind
    split: SplitDecision | None
    default: str
    speedup_vs_default: float | None
    versions: Mapping[str, str | None]
    method: int
    measured_at: str
    evidence: str
    """Digest of the measurements that it stands on."""


def entry_fields(entry: LockEntry) -> dict[str, object]:
    """As it stands in the file."""
    question: dict[str, object] = json.loads(entry.question_text)
    model = {"name": entry.model_name, "fingerprint": question.pop("model")}
    device = dataclasses.asdict(entry.device)
    return {
        **question,
        "model": model,
        "device": device,
        "backend": entry.candidate.backend,
        "variant": entry.candidate.variant,
        "pages": dataclasses.asdict(entry.candidate.pages),
        "engine_args": dict(entry.engine_args),
        "per_kind": {kind: dict(phases) for kind, phases in entry.per_kind.items()},
        "split": None if entry.split is None else dataclasses.asdict(entry.split),
        "default": entry.default,
        "speedup_vs_default": entry.speedup_vs_default,
        "versions": dict(entry.versions),
        "method": entry.method,
        "measured_at": entry.measured_at,
        "evidence": entry.evidence,
    }


def read_entry(fields: object) -> LockEntry:
    """Raises ValueError that names the field. Fields that are not known here are passed over."""
    read = _Fields(fields, "")
    model, pages = read.inside("model"), read.inside("pages")
    question: dict[str, object] = {
        "engine": read.text("engine"),
        "max_model_len": read.number("max_model_len"),
        "model": model.mapping("fingerprint"),
        "profile": read.text("profile"),
    }
    if "page_size" in read.values:
        question["page_size"] = read.numbers("page_size")
    return LockEntry(
        question_text=canonical(question),
        model_name=model.text("name"),
        device=_device(read.inside("device")),
        engine=read.text("engine"),
        profile=read.text("profile"),
        candidate=Candidate(
            read.text("backend"),
            read.text("variant"),
            Pages(pages.number("size"), pages.one_of("layout", get_args(Layout))),
        ),
        engine_args=read.mapping("engine_args"),
        per_kind=_per_kind(read.mapping("per_kind")),
        split=_split(read.values.get("split")),
        default=read.text("default"),
        speedup_vs_default=read.ratio_or_null("speedup_vs_default"),
        versions=_versions(read.mapping("versions")),
        method=read.number("method"),
        measured_at=read.text("measured_at"),
        evidence=read.text("evidence"),
    )


def _device(read: _Fields) -> Device:
    return Device(
        kind=read.one_of("kind", get_args(DeviceKind)),
        name=read.text("name"),
        arch=read.text("arch"),
        multiprocessors=read.number("multiprocessors"),
        memory_bytes=read.number("memory_bytes"),
        last_level_cache_bytes=read.number("last_level_cache_bytes"),
        partition=read.text("partition"),
        power_limit_w=read.number("power_limit_w"),
    )


def _per_kind(kinds: Mapping[str, object]) -> PerKind:
    found = {}
    for kind, phases in kinds.items():
        values = _Fields(phases, f"per_kind.{kind}")
        found[kind] = {phase: values.text(phase) for phase in values.values}
    return found


def _split(fields: object) -> SplitDecision | None:
    if fields is None:
        return None
    split = read_split(json.dumps(fields))
    if not all(who.label.isprintable() for who in split.members):
        raise ValueError("split: expected names on one line")
    return split


def _versions(versions: Mapping[str, object]) -> Mapping[str, str | None]:
    found: dict[str, str | None] = {}
    for name, version in versions.items():
        if version is not None and not (isinstance(version, str) and version.isprintable()):
            raise ValueError(f"versions.{name}: expected a text on one line, or null")
        found[name] = version
    return found


_Text = TypeVar("_Text", bound=str)


class _Fields:
    """Checked access to an object of JSON; `where` names it in errors."""

    def __init__(self, values: object, where: str) -> None:
        if not isinstance(values, dict):
            raise ValueError(f"{where or 'an entry'}: expected an object")
        if not all(name.isprintable() for name in values):
            raise ValueError(f"{where or 'an entry'}: expected names on one line")
        self.values: dict[str, object] = values
        self._where = where

    def text(self, name: str) -> str:
        """On one line: it is part of messages."""
        value = self._value(name)
        if not isinstance(value, str) or not value.isprintable():
            raise ValueError(f"{self._path(name)}: expected a text on one line")
        return value

    def number(self, name: str) -> int:
        """Whole, and not below 0."""
        value = self._value(name)
        if type(value) is not int or value < 0:
            raise ValueError(f"{self._path(name)}: expected a whole number")
        return value

    def numbers(self, name: str) -> list[int]:
        """At least one, each whole and above 0."""
        match self._value(name):
            case [_, *_] as values if all(type(each) is int and each > 0 for each in values):
                return [each for each in values if isinstance(each, int)]
            case _:
                raise ValueError(f"{self._path(name)}: expected a list of whole numbers")

    def ratio_or_null(self, name: str) -> float | None:
        """Above 0."""
        match self._value(name):
            case None:
                return None
            case (int() | float()) as value if type(value) is not bool and value > 0:
                return float(value)
            case _:
                raise ValueError(f"{self._path(name)}: expected a number above 0, or null")

    def one_of(self, name: str, known: tuple[_Text, ...]) -> _Text:
        """One of a few words."""
        value = self._value(name)
        for each in known:
            if each == value:
                return each
        raise ValueError(f"{self._path(name)}: expected one of {', '.join(known)}")

    def mapping(self, name: str) -> Mapping[str, object]:
        """An object as it is."""
        return _Fields(self._value(name), self._path(name)).values

    def inside(self, name: str) -> _Fields:
        """An object to look into."""
        return _Fields(self._value(name), self._path(name))

    def _value(self, name: str) -> object:
        if name not in self.values:
            raise ValueError(f"{self._path(name)} is missing")
        return self.values[name]

    def _path(self, name: str) -> str:
        return f"{self._where}.{name}" if self._where else name
