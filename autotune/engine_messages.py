"""What a process that runs a whole engine is asked for, and what it says: a line of JSON each."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from autotune.engine_loads import Load


@dataclass(frozen=True)
class EngineJob:
    """One engine, and what it is put to."""

    model: str
    """A folder that the engine can load."""
    arguments: Mapping[str, object]
    """Of the engine's constructor, by its own names; the backend among them."""
    loads: tuple[Load, ...]
    repeats: int
    """Of each load, in turns, after one that is thrown away."""
    has_weights: bool = False
    """Else random ones are drawn, the same in every engine."""
    is_scored: bool = True
    """Log-probabilities of fixed prompts are told."""
    most_s: float = 1e9
    """No repeat begins after so many seconds of repeats, but two of each are always made."""
    extension: str = "autotune.in_vllm.witness.Witness"
    """The class that the engine's workers are extended by."""


@dataclass(frozen=True)
class Ready:
    """What it needs is imported; it starts the engine when told to go."""

    import_s: float


@dataclass(frozen=True)
class Started:
    """The engine can be asked."""

    start_s: float
    """Weights, compilers, graphs; imports apart."""
    backends: tuple[str, ...]
    """Classes, as the workers of all ranks have them."""
    config_hash: str
    """Of what was compiled; several, with a plus between, where ranks differ."""
    kv_tokens: int
    """Room in the cache."""
    engine_version: str


@dataclass(frozen=True)
class Scores:
    """What the model thinks of fixed prompts, for comparison with another backend's thoughts."""

    prompt: tuple[tuple[float, ...], ...]
    """Log-probability of each token but the first, a prompt each."""
    tops: tuple[tuple[int, ...], ...]
    """The likeliest token at each of these places."""
    answers: tuple[tuple[int, ...], ...]
    """The greedy answer to each."""
    answer_scores: tuple[tuple[float, ...], ...]
    """Log-probability of each of its tokens."""


@dataclass(frozen=True)
class Sample:
    """One repeat of one load."""

    load: str
    wall_s: float
    """From handing over all requests to the last token of the last."""
    output_tokens: int
    ttft_ms: float
    """To a request's first token; the median of the requests."""
    tbt_ms: float
    """Between tokens of a request, its mean; the median of the requests."""

    @property
    def tokens_per_s(self) -> float:
        """Of output."""
        return self.output_tokens / self.wall_s


@dataclass(frozen=True)
class Finished:
    """All was done."""

    peak_bytes: int
    """Of a worker's memory; 0 where the device does not say."""


@dataclass(frozen=True)
class Broke:
    """The engine raised."""

    message: str


EngineEvent: TypeAlias = Ready | Started | Scores | Sample | Finished | Broke
_EVENTS = {kind.__name__: kind for kind in (Ready, Started, Scores, Sample, Finished, Broke)}


@dataclass(frozen=True)
class EngineRun:
    """One start of an engine, as far as it came."""

    import_s: float = 0.0
    started: Started | None = None
    scores: Scores | None = None
    samples: tuple[Sample, ...] = ()
    peak_bytes: int = 0
    failure: str = ""
    """Why it ended early; empty where it did not."""

    def of(self, load: Load) -> tuple[Sample, ...]:
        """The repeats of a load."""
        return tuple(sample for sample in self.samples if sample.load == load.text)


def line_of(message: EngineJob | EngineEvent) -> str:
    """One line, its end included."""
    fields = {"is": type(message).__name__, **dataclasses.asdict(message)}
    return json.dumps(fields, separators=(",", ":")) + "\n"


def read_job(line: str) -> EngineJob:
    """What `line_of` wrote; raises KeyError, TypeError or ValueError for anything else."""
    fields = _fields(line)
    del fields["is"]
    loads = tuple(Load(**load) for load in fields.pop("loads"))
    return EngineJob(**fields, loads=loads)


def read_event(line: str) -> EngineEvent:
    """Likewise."""
    fields = _fields(line)
    kind: type[Any] = _EVENTS[fields.pop("is")]
    event: EngineEvent = kind(**{name: _frozen(value) for name, value in fields.items()})
    return event


def _fields(line: str) -> dict[str, Any]:
    fields = json.loads(line)
    if not isinstance(fields, dict):
        raise TypeError("not an object")
    return fields


def _frozen(value: object) -> object:
    return tuple(_frozen(each) for each in value) if isinstance(value, list) else value
