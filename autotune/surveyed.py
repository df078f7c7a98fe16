"""What the backends say of a model on a device, whether that is here or not."""

from __future__ import annotations

from dataclasses import dataclass

from autotune.elsewhere import Elsewhere
from autotune.models import ModelConfig, kinds
from kernels_bench.candidates import Survey
from kernels_bench.devices import FoundDevice
from kernels_bench.spec import AttentionSpec, Stack


@dataclass(frozen=True)
class Surveyed:
    """The model, the device, and who says that it can run the one on the other."""

    model: ModelConfig
    found: FoundDevice | Elsewhere
    stack: Stack
    survey: Survey

    def kind_of(self, spec: AttentionSpec) -> str:
        """The name of a kind of layer in this model."""
        return kinds(self.model)[self.model.specs.index(spec)]
