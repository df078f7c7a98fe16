"""Contents in which a few keys hold the weight."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from kernels_bench.batch import Contents, draw_contents
from kernels_bench.gate import check, make_truth
from kernels_bench.needles import needle_positions, with_needles
from kernels_bench.reference import reference
from kernels_bench.spec import AttentionSpec
from kernels_bench.workload import Request

HOST = torch.device("cpu")
SPEC = AttentionSpec(4, 2, 64, "bfloat16", num_layers=1)
LONG, PROMPT = Request(1, 1000), Request(150, 150)


def needles(spec: AttentionSpec, *requests: Request) -> Contents:
    contents = draw_contents(spec, requests or (LONG, PROMPT), HOST)
    return with_needles(spec, contents, torch.Generator().manual_seed(1))


def logits(spec: AttentionSpec, contents: Contents, token: int, request: int) -> torch.Tensor:
    """[Hq, total], before cap and mask."""
    keys = (contents.keys[request].float() * contents.kv_scale).repeat_interleave(2, dim=1)
    return torch.einsum("hd,khd->hk", contents.query[token].float(), keys) * spec.scale


def test_needles_stand_at_both_ends_and_at_the_ends_of_pages() -> None:
    positions = needle_positions(SPEC, LONG)
    assert {0, 15, 16, 63, 64, 255, 256, 767, 768, 959, 960, 991, 992, 998, 999} <= set(positions)
    assert len(positions) < 30


@pytest.mark.parametrize("total", [1, 2, 7, 16, 17, 64])
def test_a_short_request_has_needles_too(total: int) -> None:
    positions = needle_positions(SPEC, Request(1, total))
    assert {0, total - 1} <= set(positions) <= set(range(total))


@pytest.mark.parametrize(
    ("features", "edges"),
    [({"sliding_window": 128}, {871, 872}), ({"attention_chunk": 300}, {899, 900})],
    ids=str,
)
def test_needles_stand_on_both_sides_of_what_the_newest_query_sees(
    features: dict[str, int], edges: set[int]
) -> None:
    assert edges <= set(needle_positions(replace(SPEC, **features), LONG))


FEATURES: list[dict[str, Any]] = [
    {},
    {"dtype": "float16"},
    {"kv_dtype": "fp8_e4m3"},
    {"kv_dtype": "fp8_e5m2"},
    {"softmax_scale": 0.02},
    {"softmax_scale": 1.0},
    {"head_dim": 80},
]


@pytest.mark.parametrize("features", FEATURES, ids=str)
def test_needles_hold_nearly_all_of_the_weight(features: dict[str, Any]) -> None:
    spec = replace(SPEC, **features)
    found = logits(spec, needles(spec), token=0, request=0)
    weights = found.softmax(dim=1)[:, list(needle_positions(spec, LONG))]
    assert (weights.sum(dim=1) > 0.9).all()
    assert (weights > 0.02).all()


@pytest.mark.parametrize("kv_dtype", [None, "fp8_e4m3", "fp8_e5m2"])
@pytest.mark.parametrize("cap", [5.0, 30.0, 50.0])
def test_with_a_cap_needles_come_close_to_it_on_three_levels(
    cap: float, kv_dtype: str | None
) -> None:
    spec = replace(SPEC, logit_softcap=cap, kv_dtype=kv_dtype)
    found = logits(spec, needles(spec), 0, 0)[:, list(needle_positions(spec, LONG))]
    capped = torch.tanh(found / cap)
    assert (capped > 0.94).all()
    assert capped[0, :3].tolist() == pytest.approx([0.9562, 0.9828, 0.9933], abs=2e-3)


@pytest.mark.parametrize("kv_dtype", [None, "fp8_e4m3", "fp8_e5m2"])
@pytest.mark.parametrize("cap", [None, 50.0])
def test_keys_stay_within_what_an_fp8_scale_holds(cap: float | None, kv_dtype: str | None) -> None:
    spec = replace(SPEC, logit_softcap=cap, kv_dtype=kv_dtype)
    contents = needles(spec)
    for keys in contents.keys:
        assert float((keys.float() * contents.kv_scale).abs().max()) <= 6.001


def test_every_request_and_head_has_a_direction_of_its_own() -> None:
    contents = needles(SPEC)
    first = torch.stack([keys[0, head].sign() for keys in contents.keys for head in (0, 1)])
    assert len(first.unique(dim=0)) == 4


def test_values_stay_as_drawn() -> None:
    contents, drawn = needles(SPEC), draw_contents(SPEC, (LONG, PROMPT), HOST)
    for one, other in zip(contents.values, drawn.values, strict=True):
        assert torch.equal(one, other)


MISTAKES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"logit_softcap": 50.0}, {"logit_softcap": None}),
    ({"logit_softcap": 50.0}, {"logit_softcap": 30.0}),
    ({"sliding_window": 128}, {"sliding_window": None}),
    ({"sliding_window": 128}, {"sliding_window": 127}),
    ({"sliding_window": 128}, {"sliding_window": 129}),
    ({"sliding_window": 900}, {"sliding_window": 901}),
    ({"attention_chunk": 300}, {"attention_chunk": 301}),
    ({}, {"causal": False}),
]


@pytest.mark.parametrize(("right", "wrong"), MISTAKES, ids=str)
def test_what_random_contents_hardly_show_is_many_times_too_much(
    right: dict[str, Any], wrong: dict[str, Any]
) -> None:
    spec, mistaken = replace(SPEC, **right), replace(SPEC, **wrong)
    contents = needles(spec)
    output = reference(mistaken, contents, torch.float32).bfloat16()
    found = check(make_truth(spec, contents), output)
    assert found is not None
    assert found.error > 3 * found.allowed
    assert check(make_truth(spec, contents), reference(spec, contents, torch.float32)) is None
