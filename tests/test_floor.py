"""Bytes and floating-point operations, counted by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernels_bench.floor import Peaks, floor_us, measure_peaks
from kernels_bench.host_clock import HostClock
from kernels_bench.reference import visible
from kernels_bench.spec import AttentionSpec
from kernels_bench.workload import Request

# A token's keys and values are 2 heads of 8 and 4 numbers of 2 bytes: 48 bytes. A new token's query
# is 4 heads of 8 numbers, its output 4 of 4: 96 bytes. A pair costs 2 (8 + 4) in each of 4 heads.
SPEC = AttentionSpec(4, 2, 8, "bfloat16", num_layers=1, head_dim_v=4)
TOKEN_BYTES, NEW_TOKEN_BYTES, PAIR_FLOPS = 48, 96, 96
WINDOW = replace(SPEC, sliding_window=16)
CHUNK = replace(SPEC, attention_chunk=16)
BIDIRECTIONAL = replace(SPEC, causal=False)


def moved_bytes(spec: AttentionSpec, *requests: Request) -> float:
    """The floor of a device that computes in no time and moves a byte a microsecond."""
    return floor_us(spec, requests, Peaks(bytes_per_s=1e6, flops_per_s=1e30))


def work_flops(spec: AttentionSpec, *requests: Request) -> float:
    return floor_us(spec, requests, Peaks(bytes_per_s=1e30, flops_per_s=1e6))


@pytest.mark.parametrize(
    ("spec", "request_", "seen_tokens"),
    [
        (SPEC, Request(1, 100), 100),
        (SPEC, Request(20, 20), 20),
        (SPEC, Request(20, 100), 100),
        (WINDOW, Request(1, 100), 16),
        (WINDOW, Request(1, 10), 10),
        (WINDOW, Request(20, 100), 35),  # the first new token sees 15 before it
        (WINDOW, Request(20, 20), 20),
        (CHUNK, Request(1, 100), 4),  # position 99 stands 4th in the chunk from 96
        (CHUNK, Request(1, 97), 1),
        (CHUNK, Request(1, 96), 16),
        (CHUNK, Request(20, 100), 20),  # position 80 begins a chunk
        (CHUNK, Request(21, 100), 36),
        (BIDIRECTIONAL, Request(20, 100), 100),
    ],
)
def test_bytes_by_hand(spec: AttentionSpec, request_: Request, seen_tokens: int) -> None:
    expected = seen_tokens * TOKEN_BYTES + request_.new_tokens * NEW_TOKEN_BYTES
    assert moved_bytes(spec, request_) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("spec", "request_", "pairs"),
    [
        (SPEC, Request(1, 100), 100),
        (SPEC, Request(20, 20), 210),  # 1 + 2 + ... + 20
        (SPEC, Request(20, 100), 20 * 80 + 210),
        (WINDOW, Request(1, 100), 16),
        (WINDOW, Request(20, 100), 20 * 16),
        (WINDOW, Request(20, 20), 136 + 4 * 16),  # 1 + ... + 16, then 16 each
        (CHUNK, Request(1, 100), 4),
        (CHUNK, Request(20, 20), 136 + 1 + 2 + 3 + 4),
        (BIDIRECTIONAL, Request(20, 20), 400),
        (BIDIRECTIONAL, Request(20, 100), 2000),
    ],
)
def test_flops_by_hand(spec: AttentionSpec, request_: Request, pairs: int) -> None:
    assert work_flops(spec, request_) == pytest.approx(pairs * PAIR_FLOPS)


requests = st.tuples(st.integers(1, 40), st.integers(0, 60)).map(
    lambda each: Request(each[0], each[0] + each[1])
)


@given(st.sampled_from([SPEC, WINDOW, CHUNK, BIDIRECTIONAL]), requests)
def test_the_count_is_that_of_the_reference_s_mask(spec: AttentionSpec, request_: Request) -> None:
    cached = request_.total_tokens - request_.new_tokens
    seen = visible(
        spec, torch.arange(cached, request_.total_tokens), torch.arange(request_.total_tokens)
    )
    assert work_flops(spec, request_) == pytest.approx(int(seen.sum()) * PAIR_FLOPS)
    tokens = int(seen.any(dim=0).sum())
    expected = tokens * TOKEN_BYTES + request_.new_tokens * NEW_TOKEN_BYTES
    assert moved_bytes(spec, request_) == pytest.approx(expected)


def test_a_quantised_cache_halves_the_keys_alone() -> None:
    quantised = replace(SPEC, kv_dtype="fp8_e4m3")
    assert moved_bytes(quantised, Request(1, 100)) == pytest.approx(100 * 24 + 96)


def test_requests_add_up() -> None:
    one, other = Request(1, 100), Request(20, 20)
    assert moved_bytes(SPEC, one, other) == pytest.approx(
        moved_bytes(SPEC, one) + moved_bytes(SPEC, other)
    )


def test_the_slower_of_moving_and_computing_decides() -> None:
    decode = (Request(1, 100),)  # 4896 bytes, 9600 operations
    assert floor_us(SPEC, decode, Peaks(4896e6, 1e30)) == pytest.approx(1.0)
    assert floor_us(SPEC, decode, Peaks(4896e6, 3200e6)) == pytest.approx(3.0)


def test_peaks_of_this_machine_can_be_measured() -> None:
    peaks = measure_peaks(torch.device("cpu"), torch.bfloat16, 64 << 20, HostClock().best_us)
    assert peaks.bytes_per_s > 1e6
    assert peaks.flops_per_s > 1e6


@pytest.mark.parametrize(("bf16_per_s", "peak_per_s"), [(1e9, 8e10), (3e10, 8e10), (2e11, 2e11)])
def test_a_cpu_that_multiplies_bf16_in_a_loop_is_as_fast_as_it_is_in_fp32(
    bf16_per_s: float, peak_per_s: float
) -> None:
    """torch on a CPU without AVX-512: with the loop's rate for a peak every candidate was wrong."""
    rows: list[int] = []

    def best_us(call: Callable[[], torch.Tensor]) -> float:
        made = call()
        if made.dim() == 0:
            return 1.0
        if made.dtype == torch.bfloat16:
            rows.append(len(made))
        rate = bf16_per_s if made.dtype == torch.bfloat16 else 8e10
        return 2e6 * len(made) ** 3 / rate

    peaks = measure_peaks(torch.device("cpu"), torch.bfloat16, 1 << 20, best_us)
    assert peaks.flops_per_s == pytest.approx(peak_per_s)
    # A product of 1024 rows takes seconds in a loop.
    assert (1024 in rows) == (bf16_per_s > 2e10)
