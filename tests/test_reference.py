"""The reference against attention written once more: loops over numbers, and torch's in fp64."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

import kernels_bench.reference
from kernels_bench.batch import Contents, make_contents
from kernels_bench.reference import reference
from kernels_bench.spec import AttentionSpec
from kernels_bench.workload import parse_workload

HOST = torch.device("cpu")
SPEC = AttentionSpec(4, 2, 8, "bfloat16", num_layers=1)


def contents_of(spec: AttentionSpec, text: str) -> Contents:
    return make_contents(spec, parse_workload(text), HOST)


def by_loops(spec: AttentionSpec, contents: Contents) -> torch.Tensor:
    """One query, one head, one key at a time, in Python's floats."""
    rows: list[list[list[float]]] = []
    for index, request in enumerate(contents.requests):
        cached = request.total_tokens - request.new_tokens
        keys = (contents.keys[index].double() * contents.kv_scale).tolist()
        values = (contents.values[index].double() * contents.kv_scale).tolist()
        for position in range(cached, request.total_tokens):
            query = contents.query[len(rows)].double().tolist()
            rows.append(
                [
                    one_head(spec, contents, head, query[head], keys, values, position)
                    for head in range(spec.num_q_heads)
                ]
            )
    return torch.tensor(rows, dtype=torch.float64)


def one_head(
    spec: AttentionSpec,
    contents: Contents,
    head: int,
    query: list[float],
    keys: list[list[list[float]]],
    values: list[list[list[float]]],
    position: int,
) -> list[float]:
    kv_head = head * spec.num_kv_heads // spec.num_q_heads
    weights: dict[int, float] = {}
    for other in range(len(keys)):
        if not sees(spec, position, other):
            continue
        logit = sum(q * k for q, k in zip(query, keys[other][kv_head], strict=True)) * spec.scale
        if spec.logit_softcap is not None:
            logit = spec.logit_softcap * math.tanh(logit / spec.logit_softcap)
        if contents.alibi_slopes is not None:
            logit += float(contents.alibi_slopes[head]) * (other - position)
        weights[other] = math.exp(logit)
    total = sum(weights.values())
    if contents.sinks is not None:
        total += math.exp(float(contents.sinks[head]))
    return [
        sum(weight * values[other][kv_head][dim] for other, weight in weights.items()) / total
        for dim in range(spec.value_dim)
    ]


def sees(spec: AttentionSpec, position: int, other: int) -> bool:
    if spec.causal and other > position:
        return False
    if spec.sliding_window is not None and other <= position - spec.sliding_window:
        return False
    chunk = spec.attention_chunk
    return chunk is None or position // chunk == other // chunk


FEATURES = {
    "causal": SPEC,
    "window": replace(SPEC, sliding_window=5),
    "window of one": replace(SPEC, sliding_window=1),
    "chunk": replace(SPEC, attention_chunk=8),
    "softcap": replace(SPEC, logit_softcap=0.5),
    "sinks": replace(SPEC, has_sinks=True),
    "alibi": replace(SPEC, has_alibi=True),
    "everything": replace(
        SPEC, sliding_window=9, logit_softcap=2.0, has_sinks=True, has_alibi=True
    ),
    "multi-query": replace(SPEC, num_kv_heads=1),
    "multi-head": replace(SPEC, num_kv_heads=4),
    "bidirectional": replace(SPEC, causal=False),
    "scale": replace(SPEC, softmax_scale=1.5),
    "narrow values": replace(SPEC, head_dim_v=3),
    "wide values": replace(SPEC, head_dim_v=16),
    "fp8": replace(SPEC, kv_dtype="fp8_e4m3"),
    "float16": replace(SPEC, dtype="float16"),
}


@pytest.mark.parametrize("text", ["2q1s19", "q17", "q6s23", "2q4s20", "2q1s9_q11_q5s16"])
@pytest.mark.parametrize("feature", FEATURES)
def test_the_reference_is_the_textbook(feature: str, text: str) -> None:
    spec = FEATURES[feature]
    contents = contents_of(spec, text)
    exact = by_loops(spec, contents)
    torch.testing.assert_close(
        reference(spec, contents, torch.float64), exact, rtol=1e-9, atol=1e-10
    )
    torch.testing.assert_close(
        reference(spec, contents, torch.float32).double(), exact, rtol=1e-3, atol=1e-5
    )


@pytest.mark.parametrize("causal", [True, False])
def test_a_prefill_is_torch_s_own_attention(causal: bool) -> None:
    spec = AttentionSpec(8, 2, 64, "bfloat16", num_layers=1, causal=causal)
    contents = contents_of(spec, "q300")
    query, key, value = (
        each.double().transpose(0, 1)[None]
        for each in (contents.query, contents.keys[0], contents.values[0])
    )
    expected = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, is_causal=causal, enable_gqa=True
    )[0].transpose(0, 1)
    torch.testing.assert_close(reference(spec, contents, torch.float64), expected)


def test_a_long_request_is_computed_in_blocks_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = FEATURES["everything"]
    contents = contents_of(spec, "q30s70_q25")
    whole = reference(spec, contents, torch.float64)
    monkeypatch.setattr(kernels_bench.reference, "_MAX_LOGITS", 7 * spec.num_q_heads * 70)
    torch.testing.assert_close(reference(spec, contents, torch.float64), whole)
    monkeypatch.setattr(kernels_bench.reference, "_MAX_LOGITS", 1)
    torch.testing.assert_close(reference(spec, contents, torch.float64), whole)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_arithmetic_is_in_the_precision_asked_for(dtype: torch.dtype) -> None:
    output = reference(SPEC, contents_of(SPEC, "q17"), dtype)
    assert output.dtype is dtype
    assert output.shape == (17, 4, 8)
