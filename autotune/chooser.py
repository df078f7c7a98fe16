"""What an engine's start asks: which backend? One read of the cache, nothing measured, no torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from autotune import records
from autotune._store import StoredDecision, find_decisions
from autotune.decision import Choice, Decision, State, with_runner_up
from autotune.errors import UsageError
from autotune.incumbents import default_order
from autotune.keys import Question, device_key
from autotune.policy import Candidate
from autotune.settings import Settings
from autotune.wishes import Wishes
from kernels_bench.backends import Broken, find_backend, find_backends
from kernels_bench.backends.base import Backend
from kernels_bench.candidates import ask, choose_pages
from kernels_bench.devices import FoundDevice
from kernels_bench.method import METHOD
from kernels_bench.spec import Phase, Reason, Stack, Variant
from kernels_bench.stack import full_stack, version_of


@dataclass(frozen=True)
class Asked:
    """A question, on a device, under a user's settings."""

    question: Question
    found: FoundDevice
    settings: Settings = field(default_factory=Settings)
    strict: bool = False
    """An override that cannot run is an error instead of a warning."""


def choose(asked: Asked, cache_file: Path) -> Choice:
    """Answer from the override, the cache, or the default, in this order.

    Raises CacheError where the file cannot be read, and UsageError for a strict override.
    """
    notes: list[str] = []
    if asked.settings.backend is not None:
        match _override(asked, asked.settings.backend):
            case Choice() as choice:
                return choice
            case str() as refusal if asked.strict:
                raise UsageError(refusal)
            case str() as refusal:
                notes.append(refusal)
    stored = find_decisions(cache_file, asked.question.text)
    choice = _remembered(asked, stored) or _default(asked, _miss(asked, stored))
    return replace(choice, why="; ".join([*notes, choice.why]))


def _remembered(asked: Asked, stored: Iterable[StoredDecision]) -> Choice | None:
    """The stored decision for this part, checked against what is installed today."""
    mine = [s for s in stored if s.decision.device_key == device_key(asked.found.device)]
    decisions = [d for s in mine if (d := records.decision_of(s)) is not None]
    if not decisions:
        return None
    today = _Today(asked.found)
    exact = [d for d in decisions if not _drift(d, asked, today)]
    decision = exact[0] if exact else decisions[0]  # newest first
    drift = _drift(decision, asked, today)
    state: State = "drifted" if drift else "exact"
    stack = today.stack(decision.versions)
    refusals: list[str] = []
    for candidate in (decision.winner, *(r.candidate for r in decision.runners_up)):
        match _ask_today(asked, candidate, stack):
            case Variant() as variant:
                taken = decision
                if candidate != decision.winner:
                    taken = with_runner_up(decision, candidate)
                why = "; ".join([*drift, *refusals, taken.why])
                return _choice(asked, state, candidate, variant, why, taken)
            case refusal:
                refusals.append(f"{candidate.label} cannot run any more ({refusal})")
    return None


class _Today:
    """Versions as they are now, looked up when asked for."""

    def __init__(self, found: FoundDevice) -> None:
        self._found = found
        self._known: dict[str, str | None] = {}

    def version(self, name: str) -> str | None:
        """None: not installed."""
        if name not in self._known:
            self._known[name] = version_of(name, self._found)
        return self._known[name]

    def stack(self, names: Iterable[str]) -> Stack:
        """Of these names alone: a start needs no list of everything that is installed."""
        found = {name: self.version(name) for name in names}
        return {name: version for name, version in found.items() if version is not None}


def _drift(decision: Decision, asked: Asked, today: _Today) -> list[str]:
    """What changed since the measurement, with both values."""
    changed = [
        f"{name} was {then or 'absent'} and is {now or 'absent'}"
        for name, then in sorted(decision.versions.items())
        if (now := today.version(name)) != then
    ]
    if decision.method != METHOD:
        changed.append(f"the measuring method was {decision.method} and is {METHOD}")
    limit_w = asked.found.device.power_limit_w
    if decision.power_limit_w != limit_w:
        changed.append(f"the power limit was {decision.power_limit_w} W and is {limit_w} W")
    return changed


def _ask_today(asked: Asked, candidate: Candidate, stack: Stack) -> Variant | str:
    """The candidate's variant as it is today, or why it cannot run."""
    answers = _answers(asked, candidate.backend, stack)
    if isinstance(answers, Broken):
        return answers.message
    for answer in answers:
        if answer.variant.name == candidate.variant:
            return answer.variant if not answer.reasons else _texts(answer.reasons)
    return "it has no such variant any more"


