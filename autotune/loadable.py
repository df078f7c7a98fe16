"""What an engine can load of the candidates that were measured, as their backends say it today."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from autotune.engine_options import single_options
from autotune.ranking import Candidate
from autotune.wishes import Wishes
from kernels_bench.backends import Broken, find_backend
from kernels_bench.backends.base import Backend
from kernels_bench.candidates import ask_variants
from kernels_bench.spec import AttentionSpec, Device, Phase, Reason, Stack, Variant


@dataclass(frozen=True)
class Site:
    """What backends are asked about."""

    device: Device
    specs: tuple[AttentionSpec, ...]
    stack: Stack


def options_of(site: Site, candidate: Candidate, engine: str) -> Mapping[str, object]:
    """The engine's own names and values for a candidate; none where it is not installed."""
    for variant in variants_of(site, candidate.backend):
        if variant.name == candidate.variant:
            return single_options(engine, variant.engine_options.get(engine)) or {}
    return {}


def variants_of(site: Site, backend: str) -> tuple[Variant, ...]:
    """Those of a backend that is installed; none of one that is not, or that raises."""
    found = find_backend(backend)
    if found is None or isinstance(found, Broken):
        return ()
    try:
        every = [ask_variants(found, site.device, spec, site.stack) for spec in site.specs]
    except Exception:  # a plug-in's code: what it cannot say is not known
        return ()
    return tuple({each.name: each for some in every for each in some}.values())


def defective(site: Site, backends: Iterable[str]) -> frozenset[str]:
    """Labels of variants that refuse a layer for a defect, which the engine's check does not know:
    left alone, it runs them.
    """
    found: set[str] = set()
    for name in backends:
        backend = find_backend(name)
        for variant in variants_of(site, name):
            if isinstance(backend, Backend) and _has_defect(backend, variant, site):
                found.add(f"{name}:{variant.name}")
    return frozenset(found)


def _has_defect(backend: Backend, variant: Variant, site: Site) -> bool:
    return any(
        {reason.field for reason in _reasons(backend, variant, site, spec, phase)} == {"defect"}
        for spec in site.specs
        for phase in Phase
    )


def _reasons(
    backend: Backend, variant: Variant, site: Site, spec: AttentionSpec, phase: Phase
) -> tuple[Reason, ...]:
    try:
        return backend.supports(variant, site.device, spec, phase, site.stack).reasons
    except Exception:  # a plug-in's code: the survey tells what it raises
        return ()


class Loads:
    """Asks each backend once what an engine can load of it."""

    def __init__(self, site: Site, wishes: Wishes) -> None:
        self._site = site
        self._wishes = wishes
        self._variants: dict[str, dict[str, Variant]] = {}

    def refusals(self, candidate: Candidate) -> tuple[Reason, ...]:
        """None: it can be loaded. An engine of one's own loads whatever was measured, here or
        elsewhere.
        """
        name = candidate.backend
        if name not in self._variants:
            self._variants[name] = {each.name: each for each in variants_of(self._site, name)}
        variant = self._variants[name].get(candidate.variant, Variant(candidate.variant))
        return self._wishes.refusals(name, variant)
