"""What an engine's start asks: which backend? One read of the cache, nothing measured, no torch."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from autotune import records
from autotune._store import Layers, StoredDecision, Which, read_layers
from autotune.announce import announce
from autotune.decision import Choice
from autotune.elsewhere import Elsewhere
from autotune.engine_options import single_options
from autotune.errors import LockError, UsageError
from autotune.keys import device_key
from autotune.kin import kinship
from autotune.known import misspelt_text
from autotune.override import Refused, Taken, check, cost_text, wanted
from autotune.remembered import Answer, Pinned, Unusable, joined, take
from autotune.today import Asked
from autotune.unmeasured import by_default, miss_text, unmeasured

_log = logging.getLogger("autotune")


def choose(asked: Asked, cache: Layers | Path) -> Choice:
    """Answer from the override, the lock, the cache, or the default, in this order, and log it.

    A cache is one file, or the layers that `find_layers` gives. One that cannot be read is told in
    `unread` and in a warning, and costs its own rows alone: no start fails because of it. Raises
    UsageError or LockError for an override or a lock that cannot be followed, and for a disabled
    backend that nobody knows, under `strict`.
    """
    choice = answer(asked, cache)
    if asked.settings.mode != "off":
        announce(choice, _log)
    return choice


def answer(asked: Asked, cache: Layers | Path) -> Choice:
    """As `choose`, without a word in the log."""
    layers = cache if isinstance(cache, Layers) else Layers.alone(cache)
    choice = _answer(asked, layers)
    if isinstance(asked.found, Elsewhere):
        choice = replace(choice, why=f"{asked.found.note}; {choice.why}")
    return replace(choice, is_observed=asked.settings.mode == "observe")


def _answer(asked: Asked, layers: Layers) -> Choice:
    if asked.settings.mode == "off":
        return by_default(asked, "AUTOTUNE_MODE=off")
    notes = list[str]()
    if misspelt := misspelt_text(asked):
        if asked.strict:
            raise UsageError(misspelt)
        notes.append(misspelt)
    for each in wanted(asked):
        match check(asked, each):
            case Taken() as taken:
                return joined(notes, _overridden(asked, taken, layers))
            case Refused(why) if asked.strict:
                raise UsageError(why)
            case Refused(why):
                notes.append(why)
    if invariant := _invariance(asked):
        return joined([*notes, invariant], by_default(asked, "the engine's own rule"))
    return joined(notes, _automatic(asked, layers))


def _automatic(asked: Asked, layers: Layers) -> Choice:
    """What measurements say, whatever the user named."""
    lock = _pinned(asked)
    asked = replace(asked, denied=lock.deny)
    notes = list(lock.notes)
    match take(asked, lock.answers):
        case Choice() as choice:
            return joined(notes, replace(choice, why=f"{lock.where}: {choice.why}"))
        case Unusable(why):
            notes.append(f"{lock.where}: {why}")
    return joined(notes, _from_cache(asked, layers))


def _pinned(asked: Asked) -> Pinned:
    if asked.settings.lock is None:
        return Pinned()
    # Imported late: a start without a lock does not wait for its reader.
    from autotune.pinned import pinned

    return pinned(asked, Path(asked.settings.lock))


def _from_cache(asked: Asked, layers: Layers) -> Choice:
    """What is stored for this question, what its measurements say to it, or the default; with what
    could not be read.
    """
    found = read_layers(layers, Which(questions=(asked.question.text,)))
    answers = _answers(asked, found.stored)
    own = [each for each in answers if not each.kinship]
    notes = [*map(str, found.errors), *found.damaged]
    if not own:
        # Imported late: a hit needs no policy.
        from autotune.fresh import decided_now

        fresh = decided_now(asked, layers)
        own = [*fresh.answers]
        notes += fresh.notes
    match take(asked, own or answers):
        case Choice() as choice:
            pass
        case Unusable(why, remedy):
            choice = joined([why], by_default(asked, f"{remedy} {asked.where}"))
        case None:
            choice = replace(by_default(asked, miss_text(asked, layers)), is_miss=True)
    return joined(notes, replace(choice, unread=found.errors))


def _answers(asked: Asked, stored: Iterable[StoredDecision]) -> list[Answer]:
    """Of this part and of sister parts, without what is damaged."""
    found = []
    for each in stored:
        device = records.device_of(each.device)
        is_same = each.decision.device_key == device_key(asked.found.device)
        kin = () if is_same else kinship(asked.found.device, device, asked.settings.aliases)
        decision = records.decision_of(each) if is_same or kin else None
        if decision is not None:
            found.append(Answer(decision, "cache", kin, each.file, each.revoked))
    return found


def _overridden(asked: Asked, taken: Taken, layers: Layers) -> Choice:
    """The user's word, and what it costs where that was measured."""
    wanted = taken.wanted
    engine = asked.question.engine
    why = f"{taken.candidate.backend} was asked for by {wanted.variable}"
    warnings = []
    if cost := cost_text(taken, _automatic_or_default(asked, layers)):
        why = f"{why}; {cost}"
        warnings.append(f"{wanted.text}: {cost}")
    if wanted.variable == "VLLM_ATTENTION_BACKEND":
        warnings.append(f"{wanted.text}: vLLM reads it no more; set AUTOTUNE_BACKEND instead")
    return replace(
        unmeasured(asked, why, taken.candidate),
        state="override",
        source="override",
        engine_options=single_options(engine, taken.variant.engine_options.get(engine)),
        warnings=tuple(warnings),
    )


def _automatic_or_default(asked: Asked, layers: Layers) -> Choice:
    """A lock that cannot be followed does not stand in the way of the user's word."""
    try:
        return _automatic(asked, layers)
    except LockError:
        return by_default(asked, "")


def _invariance(asked: Asked) -> str:
    """Why measurements do not decide, where results must not depend on the batch; empty where they
    may. Two backends sum in different orders, and so does one at two batch sizes.
    """
    if asked.settings.force:
        return ""
    engine = asked.question.engine
    said = [text for name, text in asked.settings.invariant if name == engine]
    if asked.deterministic:
        said.append("a deterministic mode")
    if not said:
        return ""
    return f"off under {' and '.join(said)}: AUTOTUNE_FORCE=1 chooses by measurements all the same"
