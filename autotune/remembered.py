"""Answers that are stored, in a cache or a lock, against what is installed today."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from autotune.criteria import Criteria
from autotune.decision import (
    Choice,
    Decision,
    Source,
    State,
    with_runner_up,
    without_split,
)
from autotune.elsewhere import Elsewhere, stack_under
from autotune.engine_options import Options, Unsayable, single_options, split_options
from autotune.engines import ANY, engine_named
from autotune.keys import DRIVERS
from autotune.ranking import Candidate
from autotune.today import Asked, variant_today
from kernels_bench.method import METHOD
from kernels_bench.spec import Stack, Variant


@dataclass(frozen=True)
class Answer:
    """A stored decision for this question."""

    decision: Decision
    source: Source
    kinship: tuple[str, ...] = ()
    """What sets the measured device apart from this one; empty: it is the same part."""
    file: Path | None = None
    """The cache file that has it; None for a lock's."""
    revoked: str = ""
    """Why its winner is not to be taken, as a run of the engine showed; empty where it may be."""


@dataclass(frozen=True)
class Pinned:
    """What a lock says to a question."""

    answers: tuple[Answer, ...] = ()
    deny: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    """Why it does not answer, a line each."""
    where: str = ""
    """The line that answers."""


@dataclass(frozen=True)
class Unusable:
    """Why none of the stored answers is taken."""

    why: str
    remedy: str = "run autotune warm"
    """What to do about it; the place follows: here, there."""


def take(asked: Asked, answers: Sequence[Answer]) -> Choice | Unusable | None:
    """The best of the answers, which stand layer by layer and newest first: of this part and stack,
    of this part under the same driver, of this part, of a sister part; None where there is none.
    """
    if not answers:
        return None
    # Of these names alone: a start needs no list of everything that is installed.
    names = {name for each in answers for name in each.decision.versions}
    stack = stack_under(asked.found, names)
    found = [(each, _drift(each.decision, asked, stack)) for each in answers]
    answer, drift = min(found, key=lambda pair: _distance(pair[0], pair[1], stack))
    state: State = "borrowed" if answer.kinship else "drifted" if drift else "exact"
    notes = [*answer.kinship, *drift]
    if not _is_accepted(state, asked):
        said = f"AUTOTUNE_ACCEPT={asked.settings.accept} leaves a {state} answer"
        return Unusable(f"{said} ({'; '.join(notes)})")
    if answer.revoked:
        return _revoked(answer, notes)
    return _still_able(asked, answer, state, notes, stack)


def _distance(answer: Answer, drift: Sequence[str], stack: Stack) -> tuple[bool, bool, bool]:
    """A driver moves all numbers of a device, a package those of one backend."""
    versions = answer.decision.versions
    is_driver_s = any(name in versions and versions[name] != stack.get(name) for name in DRIVERS)
    return bool(answer.kinship), bool(drift), is_driver_s


def _is_accepted(state: State, asked: Asked) -> bool:
    order: tuple[State, ...] = ("exact", "drifted", "borrowed")
    return order.index(state) <= order.index(asked.settings.accept)


def _revoked(answer: Answer, notes: Sequence[str]) -> Unusable:
    """Nor is a runner-up taken, or an older answer: who lost in the engine was ahead of both."""
    why = f"{answer.decision.winner.label} is revoked: {answer.revoked}"
    if notes:  # of another part or stack: what was measured there is to be measured first
        return Unusable("; ".join([*notes, why]))
    return Unusable(why, "autotune confirm runs it again")


