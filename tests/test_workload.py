"""The grammar, both ways, and the lengths that `v` draws."""

from __future__ import annotations

import re
from statistics import mean, pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels_bench.errors import WorkloadError
from kernels_bench.spec import Phase
from kernels_bench.workload import (
    LONGEST_OVER_MEAN,
    VERIFY_MAX_NEW_TOKENS,
    Request,
    Segment,
    Workload,
    parse_workload,
)


@st.composite
def segments(draw: st.DrawFn) -> Segment:
    new_tokens = draw(st.integers(1, 5000))
    cached_tokens = draw(st.one_of(st.just(0), st.integers(0, 100_000)))
    variation_pct = draw(st.one_of(st.just(0), st.integers(1, 250)))
    return Segment(draw(st.integers(1, 300)), new_tokens, new_tokens + cached_tokens, variation_pct)


workloads = st.lists(segments(), min_size=1, max_size=4).map(lambda each: Workload(tuple(each)))


@given(workloads)
def test_a_workload_s_text_reads_back(workload: Workload) -> None:
    assert parse_workload(workload.text) == workload


@given(st.text(alphabet="0123456789qskv_ Q", max_size=20))
def test_a_text_is_read_or_refused_and_then_has_one_spelling(text: str) -> None:
    try:
        workload = parse_workload(text)
    except WorkloadError:
        return
    assert parse_workload(workload.text) == workload


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8q1s1k", (Segment(8, 1, 1024),)),
        ("q2k", (Segment(1, 2048, 2048),)),
        ("2q2k_32q1s1k", (Segment(2, 2048, 2048), Segment(32, 1, 1024))),
        ("32q1s1228v80", (Segment(32, 1, 1228, 80),)),
        ("q2ks4k", (Segment(1, 2048, 4096),)),
        ("q1", (Segment(1, 1, 1),)),
    ],
)
def test_the_grammar_as_documented(text: str, expected: tuple[Segment, ...]) -> None:
    workload = parse_workload(text)
    assert workload.segments == expected
    assert workload.text == text


@pytest.mark.parametrize(
    ("spelt", "canonical"),
    [
        (" 1Q1S1K ", "q1s1k"),
        ("q2048", "q2k"),
        ("q2ks2048", "q2k"),
        ("8q1s1kv0", "8q1s1k"),
        ("08q01s01k", "8q1s1k"),
    ],
)
def test_other_spellings_become_the_canonical_one(spelt: str, canonical: str) -> None:
    assert parse_workload(spelt).text == canonical


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", ""),
        ("q", "q"),
        ("8", "8"),
        ("q2m", "q2m"),
        ("q-1", "q-1"),
        ("q1.5", "q1.5"),
        ("8q1s", "8q1s"),
        ("q1s1k__q2k", ""),
        ("q1s1k_", ""),
        ("q1s1k,q2k", "q1s1k,q2k"),
        ("q2k 8q1s1k", "q2k 8q1s1k"),
        ("q1s1kv", "q1s1kv"),
        ("q1v80s1k", "q1v80s1k"),
    ],
)
def test_what_cannot_be_read_is_named_with_the_grammar(text: str, part: str) -> None:
    message = (
        f"workload {text!r}: cannot read {part!r};"
        " expected segments like 8q1s1k, q2k or 32q1s1228v80, joined by _"
    )
    with pytest.raises(WorkloadError, match=f"^{re.escape(message)}$"):
        parse_workload(text)


@pytest.mark.parametrize(
    ("text", "part", "found"),
    [
        ("0q1s1k", "0q1s1k", "0 requests, 1 new and 1024 total tokens"),
        ("q2k_q0s1k", "q0s1k", "1 requests, 0 new and 1024 total tokens"),
        ("3q2ks1k", "3q2ks1k", "3 requests, 2048 new and 1024 total tokens"),
    ],
)
def test_a_segment_that_cannot_be_is_refused_with_its_numbers(
    text: str, part: str, found: str
) -> None:
    message = (
        f"workload {text!r}: {part!r}: {found}:"
        " needs at least 1 request, 1 new token, and no more new tokens than total"
    )
    with pytest.raises(WorkloadError, match=f"^{re.escape(message)}$"):
        parse_workload(text)


@pytest.mark.parametrize(("count", "new", "total"), [(0, 1, 1), (1, 0, 1), (1, 2, 1)])
def test_no_segment_is_made_that_the_grammar_would_refuse(count: int, new: int, total: int) -> None:
    with pytest.raises(WorkloadError, match=f"{count} requests, {new} new and {total} total"):
        Segment(count, new, total)


