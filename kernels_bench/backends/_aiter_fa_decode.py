"""Which kernel of AITER vLLM's ROCM_AITER_FA calls for a decode, and how (vllm 0.24 and 0.32)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

from kernels_bench.backends._aiter_fa_parts import Stretch, starts_of
from kernels_bench.backends._vllm import window_size
from kernels_bench.backends._vllm_rocm_launches import cache_dtype, scales

if TYPE_CHECKING:
    from torch import Tensor

    from kernels_bench.backends.base import PagedBatch
    from kernels_bench.spec import AttentionSpec

PARTITION_TOKENS = 256
"""Of a context, that one block of the paged kernel takes: _PARTITION_SIZE_ROCM."""


def decode(spec: AttentionSpec, batch: PagedBatch, part: Stretch) -> Callable[[], object]:
    """The paged kernel knows neither windows nor sinks nor more than one new token."""
    if spec.sliding_window is not None or batch.sinks is not None or part.longest_query > 1:
        return _unified(spec, batch, part)
    return partial(_paged, spec, batch, part, starts_of(batch, part))


def _unified(spec: AttentionSpec, batch: PagedBatch, part: Stretch) -> Callable[[], object]:
    """Scales go with a quantised cache alone: 0.24 passes ones with any other, 0.32 none."""
    module = import_module("aiter.ops.triton.unified_attention")
    shape = (len(part.requests), spec.num_kv_heads)
    k_descale, v_descale = (
        None if scale is None else scale.expand(shape) for scale in (batch.k_scale, batch.v_scale)
    )
    return partial(
        module.unified_attention,
        q=batch.query[part.tokens],
        k=batch.key_cache,
        v=batch.value_cache,
        out=batch.output[part.tokens],
        cu_seqlens_q=starts_of(batch, part),
        max_seqlen_q=part.longest_query,
        seqused_k=batch.seq_lens[part.rows],
        max_seqlen_k=batch.max_seq_len,
        softmax_scale=batch.softmax_scale,
        causal=True,
        alibi_slopes=batch.alibi_slopes,
        window_size=window_size(spec),
        block_table=batch.block_table[part.rows],
        softcap=spec.logit_softcap or 0.0,
        q_descale=None,
        k_descale=k_descale,
        v_descale=v_descale,
        sinks=batch.sinks,
    )


def _paged(spec: AttentionSpec, batch: PagedBatch, part: Stretch, starts: Tensor) -> None:
    """The operator takes its arguments by place; a workspace is made for each call."""
    import torch

    import_module("aiter")  # registers the operator
    rows, partitions = len(batch.seq_lens), -(-batch.max_seq_len // PARTITION_TOKENS)
    pieces = rows * spec.num_q_heads * partitions
    logsum_bytes = 2 * 4  # the largest logit and the sum, float32
    workspace_bytes = pieces * (spec.head_dim * batch.query.element_size() + logsum_bytes)
    k_scale, v_scale = scales(batch)
    torch.ops.aiter.paged_attention_v1(
        batch.output[part.tokens],
        torch.empty(workspace_bytes, dtype=torch.uint8, device=batch.query.device),
        batch.query[part.tokens],
        batch.key_cache,
        batch.value_cache,
        batch.softmax_scale,
        batch.block_table[part.rows],
        starts[:-1],
        batch.seq_lens[part.rows],
        batch.max_seq_len,
        batch.alibi_slopes,
        cache_dtype(spec),
        "NHD",
        spec.logit_softcap or 0.0,
        k_scale,
        v_scale,
        None,  # scale of an fp8 output
        PARTITION_TOKENS,
        1,  # new tokens a request
        0,  # window
    )
