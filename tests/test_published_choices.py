"""Our backends against the checks of vLLM's own: tests/published/choices-vllm-0.32.0.json, which
benchmarks/record_vllm_choices.py wrote. Ours may refuse more, as they need what they measure with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes import FULL, H100
from test_incumbents import MI300X, USED
from test_published_defaults import OURS, PACKED, ours

from autotune.incumbents import default_order
from kernels_bench.backends import find_backend
from kernels_bench.backends.base import Backend
from kernels_bench.candidates import ask
from kernels_bench.spec import AttentionSpec, Device, Phase, Stack

RECORD = Path(__file__).parent / "published" / "choices-vllm-0.32.0.json"
ROWS: list[Mapping[str, Any]] = json.loads(RECORD.read_text())["layers"]
PLAIN = replace(FULL, head_dim=128)
LAYERS: Mapping[str, AttentionSpec] = {
    "float16": replace(PLAIN, dtype="float16"),
    "sinks": replace(PLAIN, head_dim=64, has_sinks=True),
    "window": replace(PLAIN, sliding_window=1024),
    "non-causal": replace(PLAIN, causal=False),
    "encoder_only": replace(PLAIN, causal=False, attention_type="encoder_only"),
    "cross": replace(PLAIN, causal=False, attention_type="cross"),
    "fp8_e4m3": replace(PLAIN, kv_dtype="fp8_e4m3"),
    "fp8_e5m2": replace(PLAIN, kv_dtype="fp8_e5m2"),
    "batch_invariant": replace(PLAIN, batch_invariant=True),
}
EVERYTHING: Stack = {
    "vllm": "0.32.0", "torch": "2.12.0", "triton": "3.7.0", "cuda": "13.0", "hip": "7.2",
    "flashinfer-python": "0.6.12", "flashinfer-cubin": "0.6.12", "flashinfer-jit-cache": "0.6.12",
    "amd-aiter": "0.1.20", "c++": "13", "nvcc": "13.0", "ninja": "1.13", "driver": "580.0",
}  # fmt: skip


def layer_of(row: Mapping[str, Any]) -> AttentionSpec:
    """What vLLM was asked about, in our words."""
    name = row["layer"]
    if name.startswith("head_dim "):
        return replace(PLAIN, head_dim=int(name.removeprefix("head_dim ")))
    return LAYERS[name]


def device_of(row: Mapping[str, Any]) -> Device:
    """The part."""
    return replace(H100 if row["part"].startswith("sm_") else MI300X, arch=row["part"])


def is_able(name: str, device: Device, spec: AttentionSpec) -> bool:
    """Whether vLLM could load some variant of ours, for some phase, were everything installed."""
    backend = find_backend(name)
    assert isinstance(backend, Backend)
    return any(
        bool(ask(backend, variant, device, spec, phase, EVERYTHING).support)
        for variant in backend.variants(device, spec, EVERYTHING)
        if "vllm" in variant.engine_options
        for phase in Phase
    )


def test_among_those_that_accept_a_layer_the_order_is_vllm_s() -> None:
    for row in ROWS:
        spec, accepted = layer_of(row), ours(row["accepted"])
        order = default_order("vllm", device_of(row), (spec,), EVERYTHING, USED)
        assert tuple(name for name in order if name in accepted) == accepted, row


@pytest.mark.parametrize("part", sorted({row["part"] for row in ROWS}))
def test_nobody_of_ours_takes_what_vllm_refuses(part: str) -> None:
    for row in (each for each in ROWS if each["part"] == part):
        for name, reasons in row["refused"].items():
            if name not in PACKED:
                able = is_able(OURS[name], device_of(row), layer_of(row))
                assert not able, (row["layer"], name, reasons)
