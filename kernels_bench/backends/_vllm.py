"""What vLLM's own kernels share: its defaults (0.24, config/vllm.py), and how it calls them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernels_bench.backends.base import PagedBatch
    from kernels_bench.spec import AttentionSpec

_T = TypeVar("_T")

LARGEST_CAPTURE = 512
"""Tokens of the largest batch that it captures: `max_cudagraph_capture_size`."""
CAPTURE_SIZES: tuple[int, ...] = (1, 2, 4, *range(8, 256, 8), *range(256, LARGEST_CAPTURE + 1, 16))
"""Tokens of every batch that it captures: `cudagraph_capture_sizes`."""


def window_size(spec: AttentionSpec) -> tuple[int, int]:
    """Keys before and after the query's own, as FlashAttention counts them; -1 is all."""
    return (-1, -1) if spec.sliding_window is None else (spec.sliding_window - 1, 0)


def bound(kernel: Callable[..., _T], spec: AttentionSpec, batch: PagedBatch) -> partial[_T]:
    """What vLLM gives FlashAttention and its Triton kernel alike, under the same names."""
    return partial(
        kernel,
        q=batch.query,
        k=batch.key_cache,
        v=batch.value_cache,
        out=batch.output,
        cu_seqlens_q=batch.query_start_loc,
        max_seqlen_q=batch.max_query_len,
        seqused_k=batch.seq_lens,
        max_seqlen_k=batch.max_seq_len,
        softmax_scale=batch.softmax_scale,
        causal=spec.causal,
        window_size=window_size(spec),
        block_table=batch.block_table,
        softcap=spec.logit_softcap or 0.0,
    )
