"""What backends say of a model, as rows of tables: who can run what, and why others cannot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from autotune.models import kinds
from autotune.surveyed import Surveyed
from kernels_bench.candidates import Answer
from kernels_bench.spec import Phase

Asked = tuple[str, Phase]
"""A kind of layer by its name, and a phase."""
Block = tuple[tuple[str, ...], tuple[Phase, ...]]
"""Kinds of layers, and phases of each of them."""


def able_rows(surveyed: Surveyed) -> Iterator[list[str]]:
    """Backend, variant, layers, phases: a row a variant, two where its layers differ in phases."""
    for (backend, variant), answers in _by_variant(surveyed).items():
        able = (_asked(surveyed, answer) for answer in answers if answer.support)
        for names, phases in _blocks(able):
            yield [backend, variant, ", ".join(names), _phases_text(phases) or "every phase"]


def refusal_rows(surveyed: Surveyed) -> Iterator[list[str]]:
    """Backend, variants, a reason: a row a reason; variants with the same reasons share theirs."""
    variants_of: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    counts: Counter[str] = Counter()
    for (backend, variant), answers in _by_variant(surveyed).items():
        reasons = tuple(_reasons(surveyed, answers))
        variants_of.setdefault((backend, reasons), []).append(variant)
        counts[backend] += 1
    for (backend, reasons), variants in variants_of.items():
        is_all = len(variants) == counts[backend] > 1
        told = "every variant" if is_all else ", ".join(variants)
        yield from ([backend, told, reason] for reason in reasons)
    for broken in surveyed.survey.broken:
        yield [broken.name, "", broken.message]
    if not surveyed.model.specs:
        for name in surveyed.survey.asked:
            yield from ([name, "", reason.text] for reason in surveyed.model.unsupported)


def _reasons(surveyed: Surveyed, answers: Iterable[Answer]) -> Iterator[str]:
    """Each reason once, behind the layers and phases that it is about where these are not all."""
    asked_of: dict[str, list[Asked]] = {}
    for answer in answers:
        for reason in answer.support.reasons:
            # What names its own phase or variant would be said anew of each.
            text = reason.text.removeprefix(f"phase {answer.phase.value}: ")
            text = text.replace(answer.entrant.label, "it")
            asked_of.setdefault(text, []).append(_asked(surveyed, answer))
    count = len(kinds(surveyed.model))
    for text, asked in asked_of.items():
        for names, phases in _blocks(asked):
            layers = "" if len(names) == count else f"{', '.join(names)} layers"
            where = ", ".join(filter(None, (layers, _phases_text(phases))))
            yield f"{where}: {text}" if where else text


def _by_variant(surveyed: Surveyed) -> dict[tuple[str, str], list[Answer]]:
    answers: dict[tuple[str, str], list[Answer]] = {}
    for answer in surveyed.survey.answers:
        answers.setdefault((answer.backend, answer.variant.name), []).append(answer)
    return answers


def _asked(surveyed: Surveyed, answer: Answer) -> Asked:
    return surveyed.kind_of(answer.spec), answer.phase


def _blocks(asked: Iterable[Asked]) -> Iterator[Block]:
    """Kinds of layers that share their phases stand together."""
    phases_of: dict[str, list[Phase]] = {}
    for name, phase in asked:
        phases_of.setdefault(name, []).append(phase)
    names_of: dict[tuple[Phase, ...], list[str]] = {}
    for name, phases in phases_of.items():
        names_of.setdefault(tuple(phases), []).append(name)
    for shared, names in names_of.items():
        yield tuple(names), shared


def _phases_text(phases: tuple[Phase, ...]) -> str:
    """Their names; nothing for all of them."""
    return "" if len(phases) == len(Phase) else ", ".join(phase.value for phase in phases)
