"""The physical floor: the least time that a batch's bytes and floating-point work can take.

bytes: keys and values that are seen are read once, queries read, outputs written.
flops: 2 (D + Dv) for every query head and visible (query, key) pair, the useful work under a mask.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernels_bench.spec import AttentionSpec

if TYPE_CHECKING:
    import torch

    from kernels_bench.workload import Request

_REPEATS = 5
_MIN_READ_BYTES = 64 << 20


@dataclass(frozen=True)
class Peaks:
    """What the device was measured to do at best."""

    bytes_per_s: float
    flops_per_s: float


def floor_us(spec: AttentionSpec, requests: tuple[Request, ...], peaks: Peaks) -> float:
    """Time of one layer at the device's measured peaks."""
    moved = sum(_bytes(spec, request) for request in requests)
    work = sum(_flops(spec, request) for request in requests)
    return 1e6 * max(moved / peaks.bytes_per_s, work / peaks.flops_per_s)


def measure_peaks(device: torch.device, dtype: torch.dtype, read_bytes: int) -> Peaks:
    """Read so many bytes, and multiply two matrices; best of a few."""
    import torch

    elements = max(read_bytes, _MIN_READ_BYTES) // 4
    memory = torch.ones(elements, dtype=torch.float32, device=device)
    matrix = torch.randn(1024, 1024, device=device).to(dtype)
    read_s = _best_s(lambda: memory.sum())
    multiply_s = _best_s(lambda: matrix @ matrix)
    return Peaks(elements * 4 / read_s, 2 * 1024**3 / multiply_s)


def _best_s(act: Callable[[], object]) -> float:
    """Host time: valid where a call returns when its work is done, that is on a CPU."""
    best = float("inf")
    for _ in range(_REPEATS):
        start = time.perf_counter()
        act()
        best = min(best, time.perf_counter() - start)
    return best


def _bytes(spec: AttentionSpec, request: Request) -> int:
    dims = spec.head_dim + spec.value_dim
    seen = spec.num_kv_heads * dims * spec.kv_element_bytes * _span(spec, request)
    return seen + request.new_tokens * spec.num_q_heads * dims * 2


def _flops(spec: AttentionSpec, request: Request) -> int:
    dims = spec.head_dim + spec.value_dim
    return 2 * spec.num_q_heads * dims * _pairs(spec, request)


def _span(spec: AttentionSpec, request: Request) -> int:
    """Tokens that at least one query sees."""
    cached = request.total_tokens - request.new_tokens
    if spec.sliding_window is not None:
        return min(request.total_tokens, spec.sliding_window + request.new_tokens - 1)
    if spec.attention_chunk is not None:
        return request.total_tokens - cached // spec.attention_chunk * spec.attention_chunk
    return request.total_tokens


def _pairs(spec: AttentionSpec, request: Request) -> int:
    """Visible (query, key) pairs."""
    cached, total = request.total_tokens - request.new_tokens, request.total_tokens
    if not spec.causal:
        return request.new_tokens * total
    if spec.sliding_window is not None:
        return sum(min(position + 1, spec.sliding_window) for position in range(cached, total))
    if spec.attention_chunk is not None:
        return sum(position % spec.attention_chunk + 1 for position in range(cached, total))
    return request.new_tokens * cached + request.new_tokens * (request.new_tokens + 1) // 2
