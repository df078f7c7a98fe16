"""The texts that identify a row: canonical JSON in which a field at its default is left out, so
that a capability added later orphans nothing.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from autotune.models import ModelConfig, spec_key
from kernels_bench.candidates import Entrant
from kernels_bench.method import FP8_INPUTS, METHOD
from kernels_bench.spec import AttentionSpec, Device, Stack


@dataclass(frozen=True)
class Question:
    """What a decision answers, the device apart."""

    model: ModelConfig
    engine: str
    profile: str

    @property
    def text(self) -> str:
        """Canonical; what the user pinned and the longest context are part of it."""
        pinned = {spec.page_size for spec in self.model.specs} - {None}
        fields: dict[str, object] = {
            "engine": self.engine,
            "max_model_len": self.model.max_model_len,
            "model": json.loads(self.model.fingerprint),
            "profile": self.profile,
        }
        if pinned:
            fields["page_size"] = sorted(size for size in pinned if size is not None)
        return canonical(fields)


def device_key(device: Device) -> str:
    """What makes two devices the same part.

    A power limit is a drift, not another device. A CPU's memory size changes no timing, and on a
    virtual machine not even stays the same.
    """
    left_out = {"power_limit_w"} | ({"memory_bytes"} if device.kind == "cpu" else set())
    fields = {
        field.name: getattr(device, field.name)
        for field in dataclasses.fields(device)
        if field.name not in left_out and getattr(device, field.name) != field.default
    }
    return canonical(fields)


def spec_keys_of(fingerprint: str) -> tuple[str, ...]:
    """What `spec_key` gives for each kind of layer of a stored model."""
    specs = json.loads(fingerprint)["specs"]
    without_count = ({k: v for k, v in spec.items() if k != "num_layers"} for spec in specs)
    return tuple(canonical(spec) for spec in without_count)


def measurement_key(
    device: Device,
    spec: AttentionSpec,
    workload: str,
    entrant: Entrant,
    stack: Stack,
    captured_len: int | None = None,
) -> str:
    """Everything that a measurement's numbers belong to; `captured_len` is the longest context of
    the graph that held the call.
    """
    captured = {} if captured_len is None else {"captured_len": captured_len}
    inputs = {} if spec.kv_dtype is None else {"fp8_inputs": FP8_INPUTS}
    return canonical(
        {
            **captured,
            **inputs,
            "backend": entrant.backend,
            "device": json.loads(device_key(device)),
            "method": METHOD,
            "pages": [entrant.pages.size, entrant.pages.layout],
            "spec": json.loads(spec_key(spec)),
            "variant": entrant.variant.name,
            "versions": versions_of(entrant.variant.packages, stack),
            "workload": workload,
        }
    )


BASE_PACKAGES = ("torch", "triton")
"""What every candidate's numbers depend on; that one is absent is a fact too."""
DRIVERS = ("nvidia-driver", "cuda-driver", "amdgpu-driver", "rocm-runtime", "cuda", "hip")
"""Likewise, but each belongs to one kind of device; the last two are what torch was built for."""


def versions_of(packages: Iterable[str], stack: Stack) -> dict[str, str | None]:
    """Versions of these and of the base; None says that it is not installed."""
    drivers = (name for name in DRIVERS if name in stack)
    names = sorted({*packages, *BASE_PACKAGES, *drivers})
    return {name: stack.get(name) for name in names}


def canonical(fields: Mapping[str, object]) -> str:
    """Sorted JSON without spaces."""
    return json.dumps(dict(fields), sort_keys=True, separators=(",", ":"))
