"""One line in the log at a choice, and one for each thing to beware of. Configures no logging."""

from __future__ import annotations

import logging
from datetime import datetime, timezone

from autotune.decision import Choice
from autotune.text import age_text, speedup_text


def announce(choice: Choice, log: logging.Logger) -> None:
    """INFO: the winner, its margin, who comes next, the state and the age. WARNING: what was
    passed over, and what an override costs.
    """
    for warning in choice.warnings:
        log.warning("attn-autotune: %s", warning)
    if choice.state == "default" and not choice.warnings:
        log.warning("attn-autotune: %s", choice.why)
    log.info("attn-autotune: %s", summary(choice, datetime.now(timezone.utc)))


def summary(choice: Choice, now: datetime) -> str:
    """The choice in a line."""
    who = "the engine's own rule" if choice.candidate is None else choice.candidate.label
    parts = [f"{who} for {choice.model} on {choice.device.name}", choice.state]
    decision = choice.decision
    if decision is not None:
        if decision.speedup_vs_default is not None:
            speedup = speedup_text(decision.speedup_vs_default, decision.default, decision.tie)
            parts.append(speedup)
        if decision.runners_up:
            parts.append(f"next is {decision.runners_up[0].candidate.label}")
        parts.append(f"measured {age_text(decision.measured_at, now)}")
    if choice.is_observed:
        parts.append("observed only, the engine's own rule stays")
    return ", ".join(parts)
