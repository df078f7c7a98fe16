"""What the user asked for by name: checked at once, and told what it costs."""

from __future__ import annotations

from dataclasses import dataclass

from autotune.decision import Choice
from autotune.elsewhere import stack_under
from autotune.known import Known, unknown, unknown_text
from autotune.ranking import Candidate
from autotune.today import Asked, first_able, why_not
from kernels_bench.spec import Variant


@dataclass(frozen=True)
class Wanted:
    """A backend by name, and who named it."""

    variable: str
    name: str
    """A backend's, "backend:variant", or the engine's own word for one."""

    @property
    def text(self) -> str:
        """As it was set."""
        return f"{self.variable}={self.name}"


@dataclass(frozen=True)
class Taken:
    """It can run."""

    wanted: Wanted
    candidate: Candidate
    variant: Variant


@dataclass(frozen=True)
class Refused:
    """It cannot, and who could."""

    why: str


def wanted(asked: Asked) -> tuple[Wanted, ...]:
    """In the order in which they are heard."""
    settings, found = asked.settings, list[Wanted]()
    if settings.backend is not None:
        found.append(Wanted("AUTOTUNE_BACKEND", settings.backend))
    if settings.vllm_backend is not None and asked.question.engine == "vllm":
        found.append(Wanted("VLLM_ATTENTION_BACKEND", settings.vllm_backend))
    return tuple(found)


def check(asked: Asked, wanted: Wanted) -> Taken | Refused:
    """Ask the backend itself."""
    stack = stack_under(asked.found)
    known = Known(asked, stack)
    name, _, variant = known.ours(wanted.name).partition(":")
    if able := first_able(asked, name, stack, variant or None):
        return Taken(wanted, *able)
    missing = unknown([name])
    why = unknown_text(missing) if missing else why_not(asked, name, stack, variant or None)
    return Refused(f"{wanted.text} cannot be taken: {why}; known: {known.text}")


def cost_text(taken: Taken, automatic: Choice) -> str:
    """What it costs against what measurements would take; empty where it costs nothing."""
    decision = automatic.decision
    if decision is None or decision.speedup_vs_default is None or automatic.candidate is None:
        return ""
    if taken.candidate == automatic.candidate:
        return ""
    scores = {each.candidate: each.score for each in decision.runners_up}
    best = 1 / decision.speedup_vs_default
    where = f"{automatic.state}, measured on {automatic.device.name} on {decision.measured_at[:10]}"
    label, winner = taken.candidate.label, automatic.candidate.label
    score = scores.get(taken.candidate)
    if score is None:
        return f"what {label} costs is not known, {winner} is the measured choice ({where})"
    more = score / best - 1
    if more <= 0:
        return ""
    return f"{label} costs {more:.1%} more than {winner} ({where})"
