"""What answers where nothing was measured: the engine's own rule, and what comes close."""

from __future__ import annotations

from collections.abc import Sequence

from autotune import records
from autotune._store import Layers, Which, read_layers
from autotune.decision import Choice
from autotune.elsewhere import stack_under
from autotune.incumbents import default_order
from autotune.loadable import Site, defective
from autotune.nearest import Near, Stored, nearest
from autotune.ranking import Candidate
from autotune.today import Asked, first_able, reason_texts, why_not
from kernels_bench.backends import find_backend


def by_default(asked: Asked, why: str) -> Choice:
    """What the engine would take by itself, where that is one of our candidates."""
    model, stack = asked.question.model, stack_under(asked.found)
    if model.unsupported:
        why = f"no backend can run {model.name}: {reason_texts(model.unsupported)}"
        return unmeasured(asked, why)
    device, flags = asked.found.device, asked.settings.rocm
    order = default_order(asked.question.engine, device, model.specs, stack, flags)
    here = [name for name in order if find_backend(name) is not None]
    engine, site = asked.question.engine, Site(device, model.specs, stack)
    if engine != "any" and (wrong := sorted(defective(site, here[:1]))):
        told = f"{', '.join(wrong)}, which {engine} takes by itself, is known to be wrong here"
        return unmeasured(asked, f"{why}; {told} (autotune backends says why)")
    for name in here:
        if able := first_able(asked, name, stack):
            return unmeasured(asked, why, able[0])
        if engine != "any":
            break  # an engine's rule depends on more than our reasons: only its first is certain
    if here and engine == "any":
        why = f"no backend can run {model.name} {asked.where}: {_everyone(asked, here)}"
    return unmeasured(asked, why)


def _everyone(asked: Asked, names: Sequence[str]) -> str:
    stack = stack_under(asked.found)
    return "; ".join(f"{name}: {why_not(asked, name, stack)}" for name in names)


def miss_text(asked: Asked, layers: Layers) -> str:
    """Why the cache has no answer, what comes close, and what to do about it."""
    question, device = asked.question, asked.found.device
    near = near_misses(asked, layers)
    told = f" (nearest is {near[0].stored.where}: {', '.join(near[0].differences)})" if near else ""
    return (
        f"nothing is measured for {question.model.name} on {device.name}{told};"
        f" autotune warm measures it {asked.where}"
    )


def near_misses(asked: Asked, layers: Layers) -> tuple[Near, ...]:
    """What is stored for the same layers, and the fields that differ."""
    same_layers = Which(fingerprints=(asked.question.model.fingerprint,))
    stored = (
        Stored(
            f"decision {each.id}",
            each.model.name,
            each.decision.question,
            records.device_of(each.device),
        )
        for each in read_layers(layers, same_layers).stored
    )
    return nearest(asked.question.text, asked.found.device, stored)


def unmeasured(asked: Asked, why: str, candidate: Candidate | None = None) -> Choice:
    """A choice that no measurement stands behind, and that leaves the engine's options alone."""
    question = asked.question
    return Choice(
        state="default",
        why=why,
        engine=question.engine,
        profile=question.profile,
        model=question.model.name,
        device=asked.found.device,
        candidate=candidate,
    )
