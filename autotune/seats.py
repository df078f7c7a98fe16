"""From a choice to a kernel: who serves a phase of a kind of layer, and how it is called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from autotune.decision import Choice
from autotune.elsewhere import stack_under
from autotune.errors import NoBackendError
from autotune.ranking import Candidate
from kernels_bench.backends import Broken, find_backend
from kernels_bench.devices import FoundDevice
from kernels_bench.spec import AttentionSpec, Pages, Phase, Variant

if TYPE_CHECKING:
    from kernels_bench.backends.base import Backend, Launch, PagedBatch


@dataclass(frozen=True)
class Kernel:
    """A candidate for one kind of layer, loaded."""

    backend: Backend
    variant: Variant
    spec: AttentionSpec
    pages: Pages
    """How the KV cache has to be laid out for it."""

    def bind(self, batch: PagedBatch) -> Launch:
        """A launch: `plan()` once a step, `run()` once a layer. Raises what the backend raises."""
        return self.backend.prepare(self.variant, self.spec, batch)


def seat(choice: Choice, kind: str, phase: Phase) -> Candidate:
    """Who serves it: a member of the split where there is one, else the one that was chosen.

    Pure. Raises NoBackendError where nobody can run the model.
    """
    split = None if choice.decision is None else choice.decision.split
    if split is not None and choice.is_measured:
        return split.seats[kind][phase.value]
    if choice.candidate is None:
        raise NoBackendError(choice.why)
    return choice.candidate


def load(candidate: Candidate, spec: AttentionSpec, found: FoundDevice) -> Kernel:
    """Import the backend. Raises NoBackendError where it, or this variant of it, is gone."""
    backend = find_backend(candidate.backend)
    if backend is None or isinstance(backend, Broken):
        why = "no such backend is installed" if backend is None else backend.message
        raise NoBackendError(f"{candidate.label}: {why}")
    for variant in backend.variants(found.device, spec, stack_under(found)):
        if variant.name == candidate.variant:
            return Kernel(backend, variant, spec, candidate.pages)
    raise NoBackendError(f"{candidate.label}: it has no such variant any more")