@pytest.mark.parametrize(
    ("text", "phase"),
    [
        ("q1s1k", Phase.DECODE),
        ("8q1s1kv80", Phase.DECODE),
        ("q1", Phase.DECODE),
        ("q2", Phase.PREFILL),
        ("4q1kv50", Phase.PREFILL),
        ("q2s1k", Phase.VERIFY),
        ("16q4s4k", Phase.VERIFY),
        (f"q{VERIFY_MAX_NEW_TOKENS}s1k", Phase.VERIFY),
        (f"q{VERIFY_MAX_NEW_TOKENS + 1}s1k", Phase.EXTEND),
        ("q2ks4k", Phase.EXTEND),
        ("q512_q1k", Phase.PREFILL),
        ("q1s1k_8q1s512", Phase.DECODE),
        ("8q1s1k_q512", Phase.MIXED),
        ("q512_q512s1k", Phase.MIXED),
    ],
)
def test_the_phase_follows_from_the_lengths(text: str, phase: Phase) -> None:
    assert parse_workload(text).phase is phase


def test_requests_stand_in_the_order_of_the_text() -> None:
    assert parse_workload("2q1s1k_q512").requests(seed=1) == (
        Request(1, 1024),
        Request(1, 1024),
        Request(512, 512),
    )
    assert parse_workload("2q1s1k_q512").num_requests == 3


def cached_tokens(text: str) -> list[int]:
    return [
        request.total_tokens - request.new_tokens for request in parse_workload(text).requests(1)
    ]


@pytest.mark.parametrize("count", [2, 8, 32, 256])
@pytest.mark.parametrize("variation_pct", [40, 80, 110])
def test_drawn_lengths_keep_the_mean(count: int, variation_pct: int) -> None:
    lengths = cached_tokens(f"{count}q1s1228v{variation_pct}")
    assert mean(lengths) == pytest.approx(1227, rel=0.002)
    assert max(lengths) <= LONGEST_OVER_MEAN * 1227


@pytest.mark.parametrize(("variation_pct", "low"), [(40, 0.36), (80, 0.70), (110, 0.85)])
def test_drawn_lengths_vary_about_as_asked(variation_pct: int, low: float) -> None:
    """A little less than asked: the longest of an endless tail are in no batch."""
    lengths = cached_tokens(f"64q1s1228v{variation_pct}")
    assert low < pstdev(lengths) / mean(lengths) <= variation_pct / 100


def test_a_spread_that_meets_the_cap_keeps_its_mean() -> None:
    lengths = cached_tokens("256q1s1228v250")
    assert max(lengths) == LONGEST_OVER_MEAN * 1227
    assert mean(lengths) == pytest.approx(1227, rel=0.002)


@given(workloads, st.integers(0, 1000))
def test_drawn_requests_are_of_the_segment_s_phase_and_bounded(
    workload: Workload, seed: int
) -> None:
    for segment in workload.segments:
        requests = segment.requests(seed)
        assert len(requests) == segment.count
        assert max(request.total_tokens for request in requests) <= segment.longest_tokens
        for request in requests:
            assert (request.new_tokens == request.total_tokens) == (
                segment.new_tokens == segment.total_tokens
            )
    assert workload.longest_tokens == max(each.longest_tokens for each in workload.segments)


def test_a_prefill_varies_in_new_tokens_and_an_extend_in_cached_ones() -> None:
    prefill = parse_workload("8q1kv80").requests(1)
    assert len({request.new_tokens for request in prefill}) == 8
    assert mean(request.new_tokens for request in prefill) == pytest.approx(1024, rel=0.002)
    extend = parse_workload("8q512s1kv80").requests(1)
    assert {request.new_tokens for request in extend} == {512}
    assert mean(request.total_tokens for request in extend) == pytest.approx(1024, rel=0.002)


def test_a_single_token_cannot_vary() -> None:
    assert parse_workload("3q1v80").requests(1) == (Request(1, 1),) * 3


def test_a_seed_decides_the_order_alone() -> None:
    workload = parse_workload("32q1s1228v80")
    one, other = workload.requests(1), workload.requests(2)
    assert one == workload.requests(1)
    assert one != other
    assert sorted(r.total_tokens for r in one) == sorted(r.total_tokens for r in other)


def test_alike_segments_are_drawn_in_orders_of_their_own() -> None:
    requests = parse_workload("32q1s1kv80_32q1s1kv80").requests(1)
    assert requests[:32] != requests[32:]


def test_every_run_draws_the_same() -> None:
    """Written down: another draw would make stored measurements wrong under their key."""
    drawn = [request.total_tokens for request in parse_workload("8q1s1228v80").requests(7)]
    assert drawn == [1867, 2943, 710, 1118, 341, 896, 537, 1411]
