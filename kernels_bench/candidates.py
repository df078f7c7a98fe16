"""Asks every backend what it can run. Pure: `supports` imports no kernel package and no GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kernels_bench.backends import Broken, FoundBackends
from kernels_bench.backends.base import Backend
from kernels_bench.contract import asked_text, checked_support, checked_variants
from kernels_bench.spec import AttentionSpec, Device, Pages, Phase, Reason, Stack, Support, Variant


@dataclass(frozen=True)
class Entrant:
    """A candidate as it is to be measured."""

    backend: str
    variant: Variant
    pages: Pages

    @property
    def label(self) -> str:
        """For people: "torch_sdpa:padded"."""
        return f"{self.backend}:{self.variant.name}"


@dataclass(frozen=True)
class Answer:
    """What one variant says of one layer kind in one phase."""

    backend: str
    variant: Variant
    spec: AttentionSpec
    phase: Phase
    pages: Pages
    """What it would be given."""
    support: Support

    @property
    def entrant(self) -> Entrant:
        """Who would be measured."""
        return Entrant(self.backend, self.variant, self.pages)


@dataclass(frozen=True)
class Survey:
    """Every answer, the refusals among them, and the backends that could not be asked."""

    answers: tuple[Answer, ...]
    broken: tuple[Broken, ...] = ()
    asked: tuple[str, ...] = ()
    """Names of all that were found: a model without a layer to ask about gets no answers."""


def survey(
    found: FoundBackends,
    device: Device,
    stack: Stack,
    specs: tuple[AttentionSpec, ...],
    phases: tuple[Phase, ...],
    on_ask: Callable[[str], None] = lambda _: None,
) -> Survey:
    """Ask all; `on_ask` hears each name before its code runs. A backend that raises, or answers
    something else than the contract says, is broken; the rest goes on.
    """
    answers: list[Answer] = []
    broken = list(found.broken)
    for backend in found.backends:
        on_ask(backend.name)
        try:
            answers += tuple(_ask(backend, device, stack, specs, phases))  # all of them or none
        # A plug-in's code: whatever it raises, a wish to leave too, is its reason.
        except (Exception, SystemExit) as error:
            broken.append(Broken(backend.name, asked_text(error)))
    names = tuple(backend.name for backend in found.backends)
    return Survey(tuple(answers), tuple(broken), names)


def ask_variants(
    backend: Backend, device: Device, spec: AttentionSpec, stack: Stack
) -> tuple[Variant, ...]:
    """What a backend has for one layer kind; raises what it raises, and ContractError."""
    return checked_variants(backend.variants(device, spec, stack))


def ask(
    backend: Backend,
    variant: Variant,
    device: Device,
    spec: AttentionSpec,
    phase: Phase,
    stack: Stack,
) -> Answer:
    """One answer, the pinned page size checked for all backends alike; raises what it raises, and
    ContractError.
    """
    support = checked_support(backend.supports(variant, device, spec, phase, stack))
    pages = choose_pages(variant, spec.page_size)
    if pages is None:
        sizes = ", ".join(str(size) for size in sorted({pages.size for pages in variant.pages}))
        text = f"page_size {spec.page_size}: takes {sizes}"
        support = Support((*support.reasons, Reason("page_size", text)))
        pages = variant.pages[0]
    return Answer(backend.name, variant, spec, phase, pages, support)


def choose_pages(variant: Variant, pinned_size: int | None) -> Pages | None:
    """The preferred pages, or the preferred of the pinned size."""
    for pages in variant.pages:
        if pinned_size is None or pages.size == pinned_size:
            return pages
    return None


def _ask(
    backend: Backend,
    device: Device,
    stack: Stack,
    specs: tuple[AttentionSpec, ...],
    phases: tuple[Phase, ...],
) -> Iterator[Answer]:
    for spec in specs:
        for variant in ask_variants(backend, device, spec, stack):
            for phase in phases:
                yield ask(backend, variant, device, spec, phase, stack)
