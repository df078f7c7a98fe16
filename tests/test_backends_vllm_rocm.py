"""What vLLM's ROCM_ATTN refuses, and how it is called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from fake_rocm import FakeRocm
from published_modules import published
from rocm_trials import GFX90A, GFX1100, H100, MI300, MI355, trial_verdict

from kernels_bench.backends._vllm_rocm_launches import packed_keys, packed_values
from kernels_bench.backends.vllm_rocm import BACKEND
from kernels_bench.spec import AttentionSpec, Device, Mla, Pages, Phase

STACK = {"torch": "2.11.0", "hip": "7.2", "vllm": "0.32.0+rocm721"}
SPEC = AttentionSpec(4, 2, 32, "bfloat16", num_layers=1)
(PAGED,) = BACKEND.variants(MI300, SPEC, STACK)
OLD = {**STACK, "vllm": "0.24.0"}


def refusals(
    device: Device = MI300,
    features: Mapping[str, Any] | None = None,
    stack: Mapping[str, str] = STACK,
    phase: Phase = Phase.DECODE,
) -> dict[str, str]:
    spec = replace(SPEC, **(features or {}))
    support = BACKEND.supports(PAGED, device, spec, phase, stack)
    return {reason.field: reason.text for reason in support.reasons}


def test_the_variant() -> None:
    assert PAGED.name == "paged"
    assert PAGED.packages == ("vllm",)
    assert PAGED.graph_phases == set(Phase)
    assert PAGED.pages == tuple(Pages(size) for size in (16, 32, 64, 128, 256))
    assert PAGED.engine_options == {"vllm": {"attention_backend": "ROCM_ATTN"}}


@pytest.mark.parametrize(
    ("features", "fields"),
    [
        ({}, set()),
        ({"dtype": "float32"}, set()),
        ({"sliding_window": 128}, set()),
        ({"has_alibi": True}, set()),
        ({"causal": False}, set()),
        ({"num_kv_heads": 1}, set()),
        ({"head_dim": 80}, set()),
        ({"head_dim": 112}, {"head_dim"}),
        ({"head_dim": 512}, {"head_dim"}),
        ({"dtype": "float64"}, {"dtype"}),
        ({"has_sinks": True}, {"has_sinks"}),
        ({"logit_softcap": 50.0}, {"logit_softcap"}),
        ({"head_dim_v": 128}, {"head_dim_v"}),
        ({"attention_chunk": 8192}, {"attention_chunk"}),
        ({"mla": Mla(512, 64, 128, 128)}, {"mla"}),
        ({"batch_invariant": True}, {"batch_invariant"}),
        ({"attention_type": "cross", "causal": False}, {"attention_type"}),
        ({"attention_type": "encoder_only", "causal": False}, {"phase"}),
        ({"causal": False, "sliding_window": 128}, {"causal"}),
        ({"causal": False, "has_alibi": True}, {"has_alibi"}),
        ({"kv_dtype": "fp8_e4m3"}, set()),
        ({"kv_dtype": "fp8_e5m2"}, {"kv_dtype"}),
        ({"head_dim": 16, "has_sinks": True}, {"head_dim", "has_sinks"}),
    ],
    ids=str,
)
def test_layers(features: dict[str, Any], fields: set[str]) -> None:
    assert set(refusals(features=features)) == fields


@pytest.mark.parametrize(
    ("device", "reasons"),
    [
        (MI355, {}),
        (GFX90A, {}),
        (GFX1100, {}),
        (
            H100,
            {
                "torch": "torch 2.11.0: built without CUDA, cannot use NVIDIA H100 80GB HBM3;"
                " install a build of torch for CUDA",
                "device": "device cuda: runs on rocm",
            },
        ),
    ],
    ids=lambda value: value.name if isinstance(value, Device) else "",
)
def test_devices(device: Device, reasons: dict[str, str]) -> None:
    assert refusals(device) == reasons


@pytest.mark.parametrize(
    ("device", "text"),
    [
        (MI355, None),
        (MI300, None),
        (GFX90A, "kv_dtype fp8_e4m3: gfx90a has no fp8"),
    ],
)
def test_fp8_where_there_is_hardware_for_it(device: Device, text: str | None) -> None:
    refused = refusals(device, {"kv_dtype": "fp8_e4m3"})
    assert refused == ({} if text is None else {"kv_dtype": text})
    assert "kv_dtype" in refusals(device, {"kv_dtype": "fp8_e5m2"})


def test_an_encoder_has_no_quantised_cache() -> None:
    features = {"attention_type": "encoder_only", "causal": False, "kv_dtype": "fp8_e4m3"}
    assert set(refusals(MI355, features, phase=Phase.PREFILL)) == {"kv_dtype"}


def test_before_0_32_windows_are_a_key_short() -> None:
    text = "sliding_window 128: vllm 0.24.0 hides one key too many; needs vllm >= 0.32"
    assert refusals(features={"sliding_window": 128}, stack=OLD) == {"sliding_window": text}
    assert refusals(stack=OLD) == {}


@pytest.mark.parametrize("phase", Phase)
def test_the_prefill_kernel_for_alibi_has_no_window(phase: Phase) -> None:
    refused = refusals(features={"has_alibi": True, "sliding_window": 128}, phase=phase)
    text = "has_alibi: its prefill kernel has no window"
    assert refused == ({} if phase is Phase.DECODE else {"has_alibi": text})


@pytest.mark.parametrize(
    ("stack", "text"),
    [
        ({}, "vllm: not installed; install vLLM for ROCm"),
        ({"vllm": "0.23.1"}, "vllm 0.23.1: needs vllm >= 0.24"),
        (
            {"vllm": "0.33.0"},
            "vllm 0.33.0: needs vllm <= 0.32, the newest that this was read against",
        ),
    ],
)
def test_the_window_of_versions(stack: dict[str, str], text: str) -> None:
    assert refusals(stack={"torch": "2.11.0", "hip": "7.2", **stack}) == {"package": text}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeRocm:
    fake = FakeRocm()
    fake.install_vllm(monkeypatch, published("vllm-0.32.0"))
    return fake


@pytest.mark.parametrize("phase", Phase)
def test_every_phase_is_right(fake: FakeRocm, phase: Phase) -> None:
    assert trial_verdict(BACKEND, PAGED, SPEC, phase, Pages(16)) is None
    assert set(fake.names) == {"chunked_prefill_paged_decode"}


@pytest.mark.parametrize(
    "features",
    [
        {"dtype": "float16", "num_kv_heads": 4},
        {"dtype": "float32"},
        {"sliding_window": 128},
        {"softmax_scale": 0.3, "head_dim": 80},
        {"has_alibi": True},
        {"causal": False},
        {"kv_dtype": "fp8_e4m3", "head_dim": 64},
    ],
    ids=str,
)
def test_the_arguments_say_what_the_layer_is(fake: FakeRocm, features: dict[str, Any]) -> None:
    """Of prompts, chunks over cached tokens and decodes in one batch."""
    spec = replace(SPEC, **features)
    assert BACKEND.supports(PAGED, MI355, spec, Phase.MIXED, STACK)
    assert trial_verdict(BACKEND, PAGED, spec, Phase.MIXED, Pages(16)) is None


@pytest.mark.parametrize("size", [32, 256])
def test_any_pages(fake: FakeRocm, size: int) -> None:
    assert trial_verdict(BACKEND, PAGED, SPEC, Phase.MIXED, Pages(size)) is None


@pytest.mark.parametrize("phase", [Phase.DECODE, Phase.EXTEND])
def test_0_24_takes_the_same(monkeypatch: pytest.MonkeyPatch, phase: Phase) -> None:
    FakeRocm().install_vllm(monkeypatch, published("vllm-0.24.0"))
    assert trial_verdict(BACKEND, PAGED, SPEC, phase, Pages(16)) is None


def test_an_encoder_attends_to_whole_texts(fake: FakeRocm) -> None:
    spec = replace(SPEC, attention_type="encoder_only", causal=False)
    assert trial_verdict(BACKEND, PAGED, spec, Phase.PREFILL, Pages(16)) is None
    assert set(fake.names) == {"context_attention_fwd"}


def test_the_pages_of_one_pool_are_ordered_once(fake: FakeRocm) -> None:
    assert trial_verdict(BACKEND, PAGED, SPEC, Phase.EXTEND, Pages(16)) is None
    given = [call["key_cache"] for _, call in fake.calls]
    assert len(given) > 1
    assert len({cache.data_ptr() for cache in given}) == 1


def test_pages_as_the_kernels_order_them() -> None:
    cache = torch.arange(2 * 4 * 3 * 16).view(2, 4, 3, 16).to(torch.bfloat16)
    keys, values = packed_keys(cache), packed_values(cache)
    assert keys.shape == (2, 3, 2, 4, 8)
    assert values.shape == (2, 3, 16, 4)
    assert keys[1, 2, 1, 3, 5] == values[1, 2, 13, 3] == cache[1, 3, 2, 13]
    assert packed_keys(cache.to(torch.float8_e4m3fn)).shape == (2, 3, 1, 4, 16)
