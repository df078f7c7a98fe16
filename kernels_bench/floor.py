"""The physical floor: the least time that a batch's bytes and floating-point work can take.

bytes: keys and values that are seen are read once, queries read, outputs written.
flops: 2 (D + Dv) for every query head and visible (query, key) pair, the useful work under a mask.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernels_bench.spec import AttentionSpec

if TYPE_CHECKING:
    import torch

    from kernels_bench.workload import Request

_CPU_READ_BYTES, _GPU_READ_BYTES = 64 << 20, 1 << 30
_CPU_MATRIX, _GPU_MATRIX = 1024, 8192
"""Large enough that starting the work does not show."""
_CPU_TRIAL = 256


@dataclass(frozen=True)
class Peaks:
    """What the device was measured to do at best."""

    bytes_per_s: float
    flops_per_s: float


def best_of(one: Peaks, other: Peaks) -> Peaks:
    """Whatever else ran, a device can do what it once did."""
    return Peaks(max(one.bytes_per_s, other.bytes_per_s), max(one.flops_per_s, other.flops_per_s))


def floor_us(spec: AttentionSpec, requests: tuple[Request, ...], peaks: Peaks) -> float:
    """Time of one layer at the device's measured peaks."""
    moved = sum(_bytes(spec, request) for request in requests)
    work = sum(_flops(spec, request) for request in requests)
    return 1e6 * max(moved / peaks.bytes_per_s, work / peaks.flops_per_s)


def measure_peaks(
    device: torch.device,
    dtype: torch.dtype,
    least_read_bytes: int,
    best_us: Callable[[Callable[[], object]], float],
) -> Peaks:
    """Read at least so many bytes, and multiply two matrices; `best_us` times a call."""
    import torch

    is_cpu = device.type == "cpu"
    read_bytes = max(least_read_bytes, _CPU_READ_BYTES if is_cpu else _GPU_READ_BYTES)
    memory = torch.ones(read_bytes // 4, dtype=torch.float32, device=device)
    read_us = best_us(lambda: memory.sum())

    def flops_per_s(rows: int, factors: torch.dtype) -> float:
        matrix = torch.randn(rows, rows, device=device).to(factors)
        return 2e6 * rows**3 / best_us(lambda: matrix @ matrix)

    if not is_cpu:
        return Peaks(read_bytes / read_us * 1e6, flops_per_s(_GPU_MATRIX, dtype))
    # Without AVX-512 torch multiplies matrices of bf16 in a plain loop, a hundred times slower than
    # those of fp32 (torch 2.13, 2.3 s for these): whoever computes in fp32 would beat that peak.
    best = flops_per_s(_CPU_MATRIX, torch.float32)
    if flops_per_s(_CPU_TRIAL, dtype) > best / 4:
        best = max(best, flops_per_s(_CPU_MATRIX, dtype))
    return Peaks(read_bytes / read_us * 1e6, best)


def kv_bytes_seen(spec: AttentionSpec, request: Request) -> int:
    """Bytes of the keys and values that at least one query of a request sees."""
    dims = spec.head_dim + spec.value_dim
    return spec.num_kv_heads * dims * spec.kv_element_bytes * _span(spec, request)


def _bytes(spec: AttentionSpec, request: Request) -> int:
    dims = spec.head_dim + spec.value_dim
    return kv_bytes_seen(spec, request) + request.new_tokens * spec.num_q_heads * dims * 2


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
