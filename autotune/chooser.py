"""What an engine's start asks: which backend? One read of the cache, nothing measured, no torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from autotune import records
from autotune._store import StoredDecision, find_decisions
from autotune.decision import Choice, Decision, State, with_runner_up
from autotune.elsewhere import Elsewhere, stack_under
from autotune.errors import UsageError
from autotune.incumbents import default_order
from autotune.keys import device_key
from autotune.policy import Candidate
from autotune.today import Asked, first_able, reason_texts, variant_today, why_not
from kernels_bench.backends import find_backend, find_backends
from kernels_bench.method import METHOD
from kernels_bench.spec import Stack, Variant


def choose(asked: Asked, cache_file: Path) -> Choice:
    """Answer from the override, the cache, or the default, in this order.

    Raises CacheError where the file cannot be read, and UsageError for a strict override.
    """
    choice = _answer(asked, cache_file)
    if isinstance(asked.found, Elsewhere):
        return replace(choice, why=f"{asked.found.note}; {choice.why}")
    return choice


def _answer(asked: Asked, cache_file: Path) -> Choice:
    notes: list[str] = []
    if asked.settings.backend is not None:
        match _override(asked, asked.settings.backend):
            case Choice() as choice:
                return choice
            case str() as refusal if asked.strict:
                raise UsageError(refusal)
            case str() as refusal:
                notes.append(refusal)
    choice = _from_cache(asked, find_decisions(cache_file, asked.question.text))
    return replace(choice, why="; ".join([*notes, choice.why]))


def _from_cache(asked: Asked, stored: Iterable[StoredDecision]) -> Choice:
    """What is stored for this part, or else the default and why."""
    mine = [s for s in stored if s.decision.device_key == device_key(asked.found.device)]
    if remembered := _remembered(asked, mine):
        return remembered
    if mine:
        why = "nobody who was measured can run {0} any more; run autotune warm {0}"
        return _default(asked, why.format(asked.where))
    return _default(asked, _miss(asked, {s.device.name for s in stored}))


def _remembered(asked: Asked, mine: Iterable[StoredDecision]) -> Choice | None:
    """A decision that is stored for this part, checked against what is installed today."""
    decisions = [d for s in mine if (d := records.decision_of(s)) is not None]
    if not decisions:
        return None
    # Of these names alone: a start needs no list of everything that is installed.
    stack = stack_under(asked.found, {name for each in decisions for name in each.versions})
    drifts = [(each, _drift(each, asked, stack)) for each in decisions]
    newest = drifts[0]
    decision, drift = next((pair for pair in drifts if not pair[1]), newest)
    state: State = "drifted" if drift else "exact"
    refusals: list[str] = []
    for candidate in (decision.winner, *(r.candidate for r in decision.runners_up)):
        match variant_today(asked, candidate, stack):
            case Variant() as variant:
                taken = decision
                if candidate != decision.winner:
                    taken = with_runner_up(decision, candidate)
                why = "; ".join([*drift, *refusals, taken.why])
                return _choice(asked, state, candidate, variant, why, taken)
            case refusal:
                refusals.append(f"{candidate.label} {_lost(asked)} ({refusal})")
    return None


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


def _default(asked: Asked, why: str) -> Choice:
    """What the engine would take by itself; None of ours where that is an engine's own rule."""
    model = asked.question.model
    if model.unsupported:
        why = f"no backend can run {model.name}: {reason_texts(model.unsupported)}"
    if model.unsupported or asked.question.engine != "any":
        return _choice(asked, "default", None, None, why, None)
    stack = stack_under(asked.found)
    here = [n for n in default_order(asked.found.device) if find_backend(n) is not None]
    for name in here:
        if able := first_able(asked, name, stack):
            return _choice(asked, "default", *able, why, None)
    if here:
        said = "; ".join(f"{name}: {why_not(asked, name, stack)}" for name in here)
        why = f"no backend can run {model.name} {asked.where}: {said}"
    return _choice(asked, "default", None, None, why, None)


def _override(asked: Asked, name: str) -> Choice | str:
    """The user's word, if it can run; otherwise why not, and who could."""
    stack = stack_under(asked.found)
    if able := first_able(asked, name, stack):
        why = f"{name} was asked for by AUTOTUNE_BACKEND"
        return _choice(asked, "override", *able, why, None)
    names = [backend.name for backend in find_backends().backends]
    can = [each for each in names if first_able(asked, each, stack)]
    cannot = [f"{each} (cannot run {asked.where})" for each in names if each not in can]
    known = ", ".join([*can, *cannot])
    return f"AUTOTUNE_BACKEND={name} cannot be taken: {why_not(asked, name, stack)}; known: {known}"


def _miss(asked: Asked, elsewhere: Iterable[str]) -> str:
    """Why the cache has no answer, and what to do about it; `elsewhere` are other devices."""
    names = ", ".join(sorted(elsewhere))
    measured = f" (measured on {names})" if names else ""
    return (
        f"nothing is measured for {asked.question.model.name} on {asked.found.device.name}"
        f"{measured}; autotune warm measures it {asked.where}"
    )


def _choice(
    asked: Asked,
    state: State,
    candidate: Candidate | None,
    variant: Variant | None,
    why: str,
    decision: Decision | None,
) -> Choice:
    question = asked.question
    return Choice(
        state=state,
        why=why,
        engine=question.engine,
        profile=question.profile,
        model=question.model.name,
        device=asked.found.device,
        decision=decision,
        candidate=candidate,
        engine_options=None if variant is None else variant.engine_options.get(question.engine),
    )