@dataclass(frozen=True)
class _Answer:
    """What one variant says to the whole question."""

    variant: Variant
    reasons: tuple[Reason, ...]
    """Of every layer kind and phase, each once; none: it can run."""


def _answers(asked: Asked, name: str, stack: Stack) -> tuple[_Answer, ...] | Broken:
    """Load one backend and ask it; its variants in its own order."""
    backend = find_backend(name)
    if backend is None:
        return Broken(name, "no such backend is installed")
    if isinstance(backend, Broken):
        return backend
    try:
        return tuple(
            _Answer(variant, _refusals(backend, variant, asked, stack))
            for variant in _variants(backend, asked, stack)
        )
    except Exception as error:  # a plug-in's code: whatever it raises is its reason
        return Broken(name, f"asked, it raised {type(error).__name__}: {error}")


def _variants(backend: Backend, asked: Asked, stack: Stack) -> Iterable[Variant]:
    """Each name once, though several kinds of layer have it."""
    device, specs = asked.found.device, asked.question.model.specs
    named = {v.name: v for spec in specs for v in backend.variants(device, spec, stack)}
    return named.values()


def _refusals(backend: Backend, variant: Variant, asked: Asked, stack: Stack) -> tuple[Reason, ...]:
    model, device = asked.question.model, asked.found.device
    reasons = dict.fromkeys(model.unsupported)
    for spec in model.specs:
        for phase in Phase:
            support = ask(backend, variant, device, spec, phase, stack).support
            reasons.update(dict.fromkeys(support.reasons))
    wishes = Wishes(asked.question.engine, asked.settings.disabled)
    return (*reasons, *wishes.refusals(backend.name, variant))


def _default(asked: Asked, why: str) -> Choice:
    """What the engine would take by itself; None of ours where that is an engine's own rule."""
    if asked.question.engine == "any":
        stack = full_stack(asked.found)
        for name in default_order(asked.found.device):
            if able := _first_able(asked, name, stack):
                return _choice(asked, "default", *able, why, None)
    return _choice(asked, "default", None, None, why, None)


def _first_able(asked: Asked, name: str, stack: Stack) -> tuple[Candidate, Variant] | None:
    """The first variant of a backend that can run every kind of layer."""
    answers = _answers(asked, name, stack)
    if isinstance(answers, Broken):
        return None
    pinned = next((spec.page_size for spec in asked.question.model.specs), None)
    for answer in answers:
        pages = choose_pages(answer.variant, pinned)
        if pages is not None and not answer.reasons:
            return Candidate(name, answer.variant.name, pages), answer.variant
    return None


def _override(asked: Asked, name: str) -> Choice | str:
    """The user's word, if it can run; otherwise why not, and who could."""
    stack = full_stack(asked.found)
    if able := _first_able(asked, name, stack):
        why = f"{name} was asked for by AUTOTUNE_BACKEND"
        return _choice(asked, "override", *able, why, None)
    match _answers(asked, name, stack):
        case Broken(message=message):
            refusal = message
        case answers:
            said = (reason for answer in answers for reason in answer.reasons)
            refusal = _texts((*asked.question.model.unsupported, *said))
    names = [backend.name for backend in find_backends().backends]
    can = [each for each in names if _first_able(asked, each, stack)]
    cannot = [f"{each} (cannot run here)" for each in names if each not in can]
    known = ", ".join([*can, *cannot])
    return f"AUTOTUNE_BACKEND={name} cannot be taken: {refusal}; known: {known}"


def _miss(asked: Asked, stored: Iterable[StoredDecision]) -> str:
    """Why the cache has no answer, and what to do about it."""
    model = asked.question.model
    if model.unsupported:
        return "no backend can run this model: " + _texts(model.unsupported)
    mine = [s for s in stored if s.decision.device_key == device_key(asked.found.device)]
    if mine:
        return "nobody who was measured can run here any more; run autotune warm"
    others = sorted({s.device.name for s in stored})
    elsewhere = f" (measured on {', '.join(others)})" if others else ""
    return (
        f"nothing is measured for {model.name} on {asked.found.device.name}{elsewhere};"
        " autotune warm measures it"
    )


def _texts(reasons: Iterable[Reason]) -> str:
    return ", ".join(dict.fromkeys(reason.text for reason in reasons))


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
        backend=None if candidate is None else candidate.backend,
        why=why,
        engine=question.engine,
        profile=question.profile,
        model=question.model.name,
        device=asked.found.device,
        decision=decision,
        candidate=candidate,
        engine_options=None if variant is None else variant.engine_options.get(question.engine),
    )
