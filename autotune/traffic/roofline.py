"""Attention time of a batch at an H100's peaks, from sums alone: quick enough for a whole log.

The same bytes and flops as `kernels_bench/floor.py`, which takes each request by itself.
"""

from __future__ import annotations

from autotune.traffic.batch import Batch
from kernels_bench.floor import Peaks
from kernels_bench.spec import AttentionSpec

LLAMA_8B = AttentionSpec(
    num_q_heads=32, num_kv_heads=8, head_dim=128, dtype="bfloat16", num_layers=32
)
"""Llama 3.1 8B; only its ratio of bytes to flops moves a share."""
H100_PEAKS = Peaks(bytes_per_s=3.07e12, flops_per_s=800e12)
"""What the floors of benchmarks/results/h100-method3-run1.db.xz were measured at."""

_DIMS = LLAMA_8B.head_dim + LLAMA_8B.value_dim
_KV_BYTES = LLAMA_8B.num_kv_heads * _DIMS * LLAMA_8B.kv_element_bytes
_QUERY_BYTES = LLAMA_8B.num_q_heads * _DIMS * 2
_PAIR_FLOPS = 2 * LLAMA_8B.num_q_heads * _DIMS


def attention_us(batch: Batch) -> float:
    """Time of one layer in all steps of the batch."""
    decoded = batch.decodes * batch.decode_tokens
    seen = decoded + sum(chunk.new_tokens + chunk.cached_tokens for chunk in batch.chunks)
    moved = seen * _KV_BYTES + (batch.decodes + batch.new_tokens) * _QUERY_BYTES
    pairs = decoded + sum(chunk.pairs_among_new + chunk.pairs_with_cached for chunk in batch.chunks)
    work = pairs * _PAIR_FLOPS
    slowest_s = max(moved / H100_PEAKS.bytes_per_s, work / H100_PEAKS.flops_per_s)
    return 1e6 * slowest_s * batch.steps
