"""How vLLM's ROCM_ATTN calls its kernels (vllm 0.24 and 0.32, v1/attention/backends/rocm_attn.py).

Its pages order the numbers as its decode kernel in HIP loads them: keys 16 bytes at a time, values
a token after the other (v1/attention/ops/paged_attn.py).
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

from kernels_bench.backends._launches import Unplanned
from kernels_bench.backends._new_tokens import Beside, NewTokens
from kernels_bench.backends._own_layout import converted

if TYPE_CHECKING:
    from torch import Tensor

    from kernels_bench.backends.base import Launch, PagedBatch
    from kernels_bench.spec import AttentionSpec

_LOAD_BYTES = 16


def prefill_and_decode(spec: AttentionSpec, batch: PagedBatch) -> Launch:
    """One function launches both kernels; the one for prefill stays out where all requests have
    one new token, and then nobody reads the new keys and values.
    """
    module = import_module("vllm.v1.attention.ops.chunked_prefill_paged_decode")
    new_tokens = NewTokens(spec, batch)
    k_scale, v_scale = scales(batch)
    call = partial(
        module.chunked_prefill_paged_decode,
        query=batch.query,
        key=new_tokens.key,
        value=new_tokens.value,
        output=batch.output,
        kv_cache_dtype=cache_dtype(spec),
        key_cache=converted(batch.key_cache, packed_keys),
        value_cache=converted(batch.value_cache, packed_values),
        block_table=batch.block_table,
        query_start_loc=batch.query_start_loc,
        seq_lens=batch.seq_lens,
        max_seq_len=batch.max_seq_len,
        max_query_len=batch.max_query_len,
        k_scale=k_scale,
        v_scale=v_scale,
        alibi_slopes=batch.alibi_slopes,
        sliding_window=spec.sliding_window or 0,
        sm_scale=batch.softmax_scale,
        output_scale=None,
        sinks=None,
        causal=spec.causal,
    )
    return Unplanned(call) if batch.max_query_len == 1 else Beside(new_tokens, call)


def encoder(spec: AttentionSpec, batch: PagedBatch) -> Launch:
    """Triton over whole texts; an encoder keeps no pages."""
    module = import_module("vllm.v1.attention.ops.triton_prefill_attention")
    new_tokens = NewTokens(spec, batch)
    call = partial(
        module.context_attention_fwd,
        q=batch.query,
        k=new_tokens.key,
        v=new_tokens.value,
        o=batch.output,
        b_start_loc=batch.query_start_loc,
        b_seq_len=batch.seq_lens,
        max_input_len=batch.max_query_len,
        is_causal=False,
        softmax_scale=batch.softmax_scale,
        sliding_window_q=-1,
        sliding_window_k=-1,
    )
    return Beside(new_tokens, call)


def cache_dtype(spec: AttentionSpec) -> str:
    """vLLM's word for it."""
    return "auto" if spec.kv_dtype is None else spec.kv_dtype


def scales(batch: PagedBatch) -> tuple[Tensor, Tensor]:
    """Of keys and values: vLLM has one for every cache, 1.0 where nothing is quantised."""
    import torch

    if batch.k_scale is not None and batch.v_scale is not None:
        return batch.k_scale, batch.v_scale
    one = torch.ones((), dtype=torch.float32, device=batch.query.device)
    return one, one


def packed_keys(cache: Tensor) -> Tensor:
    """[pages, size, H, D] -> [pages, H, D / x, size, x], x numbers being 16 bytes."""
    x = _LOAD_BYTES // cache.element_size()
    return cache.view(*cache.shape[:-1], -1, x).permute(0, 2, 3, 1, 4).contiguous()


def packed_values(cache: Tensor) -> Tensor:
    """[pages, size, H, D] -> [pages, H, D, size]"""
    return cache.permute(0, 2, 3, 1).contiguous()
