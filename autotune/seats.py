"""From a choice to kernels: who serves a phase of a kind of layer, and how it is called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autotune.decision import Choice, Decision, Seats
from autotune.elsewhere import device_line, stack_under
from autotune.errors import NoBackendError, UsageError
from autotune.keys import device_key
from autotune.models import ModelConfig, kinds
from autotune.ranking import Candidate
from kernels_bench.backends import Broken, find_backend
from kernels_bench.candidates import ask_variants
from kernels_bench.capture import UNIFORM_PHASES
from kernels_bench.contract import asked_text
from kernels_bench.devices import FoundDevice, devices_text, find_devices
from kernels_bench.errors import DeviceError
from kernels_bench.spec import AttentionSpec, Device, Pages, Phase, Stack, Variant

if TYPE_CHECKING:
    from autotune.paged import LayerTensors, PagedStep
    from kernels_bench.backends.base import Backend, Launch


@dataclass(frozen=True)
class Kernel:
    """A candidate for one kind of layer, its backend imported."""

    backend: Backend
    variant: Variant
    spec: AttentionSpec
    pages: Pages
    """How the KV cache has to be laid out for it."""

    @property
    def label(self) -> str:
        """For people: "torch_sdpa:padded"."""
        return f"{self.backend.name}:{self.variant.name}"

    def bind(self, step: PagedStep, layer: LayerTensors) -> Launch:
        """`plan()` once a step, then `run()` fills the output.

        A launch keeps these very tensors: where their contents change in place, plan again; for
        other tensors or shapes bind again. Raises UsageError for tensors of another shape, and
        whatever the backend raises.
        """
        # Imported late: who is seated where can be asked without what measures.
        from autotune.paged import batch_of

        batch = batch_of(self.spec, self.pages, step, layer)
        return self.backend.prepare(self.variant, self.spec, batch)


@dataclass(frozen=True)
class Kernels:
    """Whatever a model needs: one kernel a kind of layer and phase."""

    pages: Pages
    """Of all of them: they share one KV cache."""
    by_seat: Mapping[tuple[str, Phase], Kernel]

    def of(self, kind: str, phase: Phase) -> Kernel:
        """Who serves it; raises UsageError for a kind that the model does not have."""
        if (kind, phase) not in self.by_seat:
            known = ", ".join(dict.fromkeys(kind for kind, _ in self.by_seat))
            raise UsageError(f"{kind} layers: this model has {known}")
        return self.by_seat[kind, phase]


def seat(choice: Choice, kind: str, phase: Phase) -> Candidate:
    """Who serves this phase of this kind of layer: a member of the split where there is one, else
    the one that was chosen. Pure.

    Under AUTOTUNE_MODE=observe it is the default: what was measured is told, and nobody acts on it.
    Raises NoBackendError where nobody can run the model, UsageError for a kind that it lacks.
    """
    if choice.candidate is None:
        raise NoBackendError(choice.why)
    if choice.decision is None:
        return choice.candidate
    if choice.is_observed:
        return _default_of(choice.decision)
    if choice.decision.split is None:
        return choice.candidate
    return _member(choice.decision.split.seats, kind, phase)


def load(choice: Choice, model: ModelConfig) -> Kernels:
    """Import the backends that serve the model, without torch: that comes with `bind`.

    Raises NoBackendError where nobody can run it, or a backend is gone; DeviceError where the
    choice is for a device that is not here; UsageError where it is for a model of other layers.
    """
    if choice.candidate is None or not model.specs:
        raise NoBackendError(choice.why)
    found = _place_of(choice.device)
    stack = stack_under(found)
    loaded: dict[tuple[str, Candidate], Kernel] = {}
    by_seat: dict[tuple[str, Phase], Kernel] = {}
    for kind, spec, phase in _seats_of(model):
        who = seat(choice, kind, phase)
        if (kind, who) not in loaded:
            loaded[kind, who] = _kernel(who, spec, found.device, stack)
        by_seat[kind, phase] = loaded[kind, who]
    return Kernels(next(iter(by_seat.values())).pages, by_seat)


def _seats_of(model: ModelConfig) -> Iterator[tuple[str, AttentionSpec, Phase]]:
    for kind, spec in zip(kinds(model), model.specs, strict=True):
        for phase in Phase:
            yield kind, spec, phase


def _default_of(decision: Decision) -> Candidate:
    for who in (decision.winner, *(ranked.candidate for ranked in decision.runners_up)):
        if who.label == decision.default:
            return who
    raise NoBackendError(
        f"AUTOTUNE_MODE=observe leaves the default, and {decision.default} was wrong or cannot run"
        " here; unset it, or name a backend with AUTOTUNE_BACKEND"
    )


def _member(seats: Seats, kind: str, phase: Phase) -> Candidate:
    """A profile may know nothing of a phase: then whoever serves its like, and not the single
    winner, whose pages may be others.
    """
    phases = seats.get(kind, {})
    if phase.value in phases:
        return phases[phase.value]
    is_uniform = phase in UNIFORM_PHASES
    alike = [
        phases[p.value] for p in Phase if p.value in phases and (p in UNIFORM_PHASES) == is_uniform
    ]
    for who in (*alike, *phases.values()):
        return who
    raise UsageError(f"{kind} layers: this choice is for a model of {', '.join(seats)}")


def _place_of(device: Device) -> FoundDevice:
    """The first of the part: what a kernel is depends on no number."""
    here = find_devices()
    for found in here:
        if device_key(found.device) == device_key(device):
            return found
    raise DeviceError(
        f"the choice is for {device_line(device)}, which is not here; choose for one that is:"
        f" {devices_text(here)}"
    )


def _kernel(who: Candidate, spec: AttentionSpec, device: Device, stack: Stack) -> Kernel:
    backend = find_backend(who.backend)
    if backend is None or isinstance(backend, Broken):
        why = "no such backend is installed" if backend is None else backend.message
        raise NoBackendError(f"{who.label}: {why}; choose again")
    try:
        variants = ask_variants(backend, device, spec, stack)
    except Exception as error:  # a plug-in's code: whatever it raises is its reason
        raise NoBackendError(f"{who.label}: {asked_text(error)}") from error
    for variant in variants:
        if variant.name == who.variant:
            return Kernel(backend, variant, spec, who.pages)
    raise NoBackendError(f"{who.label}: it has no such variant any more; choose again")
