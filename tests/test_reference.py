"""The reference against attention written once more: loops over numbers, and torch's in fp64."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

import kernels_bench.blocks
from kernels_bench.batch import Contents, make_contents
from kernels_bench.reference import reference, reference_pair
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
    monkeypatch.setattr(kernels_bench.blocks, "_MAX_LOGITS", 7 * spec.num_q_heads * 70)
    torch.testing.assert_close(reference(spec, contents, torch.float64), whole)
    monkeypatch.setattr(kernels_bench.blocks, "_MAX_LOGITS", 1)
    torch.testing.assert_close(reference(spec, contents, torch.float64), whole)


def test_short_requests_share_a_block_without_seeing_each_other_s_length(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = replace(FEATURES["everything"], causal=False)
    contents = contents_of(spec, "12q1s70v80")
    together = reference(spec, contents, torch.float64)
    monkeypatch.setattr(kernels_bench.blocks, "_MAX_PADDING", -1)
    torch.testing.assert_close(reference(spec, contents, torch.float64), together)


@pytest.mark.parametrize("feature", FEATURES)
def test_chosen_tokens_are_those_of_the_whole(feature: str) -> None:
    """Also those that see fewer keys than the last token of their request."""
    spec = FEATURES[feature]
    contents = contents_of(spec, "3q1s19_q17_q6s23")
    chosen = [[0], [0], [0], [2, 3, 11], [1, 5]]
    tokens = [0, 1, 2, 3 + 2, 3 + 3, 3 + 11, 20 + 1, 20 + 5]
    pair = reference_pair(spec, contents, chosen)
    torch.testing.assert_close(pair.exact, reference(spec, contents, torch.float32)[tokens])


@pytest.mark.parametrize("kv_dtype", [None, "fp8_e5m2"])
def test_the_rounded_of_a_pair_is_what_a_fused_kernel_rounds(kv_dtype: str | None) -> None:
    spec = replace(SPEC, kv_dtype=kv_dtype)
    contents = contents_of(spec, "3q1s19_q17")
    rounded = reference_pair(spec, contents, [[0]] * 3 + [range(17)]).rounded
    fused = reference(spec, contents, torch.float32, rounded_to=torch.bfloat16)
    torch.testing.assert_close(rounded, fused)
    exact = reference(spec, contents, torch.float32)
    assert 1e-4 < float((rounded - exact).norm() / exact.norm()) < 1e-2


def test_beside_an_e4m3_cache_the_rounded_of_a_pair_has_weights_in_fp8_too() -> None:
    spec = replace(SPEC, kv_dtype="fp8_e4m3")
    contents = contents_of(spec, "3q1s400_q100")
    pair = reference_pair(spec, contents, [[0]] * 3 + [range(100)])
    error = float((pair.rounded - pair.exact).norm() / pair.exact.norm())
    assert 1e-2 < error < 4e-2  # half a step of three bits of mantissa, at random


def test_a_capped_pair_also_rounds_as_the_tanh_of_a_gpu_does() -> None:
    """A cap of 50 over large logits: 2 ** -11 of 50 is 2 % of a weight."""
    spec = AttentionSpec(4, 2, 32, "float16", num_layers=1, logit_softcap=50.0, softmax_scale=10.0)
    contents = contents_of(spec, "q40")
    pair = reference_pair(spec, contents, [range(40)])
    plain = reference(spec, contents, torch.float32, rounded_to=torch.float16)
    with_tanh, without = ((each - pair.exact).norm() for each in (pair.rounded, plain))
    assert float(without) * 3 < float(with_tanh) < 0.05 * float(pair.exact.norm())


def test_a_precision_that_somebody_else_lowered_is_raised_and_put_back() -> None:
    seen: list[str] = []

    class Watched(torch.Tensor):
        @classmethod
        def __torch_function__(  # type: ignore[override]
            cls, func: object, types: object, args: tuple[object, ...] = (), kwargs: object = None
        ) -> object:
            seen.append(torch.get_float32_matmul_precision())
            return super().__torch_function__(func, types, args, kwargs)

    before = torch.get_float32_matmul_precision()
    contents = contents_of(SPEC, "q17")
    watched = replace(contents, query=contents.query.as_subclass(Watched))
    torch.set_float32_matmul_precision("high")
    try:
        reference(SPEC, watched, torch.float32)
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)
    assert "highest" in seen


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_arithmetic_is_in_the_precision_asked_for(dtype: torch.dtype) -> None:
    output = reference(SPEC, contents_of(SPEC, "q17"), dtype)
    assert output.dtype is dtype
    assert output.shape == (17, 4, 8)
