"""What vLLM's ROCM_AITER_FA refuses, how it sorts a batch, and what it calls for each part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from fake_rocm import FakeRocm
from published_modules import published
from rocm_trials import GFX90A, GFX1100, H100, MI300, MI355, trial_verdict

from kernels_bench.backends import _aiter_fa_parts, _aiter_fa_prefill
from kernels_bench.backends._aiter_fa_parts import (
    context_fetches,
    decode_tokens,
    requests_of,
    stretches,
    window_fetch,
)
from kernels_bench.backends.aiter_fa import BACKEND
from kernels_bench.capture import UNIFORM_PHASES
from kernels_bench.spec import AttentionSpec, Device, Mla, Pages, Phase
from kernels_bench.workload import Request

STACK = {"torch": "2.11.0", "hip": "7.2", "vllm": "0.24.0", "amd-aiter": "0.1.13"}
SPEC = AttentionSpec(4, 2, 64, "bfloat16", num_layers=1)
(SPLIT,) = BACKEND.variants(MI300, SPEC, STACK)
ALL = set(Phase)
OVER_CACHED = {Phase.EXTEND, Phase.MIXED}
HOST = torch.device("cpu")


def refusals(
    device: Device = MI300,
    features: Mapping[str, Any] | None = None,
    stack: Mapping[str, str] = STACK,
    phase: Phase = Phase.DECODE,
) -> dict[str, str]:
    spec = replace(SPEC, **(features or {}))
    support = BACKEND.supports(SPLIT, device, spec, phase, stack)
    return {reason.field: reason.text for reason in support.reasons}


def test_the_variant() -> None:
    assert SPLIT.name == "split"
    assert SPLIT.packages == ("vllm", "amd-aiter")
    assert SPLIT.graph_phases == UNIFORM_PHASES
    assert SPLIT.pages == (Pages(16), Pages(32))
    assert SPLIT.engine_options == {"vllm": {"attention_backend": "ROCM_AITER_FA"}}


@pytest.mark.parametrize(
    ("features", "field", "phases"),
    [
        ({}, None, set()),
        ({"sliding_window": 128}, None, set()),
        ({"sliding_window": 128, "has_sinks": True}, None, set()),
        ({"sliding_window": 128, "has_alibi": True}, None, set()),
        ({"dtype": "float16", "head_dim": 256}, None, set()),
        ({"num_q_heads": 64, "num_kv_heads": 2}, None, set()),
        ({"num_q_heads": 17, "num_kv_heads": 1}, "num_q_heads", {Phase.DECODE, Phase.MIXED}),
        ({"dtype": "float32"}, "dtype", ALL),
        ({"head_dim": 96}, "head_dim", ALL),
        ({"head_dim_v": 128}, "head_dim_v", ALL),
        ({"attention_chunk": 8192}, "attention_chunk", ALL),
        ({"mla": Mla(512, 64, 128, 128)}, "mla", ALL),
        ({"batch_invariant": True}, "batch_invariant", ALL),
        ({"attention_type": "encoder_only", "causal": False}, "attention_type", ALL),
        ({"attention_type": "cross", "causal": False}, "attention_type", ALL),
        ({"logit_softcap": 50.0}, "logit_softcap", {Phase.PREFILL, Phase.EXTEND, Phase.MIXED}),
        ({"has_sinks": True}, "has_sinks", OVER_CACHED),
        ({"has_alibi": True}, "has_alibi", OVER_CACHED),
        ({"causal": False}, "causal", ALL - {Phase.PREFILL}),
        ({"causal": False, "sliding_window": 64}, "causal", ALL),
        ({"kv_dtype": "fp8_e5m2"}, "kv_dtype", ALL),
    ],
    ids=lambda value: "" if isinstance(value, set) else str(value),
)
def test_layers(features: dict[str, Any], field: str | None, phases: set[Phase]) -> None:
    refused = {phase: refusals(features=features, phase=phase) for phase in Phase}
    assert {phase for phase in Phase if refused[phase]} == phases
    assert all(field in refused[phase] for phase in phases)


def test_every_reason_is_told() -> None:
    features = {"head_dim": 96, "has_sinks": True, "logit_softcap": 30.0}
    refused = refusals(GFX90A, features, {"torch": "2.11.0", "hip": "7.2"}, Phase.EXTEND)
    assert set(refused) == {"arch", "package", "head_dim", "has_sinks", "logit_softcap"}


def test_of_fp8_it_takes_e4m3() -> None:
    assert refusals(MI300, {"kv_dtype": "fp8_e4m3"}) == {}
    assert refusals(MI355, {"kv_dtype": "fp8_e4m3"}) == {}
    text = "kv_dtype fp8_e5m2: of fp8 it takes fp8_e4m3 alone"
    assert refusals(MI355, {"kv_dtype": "fp8_e5m2"}) == {"kv_dtype": text}


@pytest.mark.parametrize(
    ("device", "fields"),
    [(MI355, set()), (GFX90A, {"arch"}), (GFX1100, {"arch"}), (H100, {"device", "torch"})],
)
def test_devices(device: Device, fields: set[str]) -> None:
    assert set(refusals(device)) == fields


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        (
            {"amd-aiter": "0.1.7.post2.dev18"},
            "amd-aiter 0.1.7.post2.dev18: needs amd-aiter >= 0.1.10, whose prefill takes sinks",
        ),
        ({"vllm": "0.23.0"}, "vllm 0.23.0: needs vllm >= 0.24"),
    ],
)
def test_an_api_that_has_moved_is_a_refusal(changed: dict[str, str], text: str) -> None:
    assert refusals(stack={**STACK, **changed}) == {"package": text}


def kinds(*requests: tuple[int, int]) -> list[tuple[str, slice, slice]]:
    rows = tuple(Request(*request) for request in requests)
    return [(part.kind, part.rows, part.tokens) for part in stretches(rows, decode_tokens(rows))]


def test_a_batch_as_vllm_sorts_it_is_three_stretches() -> None:
    assert kinds((1, 9), (1, 1), (5, 9), (2, 3), (7, 7)) == [
        ("prefill", slice(4, 5), slice(9, 16)),
        ("extend", slice(2, 4), slice(2, 9)),
        ("decode", slice(0, 2), slice(0, 2)),
    ]


def test_requests_that_stand_apart_are_stretches_of_their_own() -> None:
    assert kinds((7, 7), (1, 9), (8, 8)) == [
        ("prefill", slice(0, 1), slice(0, 7)),
        ("prefill", slice(2, 3), slice(8, 16)),
        ("decode", slice(1, 2), slice(7, 8)),
    ]


@pytest.mark.parametrize(
    ("requests", "tokens"),
    [
        ([(4, 20), (4, 9)], 4),
        ([(16, 20)], 16),
        ([(17, 20)], 1),
        ([(4, 20), (3, 9)], 1),
        ([(4, 4), (4, 9)], 1),
        ([(1, 20), (1, 9)], 1),
    ],
)
def test_what_counts_as_a_decode(requests: list[tuple[int, int]], tokens: int) -> None:
    assert decode_tokens([Request(*request) for request in requests]) == tokens


def test_a_padded_row_is_a_request_of_nothing() -> None:
    assert requests_of([0, 1, 2, 2], [9, 5, 0]) == (Request(1, 9), Request(1, 5), Request(0, 0))


def test_a_context_is_fetched_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_aiter_fa_parts, "FETCHED_AT_ONCE", 8)
    first, second = context_fetches([Request(2, 9), Request(3, 5)], HOST)
    assert first.starts.tolist() == [0, 4, 6]
    assert first.first.tolist() == [0, 0]
    assert first.request_of_token.tolist() == [0, 0, 0, 0, 1, 1]
    assert (first.longest, first.tokens) == (4, 6)
    assert second.starts.tolist() == [0, 3, 3]
    assert second.first.tolist() == [4, 4]
    assert (second.longest, second.tokens) == (3, 3)


def test_a_window_is_fetched_at_once() -> None:
    fetch = window_fetch([Request(2, 9), Request(3, 5)], 4, HOST)
    assert fetch.starts.tolist() == [0, 6, 11]
    assert fetch.first.tolist() == [3, 0]
    assert (fetch.longest, fetch.tokens) == (6, 11)


def install(
    monkeypatch: pytest.MonkeyPatch, vllm: str = "0.24.0", aiter: str = "0.1.13"
) -> FakeRocm:
    fake = FakeRocm()
    fake.install_vllm(monkeypatch, published(f"vllm-{vllm}"))
    fake.install_aiter(monkeypatch, published(f"amd-aiter-{aiter}"))
    return fake


CHUNK = {"flash_attn_varlen_func", "cp_mha_gather_cache", "merge_attn_states"}
WINDOW = CHUNK - {"merge_attn_states"}


@pytest.mark.parametrize(
    ("phase", "features", "called"),
    [
        (Phase.PREFILL, {}, {"flash_attn_varlen_func"}),
        (Phase.PREFILL, {"causal": False}, {"flash_attn_varlen_func"}),
        (Phase.PREFILL, {"has_sinks": True}, {"flash_attn_varlen_func"}),
        (Phase.EXTEND, {}, CHUNK),
        (Phase.EXTEND, {"sliding_window": 128, "has_sinks": True}, WINDOW),
        (Phase.DECODE, {}, {"paged_attention_v1"}),
        (Phase.DECODE, {"has_alibi": True, "logit_softcap": 50.0}, {"paged_attention_v1"}),
        (Phase.DECODE, {"kv_dtype": "fp8_e4m3"}, {"paged_attention_v1"}),
        (Phase.DECODE, {"sliding_window": 128}, {"unified_attention"}),
        (Phase.DECODE, {"has_sinks": True}, {"unified_attention"}),
        (Phase.VERIFY, {"logit_softcap": 50.0}, {"unified_attention"}),
        (Phase.VERIFY, {"kv_dtype": "fp8_e4m3"}, {"unified_attention"}),
        (Phase.MIXED, {"softmax_scale": 0.3}, {*CHUNK, "paged_attention_v1"}),
        (Phase.MIXED, {"kv_dtype": "fp8_e4m3"}, {*CHUNK, "paged_attention_v1"}),
        (Phase.MIXED, {"sliding_window": 64, "has_alibi": True}, {*WINDOW, "unified_attention"}),
    ],
    ids=lambda value: "" if isinstance(value, set) else str(value),
)
def test_each_part_is_right(
    monkeypatch: pytest.MonkeyPatch, phase: Phase, features: dict[str, Any], called: set[str]
) -> None:
    fake = install(monkeypatch)
    spec = replace(SPEC, **features)
    assert BACKEND.supports(SPLIT, MI355, spec, phase, STACK)
    assert trial_verdict(BACKEND, SPLIT, spec, phase, Pages(16)) is None
    assert set(fake.names) == called


def test_later_releases_take_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "0.32.0", "0.1.20")
    assert trial_verdict(BACKEND, SPLIT, SPEC, Phase.MIXED, Pages(32)) is None


def test_a_context_in_several_parts_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = install(monkeypatch)
    for module in (_aiter_fa_parts, _aiter_fa_prefill):
        monkeypatch.setattr(module, "FETCHED_AT_ONCE", 1024)
    _aiter_fa_prefill._workspace.cache_clear()
    assert trial_verdict(BACKEND, SPLIT, SPEC, Phase.EXTEND, Pages(16)) is None
    _aiter_fa_prefill._workspace.cache_clear()
    among_new = [call for name, call in fake.calls if call.get("causal")]
    assert fake.names.count("merge_attn_states") > 2 * len(among_new)
