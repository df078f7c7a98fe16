"""What the user asked for by name: checked at once, and told what it costs."""

from __future__ import annotations

from dataclasses import dataclass

from autotune.decision import Choice
from autotune.elsewhere import stack_under
from autotune.ranking import Candidate
from autotune.today import Asked, first_able, why_not
from kernels_bench.backends import find_backends
from kernels_bench.backends.base import Backend
from kernels_bench.spec import Stack, Variant


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
    backends = find_backends().backends
    name, _, variant = _ours(asked, wanted.name, backends, stack).partition(":")
    if able := first_able(asked, name, stack, variant or None):
        return Taken(wanted, *able)
    names = [backend.name for backend in backends]
    can = [each for each in names if first_able(asked, each, stack)]
    cannot = [f"{each} (cannot run {asked.where})" for each in names if each not in can]
    why = why_not(asked, name, stack, variant or None)
    known = ", ".join([*can, *cannot])
    return Refused(f"{wanted.text} cannot be taken: {why}; known: {known}")


def _ours(asked: Asked, text: str, backends: tuple[Backend, ...], stack: Stack) -> str:
    """Our name for what may be the engine's: vLLM says TRITON_ATTN."""
    plain = text.strip()
    name, colon, variant = plain.partition(":")
    if any(each.name == name.lower() for each in backends):
        return f"{name.lower()}{colon}{variant}"
    for backend in backends:
        for each in _variants(asked, backend, stack):
            options = each.engine_options.get(asked.question.engine, {})
            if plain.upper() in (value for value in options.values() if isinstance(value, str)):
                return backend.name
    return plain


def _variants(asked: Asked, backend: Backend, stack: Stack) -> tuple[Variant, ...]:
    device, specs = asked.found.device, asked.question.model.specs
    try:
        return tuple(v for spec in specs for v in backend.variants(device, spec, stack))
    except Exception:  # a plug-in's code: the check that follows tells what it raises
        return ()


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
