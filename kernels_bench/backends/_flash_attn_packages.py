"""How FlashAttention's packages are called: flash-attn, flash-attn-3, flash-attn-4, and SGLang's
kernel package as its fa3 backend calls it (sglang 0.5.23, layers/attention/
flashattention_backend.py).
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

from kernels_bench.backends._flash_attn_launches import (
    Schedule,
    in_bfloat16,
    num_splits,
    schedule_of,
)
from kernels_bench.backends._fp8_query import Quantised, query_for, scales_of
from kernels_bench.backends._launches import Unplanned
from kernels_bench.backends._vllm import window_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from kernels_bench.backends.base import Launch, PagedBatch
    from kernels_bench.spec import AttentionSpec


def flash_attn_3(spec: AttentionSpec, batch: PagedBatch) -> Launch:
    """The flash-attn-3 package. Its operator takes the output, which its Python functions hide."""
    import torch

    module = import_module("flash_attn_interface")  # registers the operator
    chunk, window = spec.attention_chunk or 0, window_size(spec)
    query = query_for(batch)
    q_scale, k_scale, v_scale = scales_of(batch, spec.num_kv_heads)
    make = partial(module.get_scheduler_metadata, attention_chunk=chunk)
    schedule = schedule_of(make, spec, batch)
    call = partial(
        torch.ops.flash_attn_3.fwd,
        query.tensor,
        batch.key_cache,
        batch.value_cache,
        out=batch.output,
        cu_seqlens_q=batch.query_start_loc,
        seqused_k=batch.seq_lens,
        max_seqlen_q=batch.max_query_len,
        page_table=batch.block_table,
        q_descale=q_scale,
        k_descale=k_scale,
        v_descale=v_scale,
        softmax_scale=batch.softmax_scale,
        is_causal=spec.causal,
        window_size_left=window[0],
        window_size_right=window[1],
        attention_chunk=chunk,
        softcap=spec.logit_softcap or 0.0,
        scheduler_metadata=schedule.metadata,
        num_splits=num_splits(spec, batch),
    )
    return Quantised(query, call, schedule.refresh)


def sglang_flash_attn_3(spec: AttentionSpec, batch: PagedBatch) -> Launch:
    """SGLang's build of version 3. Layers without a window share a schedule of the step's decodes;
    all others go without.
    """
    module = import_module("sgl_kernel.flash_attn")
    query = query_for(batch)
    q_scale, k_scale, v_scale = scales_of(batch, spec.num_kv_heads)
    call = partial(
        module.flash_attn_with_kvcache,
        q=query.tensor,
        k_cache=batch.key_cache,
        v_cache=batch.value_cache,
        page_table=batch.block_table,
        cache_seqlens=batch.seq_lens,
        cu_seqlens_q=batch.query_start_loc,
        max_seqlen_q=batch.max_query_len,
        softmax_scale=batch.softmax_scale,
        causal=spec.causal,
        window_size=window_size(spec),
        attention_chunk=spec.attention_chunk,
        softcap=spec.logit_softcap or 0.0,
        q_descale=q_scale,
        k_descale=k_scale,
        v_descale=v_scale,
        num_splits=0,
        sinks=in_bfloat16(batch.sinks),
        out=batch.output,
    )
    is_decode = batch.max_query_len == 1 and spec.causal
    if not is_decode or spec.sliding_window is not None or spec.attention_chunk is not None:
        return Quantised(query, call)
    schedule = _sglang_schedule(module.get_scheduler_metadata, spec, batch)
    return Quantised(query, partial(call, scheduler_metadata=schedule.metadata), schedule.refresh)


def _sglang_schedule(
    make: Callable[..., Tensor], spec: AttentionSpec, batch: PagedBatch
) -> Schedule:
    """Of a step's decodes, `_compute_scheduler_metadata`."""
    return Schedule(
        partial(
            make,
            batch_size=len(batch.seq_lens),
            max_seqlen_q=1,
            max_seqlen_k=batch.max_seq_len,
            num_heads=spec.num_q_heads,
            num_heads_k=spec.num_kv_heads,
            headdim=spec.head_dim,
            cache_seqlens=batch.seq_lens,
            qkv_dtype=batch.key_cache.dtype,
            cu_seqlens_q=batch.query_start_loc,
            page_size=batch.pages.size,
            causal=True,
            has_softcap=spec.logit_softcap is not None,
            num_splits=0,
        )
    )


def flash_attn_4(spec: AttentionSpec, batch: PagedBatch) -> Launch:
    """The flash-attn-4 package. It returns a tensor of its own, so that the copy counts."""
    module = import_module("flash_attn.cute")
    before, after = window_size(spec)
    forward = partial(
        module.flash_attn_varlen_func,
        batch.query,
        batch.key_cache,
        batch.value_cache,
        cu_seqlens_q=batch.query_start_loc,
        max_seqlen_q=batch.max_query_len,
        max_seqlen_k=batch.max_seq_len,
        seqused_k=batch.seq_lens,
        page_table=batch.block_table,
        softmax_scale=batch.softmax_scale,
        causal=spec.causal,
        # -1 is a window there.
        window_size=(None if before < 0 else before, None if after < 0 else after),
        learnable_sink=in_bfloat16(batch.sinks),
        softcap=spec.logit_softcap or 0.0,
        num_splits=0,
    )

    def run() -> None:
        output, _ = forward()
        batch.output.copy_(output)

    return Unplanned(run)


class FlashAttn2:
    """The flash-attn package. It returns a tensor of its own: the copy into the batch's counts, as
    for an engine that owns its output. (Its C++ function takes an output, but leaves it unwritten
    in a decode with grouped heads: flash_api.cpp, `seqlenq_ngroups_swapped`.)
    """

    def __init__(self, spec: AttentionSpec, batch: PagedBatch) -> None:
        module = import_module("flash_attn")
        self._batch = batch
        self._key_starts = batch.query_start_loc.new_zeros(len(batch.seq_lens) + 1)
        self._forward = partial(
            module.flash_attn_varlen_func,
            batch.query,
            batch.key_cache,
            batch.value_cache,
            cu_seqlens_q=batch.query_start_loc,
            cu_seqlens_k=self._key_starts,
            max_seqlen_q=batch.max_query_len,
            max_seqlen_k=batch.max_seq_len,
            softmax_scale=batch.softmax_scale,
            causal=spec.causal,
            window_size=window_size(spec),
            softcap=spec.logit_softcap or 0.0,
            alibi_slopes=batch.alibi_slopes,
            block_table=batch.block_table,
        )

    def plan(self) -> None:
        """It takes running totals where the others take lengths."""
        import torch

        ends = self._key_starts[1:]
        torch.cumsum(self._batch.seq_lens, 0, dtype=ends.dtype, out=ends)

    def run(self) -> None:
        """One call and a copy."""
        self._batch.output.copy_(self._forward())
