"""The scheduler model: what it runs, what that weighs, and which workloads stand for it."""

from __future__ import annotations

import random
from math import fsum

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.traffic.batch import Batch, Chunk
from autotune.traffic.laying import (
    LEAST_CUSTOM_SHARE,
    MOST_CUSTOM,
    lay_on_own,
    lay_on_standard,
    weigh_shapes,
)
from autotune.traffic.lengths import Lengths
from autotune.traffic.roofline import H100_PEAKS, LLAMA_8B, attention_us
from autotune.traffic.scheduler import MAX_NUM_BATCHED_TOKENS, MOST_BATCHES, simulate
from autotune.traffic.shapes import shape_of, shape_of_workload, workload_like
from autotune.traffic.weighed import weigh_requests
from kernels_bench.floor import floor_us
from kernels_bench.grid import GPU_FULL
from kernels_bench.spec import Phase
from kernels_bench.workload import Request, parse_workload

REQUESTS = st.lists(
    st.builds(Lengths, st.integers(1, 30_000), st.integers(1, 600)), min_size=1, max_size=12
)


def decoded(batches: list[Batch]) -> int:
    return sum(batch.decodes * batch.steps for batch in batches)


def test_one_request_is_a_prompt_and_then_its_decodes() -> None:
    batches = list(simulate([Lengths(10_000, 3)], 1))
    assert batches[:4] == [
        Batch(0, 0.0, (Chunk(8192, 0),)),
        Batch(0, 0.0, (Chunk(1808, 8192),)),
        Batch(1, 10_001.5, (), steps=2),
        Batch(0, 0.0, (Chunk(8192, 0),)),
    ]


def test_decodes_take_their_tokens_of_the_budget_first() -> None:
    batches = simulate([Lengths(100, 50), Lengths(20_000, 2)] * 4, 2)
    mixed = [batch for batch in batches if batch.phase is Phase.MIXED]
    assert mixed
    assert max(batch.decodes + batch.new_tokens for batch in mixed) == MAX_NUM_BATCHED_TOKENS


@given(REQUESTS, st.integers(1, 8))
def test_every_step_is_within_the_budget_and_the_places(
    requests: list[Lengths], in_flight: int
) -> None:
    for batch in simulate(requests, in_flight):
        assert batch.decodes + len(batch.chunks) > 0
        assert batch.decodes + len(batch.chunks) <= min(in_flight, len(requests))
        assert batch.decodes + batch.new_tokens <= MAX_NUM_BATCHED_TOKENS
        assert batch.steps >= 1


@given(st.builds(Lengths, st.integers(1, 30_000), st.integers(1, 600)), st.integers(1, 40))
def test_requests_alike_lose_no_token(request: Lengths, count: int) -> None:
    """Where all are over at once or one by one, nobody is left in the middle."""
    batches = list(simulate([request] * count, 1))
    asked = max(count, 8)
    assert sum(batch.new_tokens for batch in batches) == asked * request.prompt_tokens
    assert decoded(batches) == asked * (request.output_tokens - 1)


def test_what_the_prefix_cache_holds_is_not_computed() -> None:
    first = next(simulate([Lengths(9000, 2, cached_tokens=8500)], 1))
    assert first == Batch(0, 0.0, (Chunk(500, 8500),))
    assert first.phase is Phase.EXTEND


def test_a_long_log_ends_early() -> None:
    requests = [Lengths(1_000_000, 2)] * 2000
    assert sum(1 for _ in simulate(requests, 4)) == MOST_BATCHES


@pytest.mark.parametrize(
    ("batch", "requests"),
    [
        (Batch(4, 1000.0), (Request(1, 1000),) * 4),
        (Batch(0, 0.0, (Chunk(4096, 0),)), (Request(4096, 4096),)),
        (Batch(0, 0.0, (Chunk(512, 8192),)), (Request(512, 8704),)),
        (Batch(2, 700.0, (Chunk(64, 32),)), (Request(1, 700), Request(1, 700), Request(64, 96))),
    ],
)
def test_a_batch_takes_as_long_as_the_floor_says(
    batch: Batch, requests: tuple[Request, ...]
) -> None:
    assert attention_us(batch) == pytest.approx(floor_us(LLAMA_8B, requests, H100_PEAKS))


def test_prompts_are_named_after_most_of_their_pairs() -> None:
    assert Batch(0, 0.0, (Chunk(8000, 0), Chunk(100, 500))).phase is Phase.PREFILL
    assert Batch(0, 0.0, (Chunk(100, 0), Chunk(4000, 8192))).phase is Phase.EXTEND
    assert Batch(1, 9.0, (Chunk(100, 0),)).phase is Phase.MIXED


@pytest.mark.parametrize("text", GPU_FULL)
def test_a_standard_workload_is_nearest_to_itself(text: str) -> None:
    shape = shape_of_workload(text)
    if shape.phase is parse_workload(text).phase:  # the model knows no verify
        assert lay_on_standard({shape: 1.0}) == {text: 1.0}
        assert lay_on_own({shape: 1.0}) == {text: 1.0}


BATCHES = st.builds(
    Batch,
    st.integers(0, 1024),
    st.floats(2, 500_000),
    st.lists(st.builds(Chunk, st.integers(1, 8192), st.integers(0, 500_000)), max_size=4).map(
        tuple
    ),
).filter(lambda batch: bool(batch.decodes or batch.chunks))


@given(BATCHES)
def test_a_workload_of_one_s_own_is_canonical_and_of_the_batch_s_phase(batch: Batch) -> None:
    workload = parse_workload(workload_like(shape_of(batch)))
    assert workload.text == workload_like(shape_of(batch))
    assert workload.phase is batch.phase


@given(st.lists(st.tuples(BATCHES, st.floats(1e-6, 1e6)), min_size=1, max_size=40))
@settings(max_examples=50)
def test_no_weight_is_lost_and_few_workloads_are_new(each: list[tuple[Batch, float]]) -> None:
    shapes = {shape_of(batch): weight for batch, weight in each}
    total = fsum(shapes.values())
    own = lay_on_own(shapes)
    assert fsum(own.values()) == pytest.approx(total)
    assert fsum(lay_on_standard(shapes).values()) == pytest.approx(total)
    custom = {text: weight for text, weight in own.items() if text not in GPU_FULL}
    assert len(custom) <= MOST_CUSTOM
    assert all(weight >= LEAST_CUSTOM_SHARE * total * (1 - 1e-9) for weight in custom.values())


@given(REQUESTS)
@settings(max_examples=30, deadline=None)
def test_requests_weigh_a_hundred_in_all(requests: list[Lengths]) -> None:
    found = weigh_requests(requests, (16, 256))
    assert fsum(found.weights.values()) == pytest.approx(100)
    assert all(parse_workload(text).text == text for text in found.weights)


def test_shares_do_not_depend_on_how_often_all_are_asked() -> None:
    requests = [Lengths(64, 512)] * 32
    once, twice = (weigh_shapes(simulate(requests * n, 32)) for n in (1, 2))
    assert once == pytest.approx(twice)


def test_loads_are_capped_by_the_number_of_requests() -> None:
    chance = random.Random(3)
    few = [Lengths(chance.randint(1, 999), chance.randint(1, 99)) for _ in range(5)]
    assert weigh_requests(few, (16, 256)) == weigh_requests(few, (5,))
    assert weigh_requests(few, (16, 256)).notes[-1] == "5 requests in flight"
