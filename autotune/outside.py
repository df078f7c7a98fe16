"""A start as seen from outside: what its line of JSON and its metric say."""

from __future__ import annotations

from datetime import datetime

from autotune.metrics import moment_of
from autotune.payload import SCHEMA, Json
from autotune.start import Ruling, Take


def start_payload(ruling: Ruling, now: datetime) -> Json:
    """What was decided at a start, and what the engine would have taken."""
    choice = ruling.choice
    decision, candidate = choice.decision, choice.candidate
    measured_at = None if decision is None else decision.measured_at
    return {
        "schema": SCHEMA,
        "event": "engine_start",
        "engine": choice.engine,
        "model": choice.model,
        "device": choice.device.name,
        "state": choice.state,
        "source": choice.source,
        "backend": choice.backend,
        "variant": None if candidate is None else candidate.variant,
        "applied": isinstance(ruling, Take),
        "engine_args": dict(ruling.options) if isinstance(ruling, Take) else {},
        "default": None if decision is None else decision.default,
        "speedup_vs_default": None if decision is None else decision.speedup_vs_default,
        "tie": False if decision is None else decision.tie,
        "measured_at": measured_at,
        "age_s": None if measured_at is None else _age_s(measured_at, now),
        "profile": choice.profile,
        "cache": None if choice.file is None else str(choice.file),
        "why": choice.why if isinstance(ruling, Take) else ruling.why,
    }


def _age_s(moment: str, now: datetime) -> int:
    return max(0, int((now - moment_of(moment)).total_seconds()))
