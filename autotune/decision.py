"""What is remembered of a verdict: enough for an engine's start, and for a person who asks why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from autotune.policy import Candidate, Ranked, is_tie
from kernels_bench.spec import Device, Phase

State: TypeAlias = Literal["override", "exact", "drifted", "borrowed", "default"]
"""override: the user said so. exact: measured on this part with this stack. drifted: a package, a
driver or the power limit changed since. borrowed: measured on a sister part. default: nothing
usable, so the engine's own rule."""

PerKind: TypeAlias = Mapping[str, Mapping[str, str]]
"""Kind of layer -> phase -> backend."""


@dataclass(frozen=True)
class Decision:
    """An answer with its evidence in short."""

    winner: Candidate
    default: str
    """The incumbent's label."""
    per_kind: PerKind
    speedup_vs_default: float | None
    """None where no incumbent could be timed."""
    tie: bool
    why: str
    runners_up: tuple[Ranked, ...]
    """Legal, best first."""
    versions: Mapping[str, str | None]
    """Of every package that the survey looked at; None: not installed then."""
    method: int
    """Version of the measuring method."""
    power_limit_w: int
    measured_at: str


@dataclass(frozen=True)
class Choice:
    """What a start gets."""

    state: State
    why: str
    engine: str
    profile: str
    model: str
    """The name that was asked for."""
    device: Device
    decision: Decision | None = None
    """What was measured; None for an override and the default."""
    candidate: Candidate | None = None
    """None: the engine's own rule, unknown to us."""
    engine_options: Mapping[str, object] | None = None
    """The engine's own names and values; None where it has none for this choice."""

    @property
    def backend(self) -> str | None:
        """The candidate's name."""
        return None if self.candidate is None else self.candidate.backend

    @property
    def is_measured(self) -> bool:
        """Whether measurements stand behind the backend."""
        return self.state in ("exact", "drifted", "borrowed")


def one_backend_everywhere(
    backend: str, kinds: tuple[str, ...], phases: tuple[Phase, ...]
) -> PerKind:
    """A single winner, in the shape that a split will take."""
    return {kind: {phase.value: backend for phase in phases} for kind in kinds}


def with_runner_up(decision: Decision, candidate: Candidate) -> Decision:
    """The decision as if a runner-up had won: its winner cannot run here any more."""
    ranked = next(r for r in decision.runners_up if r.candidate == candidate)
    per_kind = {
        kind: dict.fromkeys(phases, candidate.backend) for kind, phases in decision.per_kind.items()
    }
    rest = tuple(r for r in decision.runners_up if r is not ranked)
    speedup = 1.0 / ranked.score
    return replace(
        decision,
        winner=candidate,
        per_kind=per_kind,
        speedup_vs_default=speedup,
        tie=is_tie(ranked, rest),
        why=f"{candidate.label} is the best of the rest, {speedup:.2f}x the default",
        runners_up=rest,
    )
