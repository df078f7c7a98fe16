"""What restricts the candidates beyond their own support: the engine and the user."""

from __future__ import annotations

from dataclasses import dataclass, field

from autotune.settings import RocmFlags
from kernels_bench.spec import Reason, Variant


@dataclass(frozen=True)
class Wishes:
    """Who will load the backend, and which ones nobody wants."""

    engine: str
    disabled: frozenset[str] = frozenset()
    denied: frozenset[str] = frozenset()
    """By a lock file."""
    rocm: RocmFlags = field(default_factory=RocmFlags)
    """They restrict nobody, and say who the engine's own default is."""

    def refusals(self, backend: str, variant: Variant) -> tuple[Reason, ...]:
        """The reasons that a backend cannot know."""
        reasons = []
        if backend in self.disabled:
            text = f"{backend}: named in AUTOTUNE_DISABLE_BACKENDS"
            reasons.append(Reason("disabled", text))
        if backend in self.denied:
            reasons.append(Reason("denied", f"{backend}: denied by the lock"))
        if self.engine != "any" and self.engine not in variant.engine_options:
            text = f"engine {self.engine}: has no option that loads {backend}:{variant.name}"
            reasons.append(Reason("engine", text))
        return tuple(reasons)
