"""What a device can run today: the question put to backends one by one, without torch."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import redirect_stdout
from dataclasses import dataclass, field

from autotune.elsewhere import Elsewhere
from autotune.keys import Question
from autotune.ranking import Candidate
from autotune.settings import Settings
from autotune.wishes import Wishes
from kernels_bench.backends import Broken, find_backend
from kernels_bench.backends.base import Backend
from kernels_bench.candidates import ask, ask_variants, choose_pages
from kernels_bench.contract import asked_text
from kernels_bench.devices import FoundDevice
from kernels_bench.spec import Phase, Reason, Stack, Variant


@dataclass(frozen=True)
class Asked:
    """A question, on a device, under a user's settings."""

    question: Question
    found: FoundDevice | Elsewhere
    settings: Settings = field(default_factory=Settings)
    strict: bool = False
    """An override or a lock that cannot be followed is an error instead of a warning."""
    deterministic: bool = False
    """Results must not depend on the batch, as the caller knows of its engine."""
    denied: frozenset[str] = frozenset()
    """Backends that a lock rules out."""

    @property
    def where(self) -> str:
        """The device's place, for people."""
        is_away = isinstance(self.found, Elsewhere) and not self.found.is_here
        return "there" if is_away else "here"


def variant_today(asked: Asked, candidate: Candidate, stack: Stack) -> Variant | str:
    """The candidate's variant as it is today, or why it cannot run."""
    answers = _answers(asked, candidate.backend, stack, only=candidate.variant)
    if isinstance(answers, Broken):
        return answers.message
    for answer in answers:
        return answer.variant if not answer.reasons else reason_texts(answer.reasons)
    return "it has no such variant any more"


def first_able(
    asked: Asked, name: str, stack: Stack, variant: str | None = None
) -> tuple[Candidate, Variant] | None:
    """The first variant of a backend that can run every kind of layer, or one of them by name."""
    answers = _answers(asked, name, stack)
    if isinstance(answers, Broken):
        return None
    pinned = next((spec.page_size for spec in asked.question.model.specs), None)
    for answer in answers:
        pages = choose_pages(answer.variant, pinned)
        if variant is not None and answer.variant.name != variant:
            continue
        if pages is not None and not answer.reasons:
            return Candidate(name, answer.variant.name, pages), answer.variant
    return None


def why_not(asked: Asked, name: str, stack: Stack, variant: str | None = None) -> str:
    """Every reason of every variant of a backend that cannot run, or of one of them."""
    match _answers(asked, name, stack):
        case Broken(message=message):
            return message
        case answers:
            own = [each for each in answers if variant in (None, each.variant.name)]
            if variant is not None and not own:
                names = ", ".join(each.variant.name for each in answers)
                return f"no such variant of {name}: it has {names}"
            said = (reason for answer in own for reason in answer.reasons)
            return reason_texts((*asked.question.model.unsupported, *said))


def reason_texts(reasons: Iterable[Reason]) -> str:
    """Each text once, in one line."""
    return ", ".join(dict.fromkeys(reason.text for reason in reasons))


@dataclass(frozen=True)
class _Answer:
    """What one variant says to the whole question."""

    variant: Variant
    reasons: tuple[Reason, ...]
    """Of every layer kind and phase, each once; none: it can run."""


def _answers(
    asked: Asked, name: str, stack: Stack, only: str | None = None
) -> tuple[_Answer, ...] | Broken:
    """Load one backend and ask it, for all of its variants in its own order, or only for one."""
    backend = find_backend(name)
    if backend is None:
        return Broken(name, "no such backend is installed")
    if isinstance(backend, Broken):
        return backend
    try:
        with redirect_stdout(sys.stderr):  # a plug-in may print; stdout belongs to results
            return tuple(
                _Answer(variant, _refusals(backend, variant, asked, stack))
                for variant in _variants(backend, asked, stack)
                if only in (None, variant.name)
            )
    # A plug-in's code: whatever it raises, a wish to leave too, is its reason.
    except (Exception, SystemExit) as error:
        return Broken(name, asked_text(error))


def _variants(backend: Backend, asked: Asked, stack: Stack) -> Iterable[Variant]:
    """Each name once, though several kinds of layer have it."""
    device, specs = asked.found.device, asked.question.model.specs
    named = {v.name: v for spec in specs for v in ask_variants(backend, device, spec, stack)}
    return named.values()


def _refusals(backend: Backend, variant: Variant, asked: Asked, stack: Stack) -> tuple[Reason, ...]:
    model, device = asked.question.model, asked.found.device
    reasons = dict.fromkeys(model.unsupported)
    for spec in model.specs:
        for phase in Phase:
            support = ask(backend, variant, device, spec, phase, stack).support
            reasons.update(dict.fromkeys(support.reasons))
    wishes = Wishes(asked.question.engine, asked.settings.disabled, asked.denied)
    return (*reasons, *wishes.refusals(backend.name, variant))