def _still_able(
    asked: Asked, answer: Answer, state: State, notes: Sequence[str], stack: Stack
) -> Choice | Unusable:
    """The winner, or who was next, if it can run today."""
    decision = answer.decision
    refusals: list[str] = []
    for candidate in dict.fromkeys((decision.winner, *decision.successors)):
        match variant_today(asked, candidate, stack):
            case Variant() as variant:
                taken = _with(asked, decision, candidate, variant, stack)
                warnings = [*refusals, *taken.lost]
                if unmeasured := _unmeasured(taken.decision):
                    warnings.append(unmeasured)
                if state == "borrowed":
                    warnings.insert(0, f"borrowed from a sister part: {'; '.join(notes)}")
                return Choice(
                    state=state,
                    why="; ".join([*notes, *refusals, *taken.lost, taken.decision.why]),
                    engine=asked.question.engine,
                    profile=asked.question.profile,
                    model=asked.question.model.name,
                    device=asked.found.device,
                    source=answer.source,
                    file=answer.file,
                    decision=taken.decision,
                    candidate=candidate,
                    engine_options=taken.options,
                    warnings=tuple(warnings),
                )
            case refusal:
                refusals.append(f"{candidate.label} {_lost(asked)} ({refusal})")
    told = "; ".join(refusals)
    return Unusable(f"nobody who was measured can run {asked.where} any more: {told}")


@dataclass(frozen=True)
class _Taken:
    """What is left of a decision today, and how the engine is told."""

    decision: Decision
    options: Options | None
    lost: tuple[str, ...] = ()
    """Why it has no split any more, a line each."""


def _with(
    asked: Asked, decision: Decision, candidate: Candidate, variant: Variant, stack: Stack
) -> _Taken:
    """The decision with this winner; without its split where a member of that cannot run, or where
    the engine has no words for it.
    """
    engine = asked.question.engine
    options = single_options(engine, variant.engine_options.get(engine))
    if candidate != decision.winner:
        return _Taken(with_runner_up(decision, candidate), options)
    if decision.split is None:
        return _Taken(decision, options)
    own, lost = dict[Candidate, Options](), list[str]()
    for member in decision.split.members:
        match variant_today(asked, member, stack):
            case Variant() as found:
                own[member] = found.engine_options.get(engine, {})
            case refusal:
                lost.append(f"no split: {member.label} {_lost(asked)} ({refusal})")
    if lost:
        return _Taken(without_split(decision), options, tuple(lost))
    if engine == ANY.name:  # an engine of one's own reads the seats themselves
        return _Taken(decision, options)
    # The engine need not be among the packages of what was measured.
    named = engine_named(engine, stack_under(asked.found, {engine}))
    match split_options(named, decision.split.seats, candidate, own):
        case Unsayable(why):
            return _Taken(without_split(decision), options, (f"no split: {why}",))
        case said:
            return _Taken(decision, said)


def _unmeasured(decision: Decision) -> str:
    """Told where more than half of the weight was guessed; empty elsewhere."""
    uncovered = {} if decision.assessment is None else decision.assessment.uncovered
    share = sum(uncovered.values())
    if share <= Criteria.unmeasured:
        return ""
    return (
        f"{share:.0%} of the profile's weight is not measured; autotune warm with it measures that"
    )


def _lost(asked: Asked) -> str:
    """A backend that was measured elsewhere may well run there without being installed here."""
    is_elsewhere = isinstance(asked.found, Elsewhere)
    return "cannot be taken here" if is_elsewhere else "cannot run any more"


def _drift(decision: Decision, asked: Asked, stack: Stack) -> list[str]:
    """What changed since the measurement, with both values."""
    changed = [
        f"{name} was {then or 'absent'} and is {now or 'absent'}"
        for name, then in sorted(decision.versions.items())
        if (now := stack.get(name)) != then
    ]
    if decision.method != METHOD:
        changed.append(f"the measuring method was {decision.method} and is {METHOD}")
    limit_w = asked.found.device.power_limit_w
    if decision.power_limit_w != limit_w:
        changed.append(f"the power limit was {decision.power_limit_w} W and is {limit_w} W")
    return changed


def joined(notes: Iterable[str], choice: Choice) -> Choice:
    """The choice with what happened before it was reached."""
    found = [*notes]
    if not found:
        return choice
    return replace(
        choice,
        why="; ".join([*found, choice.why]),
        warnings=(*found, *choice.warnings),
    )
