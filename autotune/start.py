"""An engine's start: what to do with the choice. Where in doubt, the engine's default stays."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from autotune._store import Layers
from autotune.chooser import answer
from autotune.decision import Choice
from autotune.keys import Question, canonical, device_key
from autotune.marks import Dead, can_mark, dead_starts, mark_folders
from autotune.today import Asked


@dataclass(frozen=True)
class Take:
    """The engine gets these options."""

    choice: Choice
    options: Mapping[str, object]
    """Of the engine, by its own names."""
    mark_key: str
    """Of the mark that the start leaves; empty where the choice is the user's own word, or where
    all instances must go by it."""


@dataclass(frozen=True)
class Keep:
    """The engine's own rule stays, and nothing of its config is touched."""

    choice: Choice
    why: str
    is_warning: bool = False
    """A person should do something about it."""
    dead: tuple[Dead, ...] = ()
    """Starts that died with the decision, which is quarantined for it."""


Ruling: TypeAlias = Take | Keep


@dataclass(frozen=True)
class Circumstances:
    """Of a start, beside the question."""

    agreement: str = ""
    """Why every instance must load the same, as "3 nodes"; empty where this one is alone."""
    can_mark: bool = True
    """Whether a mark of the start can be left."""
    dead: tuple[Dead, ...] = ()
    """Earlier starts that died with the same decision."""


def rule_start(
    asked: Asked,
    layers: Layers,
    environ: Mapping[str, str],
    agreement: str = "",
    *,
    leaves_marks: bool = True,
) -> Ruling:
    """Read what is stored, and decide what the engine gets. Raises AutotuneError where the settings
    make no sense; tells nothing in a log.
    """
    choice = answer(asked, layers)
    # Without a decision there is nobody's mark, and no folder is to be made for one.
    if choice.decision is None or not leaves_marks:
        return rule(asked.question, choice, Circumstances(agreement))
    folders = mark_folders(layers.user.path, environ)
    dead = dead_starts(folders, decision_id(asked.question, choice))
    return rule(asked.question, choice, Circumstances(agreement, can_mark(folders), dead))


def heed_quarantine(
    question: Question, choice: Choice, layers: Layers, environ: Mapping[str, str]
) -> Choice:
    """The choice without its engine's options, and with a warning, where a start died with it."""
    if choice.decision is None or not choice.engine_options or is_default(choice):
        return choice
    key = decision_id(question, choice)
    dead = dead_starts(mark_folders(layers.user.path, environ), key)
    if not dead:
        return choice
    who = choice.label
    why = _quarantine_text(who, dead[-1])
    return replace(choice, engine_options=None, warnings=(*choice.warnings, why))


def rule(question: Question, choice: Choice, around: Circumstances) -> Ruling:
    """Pure."""
    if choice.state == "default":
        return Keep(choice, choice.why, is_warning=bool(choice.warnings))
    who = choice.label
    if not choice.engine_options:
        return Keep(choice, f"{choice.engine} has no option that loads {who}", is_warning=True)
    if is_default(choice):
        return Keep(choice, f"{who} is what {choice.engine} takes by itself")
    if choice.is_observed:
        return Keep(choice, f"AUTOTUNE_MODE=observe: would take {who}")
    if around.agreement and choice.source not in ("override", "lock"):
        why = f"{around.agreement}: every instance must load the same, so only a lock file decides"
        return Keep(choice, f"{why} (autotune lock, AUTOTUNE_LOCK); would take {who}", True)
    if choice.source == "override" or around.agreement:
        return Take(choice, choice.engine_options, "")
    if around.dead:
        return Keep(choice, _quarantine_text(who, around.dead[-1]), True, around.dead)
    if not around.can_mark:
        why = f"{who} is not taken: no folder takes the mark that protects a start"
        return Keep(choice, f"{why}; set AUTOTUNE_STATE to one that can be written", True)
    return Take(choice, choice.engine_options, decision_id(question, choice))


def is_default(choice: Choice) -> bool:
    """The winner alone is what the engine would take; a split is more than its winner."""
    decision, candidate = choice.decision, choice.candidate
    if decision is None or candidate is None or decision.split is not None:
        return False
    return candidate.label == decision.default


def is_default_wrong(choice: Choice) -> bool:
    """The engine takes by itself what is known to compute wrong numbers, and so is no candidate."""
    decision = choice.decision
    if decision is None:
        return False
    candidates = (decision.winner, *(ranked.candidate for ranked in decision.runners_up))
    return all(candidate.label != decision.default for candidate in candidates)


def _quarantine_text(who: str, dead: Dead) -> str:
    said = f": {dead.why}" if dead.why else ""
    return (
        f"{who} is quarantined, as a start with it died on {dead.when}{said};"
        f" autotune cache quarantine --clear lets it be taken again"
    )


def decision_id(question: Question, choice: Choice) -> str:
    """What a mark is of: measured again, or under other options, it is another decision."""
    decision, candidate = choice.decision, choice.candidate
    fields: dict[str, object] = {
        "question": question.text,
        "device": device_key(choice.device),
        "candidate": None if candidate is None else candidate.label,
        "options": json.dumps(dict(choice.engine_options or {}), sort_keys=True),
        "measured_at": None if decision is None else decision.measured_at,
    }
    return hashlib.sha256(canonical(fields).encode()).hexdigest()[:16]
