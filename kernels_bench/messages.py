"""What the measuring process and its parent say to each other: pickled between the two alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from kernels_bench.candidates import Entrant, Survey
from kernels_bench.race import Rules
from kernels_bench.spec import AttentionSpec, Device, Outcome, Phase, Stack
from kernels_bench.workload import Workload


@dataclass(frozen=True)
class AskAll:
    """Request: survey every backend."""

    device: Device
    stack: Stack
    specs: tuple[AttentionSpec, ...]
    phases: tuple[Phase, ...]


@dataclass(frozen=True)
class Task:
    """Request: check and time the entrants on one workload; the first is the incumbent."""

    device: Device
    torch_device: str
    spec: AttentionSpec
    workload: Workload
    max_model_len: int
    """The longest context that the engine serves: the maximum of a captured call."""
    entrants: tuple[Entrant, ...]
    rules: Rules


@dataclass(frozen=True)
class Step:
    """Event: what is about to happen, sent before it does, so that a death has a culprit."""

    entrant: int | None
    """None: the harness itself is preparing inputs or the reference."""
    doing: Literal["prepare", "check", "time"]


@dataclass(frozen=True)
class Finished:
    """Event: a task's outcomes, one an entrant."""

    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True)
class HarnessFailed:
    """Event: the workload could not be prepared; no entrant is to blame."""

    message: str


Request: TypeAlias = AskAll | Task
Event: TypeAlias = Survey | Step | Finished | HarnessFailed
