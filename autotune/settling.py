"""An engine's start from the question to the ruling: tuned for first where the user asked for that,
and noted where nothing is known.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from autotune._store import CacheError, Layers
from autotune.models import ModelRequest
from autotune.settings import Settings
from autotune.start import Ruling, rule_start
from autotune.today import Asked
from kernels_bench.spec import Device

Say = Callable[[int, str], None]
"""A level of `logging`, and a line."""


@dataclass(frozen=True)
class EngineStart:
    """What is about to start."""

    asked: Asked
    layers: Layers
    request: ModelRequest
    config: Mapping[str, object] | None = None
    """The model's config where the request's source names no file with it."""
    agreement: str = ""
    """Why every instance must load the same; empty where this one is alone."""
    leaves_marks: bool = True
    """Somebody clears the mark of this start once the engine serves."""
    may_tune: bool = True
    """It is for this process to do."""
    is_rehearsal: bool = False
    """Nothing will start: nothing is tuned for, and nothing was missed."""


def settle(start: EngineStart, say: Say) -> Ruling:
    """Raises AutotuneError where the settings make no sense, CacheError where a cache is named that
    cannot be.
    """
    ruling = _ruled(start)
    if _is_to_be_tuned(start, ruling):
        ruling = _tuned(start, ruling, say)
    if ruling.choice.is_miss and not ruling.choice.unread and not start.is_rehearsal:
        _note(start, say)
    return ruling


def longest_s(settings: Settings) -> float:
    """How long `settle` may take under AUTOTUNE_MODE=tune; raises UsageError."""
    from autotune.first_run import USUAL_BUDGET_S, most_s

    return most_s(settings.budget_s or USUAL_BUDGET_S)


def _ruled(start: EngineStart) -> Ruling:
    return rule_start(
        start.asked, start.layers, os.environ, start.agreement, leaves_marks=start.leaves_marks
    )


def _is_to_be_tuned(start: EngineStart, ruling: Ruling) -> bool:
    """What is stored is not of this device and stack."""
    choice = ruling.choice
    is_wanted = start.asked.settings.mode == "tune" and not start.agreement
    if not is_wanted or not start.may_tune or start.is_rehearsal:
        return False
    is_stale = choice.source == "cache" and choice.state in ("drifted", "borrowed")
    return choice.is_miss or is_stale


def _tuned(start: EngineStart, before: Ruling, say: Say) -> Ruling:
    """The ruling after a first run; as before it where nothing came of that."""
    # Imported late: a start that only reads does not need it.
    from autotune.first_run import USUAL_BUDGET_S, FirstRun, tune_first

    question, settings = start.asked.question, start.asked.settings
    profile, budget_s = Path(settings.profile), settings.budget_s or USUAL_BUDGET_S
    say(logging.INFO, f"AUTOTUNE_MODE=tune: tuning for up to {budget_s:.0f} s first")
    run = FirstRun(
        request=start.request,
        name=question.model.name,
        engine=question.engine,
        profile=str(profile.resolve()) if profile.is_file() else settings.profile,
        device=_selector(start.asked.found.device),
        cache=start.layers.user.path.resolve(),
        budget_s=budget_s,
        config=start.config,
    )
    if why := tune_first(run, lambda line: say(logging.INFO, line)):
        say(logging.WARNING, f"tuning before the start failed: {why}")
        return before
    return _ruled(start)


def _selector(device: Device) -> str:
    return "cpu" if device.kind == "cpu" else "auto"


def _note(start: EngineStart, say: Say) -> None:
    """For `autotune warm --missed`; a cache that cannot be written costs the note alone."""
    from autotune.missed import note_miss

    try:
        note_miss(start.asked.question, start.asked.found, start.request.source, start.layers)
    except CacheError as error:
        say(logging.INFO, f"the miss is not noted: {error}")
