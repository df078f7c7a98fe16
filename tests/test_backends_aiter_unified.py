"""What AITER's unified kernel refuses, and how it is called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from fake_rocm import FakeRocm
from published_modules import published
from rocm_trials import GFX90A, GFX1100, H100, MI300, MI355, trial_verdict

from kernels_bench.backends.aiter_unified import BACKEND
from kernels_bench.spec import AttentionSpec, Device, Mla, Pages, Phase

STACK = {"torch": "2.11.0", "hip": "7.2", "amd-aiter": "0.1.13"}
OLD = {**STACK, "amd-aiter": "0.1.7.post2.dev18"}
SPEC = AttentionSpec(4, 2, 32, "bfloat16", num_layers=1)
(UNIFIED,) = BACKEND.variants(MI300, SPEC, STACK)


def refusals(
    device: Device = MI300,
    features: Mapping[str, Any] | None = None,
    stack: Mapping[str, str] = STACK,
) -> dict[str, str]:
    spec = replace(SPEC, **(features or {}))
    support = BACKEND.supports(UNIFIED, device, spec, Phase.DECODE, stack)
    return {reason.field: reason.text for reason in support.reasons}


def test_the_variant() -> None:
    assert UNIFIED.name == "unified"
    assert UNIFIED.packages == ("amd-aiter",)
    assert UNIFIED.graph_phases == set(Phase)
    assert UNIFIED.pages == (Pages(64), Pages(16), Pages(32))
    assert UNIFIED.engine_options == {"vllm": {"attention_backend": "ROCM_AITER_UNIFIED_ATTN"}}


@pytest.mark.parametrize(
    ("features", "fields"),
    [
        ({}, set()),
        ({"sliding_window": 128}, set()),
        ({"logit_softcap": 50.0}, set()),
        ({"has_sinks": True}, set()),
        ({"has_alibi": True}, set()),
        ({"dtype": "float16"}, set()),
        ({"num_q_heads": 71, "num_kv_heads": 1}, set()),
        ({"head_dim": 80}, set()),
        ({"head_dim": 512}, {"head_dim"}),
        ({"head_dim": 16}, {"head_dim"}),
        ({"dtype": "float32"}, {"dtype"}),
        ({"causal": False}, {"causal"}),
        ({"head_dim_v": 128}, {"head_dim_v"}),
        ({"attention_chunk": 8192}, {"attention_chunk"}),
        ({"kv_dtype": "fp8_e4m3"}, {"kv_dtype"}),
        ({"mla": Mla(512, 64, 128, 128)}, {"mla"}),
        ({"batch_invariant": True}, {"batch_invariant"}),
        ({"attention_type": "cross", "causal": False}, {"attention_type", "causal"}),
        ({"attention_type": "encoder_only", "causal": False}, {"attention_type", "causal"}),
        ({"head_dim": 16, "attention_chunk": 8192}, {"head_dim", "attention_chunk"}),
    ],
    ids=str,
)
def test_layers(features: dict[str, Any], fields: set[str]) -> None:
    assert set(refusals(features=features)) == fields


@pytest.mark.parametrize(
    ("device", "fields"),
    [(MI355, set()), (GFX90A, {"arch"}), (GFX1100, {"arch"}), (H100, {"device", "torch"})],
)
def test_devices(device: Device, fields: set[str]) -> None:
    assert set(refusals(device)) == fields


def test_an_architecture_is_named() -> None:
    assert refusals(GFX90A)["arch"] == "arch gfx90a: runs on gfx942 and gfx950"


def test_wide_heads_need_the_shared_memory_of_cdna_4() -> None:
    text = "head_dim 512: at most 256 in 64 KiB of shared memory"
    assert refusals(features={"head_dim": 512}) == {"head_dim": text}
    assert refusals(MI355, {"head_dim": 512}) == {}


def test_rdna_4_came_with_vllm_0_28() -> None:
    rx_9070 = replace(MI300, name="AMD Radeon RX 9070 XT", arch="gfx1201")
    assert refusals(rx_9070, stack={**STACK, "vllm": "0.28.0"}) == {}
    assert set(refusals(rx_9070, stack={**STACK, "vllm": "0.27.1"})) == {"arch"}


def test_0_1_7_splits_no_context_of_padded_heads() -> None:
    text = "head_dim 80: a power of two in amd-aiter 0.1.7.post2.dev18; needs amd-aiter >= 0.1.12"
    assert refusals(features={"head_dim": 80}, stack=OLD) == {"head_dim": text}
    assert refusals(features={"head_dim": 80, "sliding_window": 64}, stack=OLD) == {}
    assert refusals(features={"head_dim": 128}, stack=OLD) == {}


@pytest.mark.parametrize(
    ("version", "text"),
    [
        (
            None,
            "amd-aiter: not installed; build it from github.com/ROCm/aiter, as vLLM's image for"
            " ROCm does",
        ),
        ("0.1.6", "amd-aiter 0.1.6: needs amd-aiter >= 0.1.7, the first that was read"),
        ("dev", "amd-aiter dev: needs amd-aiter >= 0.1.7, the first that was read"),
        (
            "0.1.21",
            "amd-aiter 0.1.21: needs amd-aiter <= 0.1.20, the newest that this was read against",
        ),
    ],
)
def test_the_window_of_versions(version: str | None, text: str) -> None:
    stack = {"torch": "2.11.0", "hip": "7.2"}
    if version is not None:
        stack["amd-aiter"] = version
    assert refusals(stack=stack) == {"package": text}


def test_later_builds_of_the_last_release_are_taken() -> None:
    assert refusals(stack={**STACK, "amd-aiter": "0.1.20.post1"}) == {}


def install(monkeypatch: pytest.MonkeyPatch, version: str) -> FakeRocm:
    fake = FakeRocm()
    fake.install_aiter(monkeypatch, published(f"amd-aiter-{version}"))
    return fake


@pytest.mark.parametrize("phase", Phase)
def test_every_phase_is_right(monkeypatch: pytest.MonkeyPatch, phase: Phase) -> None:
    fake = install(monkeypatch, "0.1.7.post2.dev18")
    assert trial_verdict(BACKEND, UNIFIED, SPEC, phase, Pages(64)) is None
    assert set(fake.names) == {"unified_attention"}


@pytest.mark.parametrize("version", ["0.1.13", "0.1.20"])
def test_later_releases_take_the_same(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    install(monkeypatch, version)
    assert trial_verdict(BACKEND, UNIFIED, SPEC, Phase.MIXED, Pages(16)) is None


@pytest.mark.parametrize(
    "features",
    [
        {"sliding_window": 128, "has_sinks": True},
        {"logit_softcap": 50.0, "softmax_scale": 0.3},
        {"has_alibi": True},
        {"dtype": "float16", "num_q_heads": 6, "num_kv_heads": 1, "head_dim": 48},
    ],
    ids=str,
)
def test_the_arguments_say_what_the_layer_is(
    monkeypatch: pytest.MonkeyPatch, features: dict[str, Any]
) -> None:
    install(monkeypatch, "0.1.13")
    spec = replace(SPEC, **features)
    assert BACKEND.supports(UNIFIED, MI300, spec, Phase.MIXED, STACK)
    assert trial_verdict(BACKEND, UNIFIED, spec, Phase.MIXED, Pages(16)) is None
