"""What is remembered of a verdict: enough for an engine's start, and for a person who asks why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from autotune._store import CacheError
from autotune.criteria import Criteria
from autotune.ranking import Candidate, Crossover, Ground, Ranked, is_tie
from kernels_bench.spec import Device, Phase

State: TypeAlias = Literal["override", "exact", "drifted", "borrowed", "default"]
"""override: the user said so. exact: measured on this part with this stack. drifted: a package, a
driver or the power limit changed since. borrowed: measured on a sister part. default: nothing
usable, so the engine's own rule."""

Source: TypeAlias = Literal["override", "lock", "cache", "evidence", "default"]
"""Who answered. evidence: measurements of another question, decided for this one at the asking."""

PerKind: TypeAlias = Mapping[str, Mapping[str, str]]
"""Kind of layer -> phase -> backend."""
Seats: TypeAlias = Mapping[str, Mapping[str, Candidate]]
"""Kind of layer -> phase -> candidate."""


@dataclass(frozen=True)
class SplitDecision:
    """Several backends that are better than any single one, for an engine that loads them."""

    seats: Seats
    score: float
    """Of the default's cost."""
    gain: float
    """What they cost less than the best single backend: 0.05 is 5 %."""
    bound: float
    """Half width of the 99 % interval around the gain."""
    regret: float

    @property
    def members(self) -> tuple[Candidate, ...]:
        """Each once."""
        every = (who for phases in self.seats.values() for who in phases.values())
        return tuple(dict.fromkeys(every))


@dataclass(frozen=True)
class Assessment:
    """How sure a decision is, and what it leaves on the table."""

    bound: float
    """Half width of the 99 % interval around the winner's cost over the default's."""
    regret: float
    ground: Ground
    crossovers: tuple[Crossover, ...]
    profile_weights: Mapping[str, float]
    uncovered: Mapping[str, float]
    """Workload of the profile -> its share of all weight, where nothing like it was measured."""


@dataclass(frozen=True)
class Decision:
    """An answer with its evidence in short."""

    winner: Candidate
    default: str
    """Label of what the engine takes by itself: the incumbent's, or that of a default that is known
    to compute wrong numbers and so is no candidate."""
    per_kind: PerKind
    """As an engine that loads one backend a phase and kind would have it."""
    speedup_vs_default: float | None
    """Of the single winner; None where no incumbent could be timed."""
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
    split: SplitDecision | None = None
    """Several backends, where they are better than one and the engine loads them."""
    assessment: Assessment | None = None
    """None where an older schema or a lock stored it."""

    @property
    def successors(self) -> tuple[Candidate, ...]:
        """Who takes the winner's place where that cannot run, in this order: whoever was better
        than the default beyond the noise; the default; and then the others.
        """
        criteria = Criteria()
        better = [
            r.candidate
            for r in self.runners_up
            if r.is_clear_of_default(criteria) and not r.regresses(criteria)
        ]
        default = [r.candidate for r in self.runners_up if r.candidate.label == self.default]
        return tuple(dict.fromkeys([*better, *default, *(r.candidate for r in self.runners_up)]))


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
    source: Source = "default"
    decision: Decision | None = None
    """What was measured; None for an override and the default."""
    candidate: Candidate | None = None
    """None: the engine's own rule, unknown to us."""
    engine_options: Mapping[str, object] | None = None
    """The engine's own names and values; None where it has none for this choice."""
    warnings: tuple[str, ...] = ()
    """What a person should know before relying on it, a line each."""
    is_observed: bool = False
    """AUTOTUNE_MODE=observe: said, and to be acted on by nobody."""
    file: Path | None = None
    """The cache file that answers; None where none does."""
    is_miss: bool = False
    """Nothing is stored for this question, nor can stored measurements answer it."""
    unread: tuple[CacheError, ...] = ()
    """Why cache files could not be read; the warnings say so too."""

    @property
    def backend(self) -> str | None:
        """The candidate's name."""
        return None if self.candidate is None else self.candidate.backend

    @property
    def label(self) -> str:
        """The candidate's, for people; empty where there is none."""
        return "" if self.candidate is None else self.candidate.label

    @property
    def is_measured(self) -> bool:
        """Whether measurements stand behind the backend."""
        return self.state in ("exact", "drifted", "borrowed")


def one_backend_everywhere(
    backend: str, kinds: Iterable[str], phases: Iterable[Phase | str]
) -> PerKind:
    """A single winner, in the shape of a split."""
    names = [Phase(phase).value for phase in phases]
    return {kind: dict.fromkeys(names, backend) for kind in kinds}


def backends_of(seats: Seats) -> PerKind:
    """A split without variants and pages."""
    return {
        kind: {phase: who.backend for phase, who in phases.items()}
        for kind, phases in seats.items()
    }


def with_runner_up(decision: Decision, candidate: Candidate) -> Decision:
    """The decision as if a runner-up had won: its winner cannot run here any more."""
    ranked = next(r for r in decision.runners_up if r.candidate == candidate)
    rest = tuple(r for r in decision.runners_up if r is not ranked)
    speedup = 1.0 / ranked.score
    assessment = decision.assessment
    if assessment is not None:
        regret = (1 + assessment.regret) * ranked.score * (decision.speedup_vs_default or 1.0) - 1
        assessment = replace(assessment, bound=ranked.bound, regret=regret)
    taken = replace(
        decision,
        winner=candidate,
        speedup_vs_default=speedup,
        tie=is_tie(ranked, rest, Criteria()),
        why=f"{candidate.label} is the best of the rest, {speedup:.2f}x the default",
        runners_up=rest,
        assessment=assessment,
    )
    return without_split(taken)


def without_split(decision: Decision) -> Decision:
    """The decision with its single winner everywhere."""
    return replace(
        decision,
        per_kind={
            kind: dict.fromkeys(phases, decision.winner.backend)
            for kind, phases in decision.per_kind.items()
        },
        split=None,
    )
