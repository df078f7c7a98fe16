"""What the measuring process and its parent say to each other: pickled between the two alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from kernels_bench.candidates import Entrant, Survey
from kernels_bench.rules import Rules
from kernels_bench.spec import AttentionSpec, Device, Failed, Outcome, Phase, Stack, Wrong
from kernels_bench.workload import Workload


@dataclass(frozen=True)
class AskAll:
    """Request: survey every backend."""

    device: Device
    stack: Stack
    specs: tuple[AttentionSpec, ...]
    phases: tuple[Phase, ...]
    without: tuple[str, ...] = ()
    """Backends that ended an earlier process which asked them."""


@dataclass(frozen=True)
class Rehearsal:
    """Request: run one entrant once on every workload, so that whatever compiles has compiled."""

    device: Device
    torch_device: str
    spec: AttentionSpec
    workloads: tuple[Workload, ...]
    max_model_len: int
    entrant: Entrant


@dataclass(frozen=True)
class Examination:
    """Request: put the entrants through the trial of a phase."""

    device: Device
    torch_device: str
    spec: AttentionSpec
    phase: Phase
    max_model_len: int
    entrants: tuple[Entrant, ...]


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
    """None: the harness itself is preparing inputs or the reference, or several run at once."""
    doing: Literal["prepare", "compile", "check", "time"]


@dataclass(frozen=True)
class Turn:
    """Event: whose code a survey is about to run, sent before it does, as a `Step` is."""

    backend: str
    doing: Literal["import", "ask"]
    printed_bytes: int
    """By the whole process so far: what follows are this backend's words."""


@dataclass(frozen=True)
class Rehearsed:
    """Event: an entrant is compiled and loaded."""

    seconds: float
    """From `prepare` to the first results of all workloads."""
    workspace_bytes: int | None
    """The most that it held beside a batch; None where nobody counts."""


@dataclass(frozen=True)
class Passed:
    """An entrant answered every question of a trial."""

    plan_waits: bool
    """`plan` waits for the device."""


@dataclass(frozen=True)
class Examined:
    """Event: a trial's outcomes, one an entrant."""

    outcomes: tuple[Passed | Wrong | Failed, ...]


@dataclass(frozen=True)
class Finished:
    """Event: a task's outcomes, one an entrant."""

    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True)
class HarnessFailed:
    """Event: the inputs could not be prepared; no entrant is to blame."""

    message: str


Request: TypeAlias = AskAll | Rehearsal | Examination | Task
Event: TypeAlias = Survey | Step | Turn | Rehearsed | Failed | Examined | Finished | HarnessFailed
