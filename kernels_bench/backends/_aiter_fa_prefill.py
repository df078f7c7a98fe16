"""How vLLM's ROCM_AITER_FA calls AITER's kernel for prompts: over new tokens, and over what it
fetches of the cache (vllm 0.24 and 0.32, `extend_forward`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from importlib import import_module
from typing import TYPE_CHECKING

from kernels_bench.backends._aiter_fa_parts import (
    FETCHED_AT_ONCE,
    Fetch,
    Stretch,
    context_fetches,
    starts_of,
    window_fetch,
)
from kernels_bench.backends._new_tokens import NewTokens
from kernels_bench.backends._vllm import window_size
from kernels_bench.backends._vllm_rocm_launches import scales

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from kernels_bench.backends.base import PagedBatch
    from kernels_bench.spec import AttentionSpec


def prefill(
    spec: AttentionSpec, batch: PagedBatch, new_tokens: NewTokens, part: Stretch
) -> Callable[[], object]:
    """Keys and values from where the layer left them: no page is read."""
    starts = starts_of(batch, part)
    return partial(
        _attend(spec, batch, part, starts),
        k=new_tokens.key[part.tokens],
        v=new_tokens.value[part.tokens],
        cu_seqlens_k=starts,
        max_seqlen_k=part.longest_context,
        causal=spec.causal,
        out=batch.output[part.tokens],
    )


def windowed(spec: AttentionSpec, batch: PagedBatch, part: Stretch) -> Callable[[], object]:
    """All that the window shows is fetched, and attended to at once."""
    import torch

    assert spec.sliding_window is not None
    device = batch.query.device
    fetch = window_fetch(part.requests, spec.sliding_window, device)
    shape = (2, fetch.tokens, spec.num_kv_heads, spec.head_dim)
    key, value = torch.empty(shape, dtype=batch.query.dtype, device=device)
    gather = _gather(batch, part, fetch, key, value)
    attend = partial(
        _attend(spec, batch, part, starts_of(batch, part)),
        k=key,
        v=value,
        cu_seqlens_k=fetch.starts,
        max_seqlen_k=fetch.longest,
        causal=True,
        return_lse=False,
        out=batch.output[part.tokens],
    )
    return partial(_one_after_the_other, gather, attend)


class Extend:
    """New tokens among themselves, then over each part of what is cached, merged by their
    logsums.
    """

    def __init__(
        self, spec: AttentionSpec, batch: PagedBatch, new_tokens: NewTokens, part: Stretch
    ) -> None:
        merging = import_module("vllm.v1.attention.ops.merge_attn_states")
        self._merge = merging.merge_attn_states
        self._output = batch.output[part.tokens]
        starts, query = starts_of(batch, part), batch.query
        attend = partial(_attend(spec, batch, part, starts), return_lse=True)
        self._among_new = partial(
            attend,
            k=new_tokens.key[part.tokens],
            v=new_tokens.value[part.tokens],
            cu_seqlens_k=starts,
            max_seqlen_k=part.longest_query,
            causal=True,
        )
        shape = (spec.num_kv_heads, spec.head_dim)
        key, value = _workspace(query.device, query.dtype, shape)
        self._over_cached = [
            (
                _gather(batch, part, fetch, key, value),
                partial(
                    attend,
                    k=key,
                    v=value,
                    cu_seqlens_k=fetch.starts,
                    max_seqlen_k=fetch.longest,
                    causal=False,
                ),
            )
            for fetch in context_fetches(part.requests, query.device)
        ]

    def run(self) -> None:
        """One call more than there are parts, and a merge for each."""
        import torch

        new, new_logsum = self._among_new()
        cached, cached_logsum = None, None
        for gather, attend in self._over_cached:
            gather()
            piece, logsum = attend()
            if cached is None:
                cached, cached_logsum = piece, logsum
                continue
            both, both_logsum = torch.empty_like(new), torch.empty_like(new_logsum)
            self._merge(
                output=both,
                output_lse=both_logsum,
                prefix_output=cached,
                prefix_lse=cached_logsum,
                suffix_output=piece,
                suffix_lse=logsum,
            )
            cached, cached_logsum = both, both_logsum
        self._merge(
            output=self._output,
            prefix_output=cached,
            prefix_lse=cached_logsum,
            suffix_output=new,
            suffix_lse=new_logsum,
        )


def _attend(
    spec: AttentionSpec, batch: PagedBatch, part: Stretch, starts: Tensor
) -> partial[tuple[Tensor, Tensor]]:
    """What vLLM gives AITER's prefill kernel whatever the keys are."""
    operators = import_module("vllm._aiter_ops").rocm_aiter_ops
    return partial(
        operators.flash_attn_varlen_func,
        q=batch.query[part.tokens],
        cu_seqlens_q=starts,
        max_seqlen_q=part.longest_query,
        min_seqlen_q=1,
        dropout_p=0.0,
        softmax_scale=batch.softmax_scale,
        window_size=window_size(spec),
        alibi_slopes=batch.alibi_slopes,
        sink_ptr=batch.sinks,
    )


def _gather(
    batch: PagedBatch, part: Stretch, fetch: Fetch, key: Tensor, value: Tensor
) -> Callable[[], object]:
    k_scale, v_scale = scales(batch)
    return partial(
        import_module("vllm.v1.attention.backends.rocm_aiter_fa").cp_mha_gather_cache,
        key_cache=batch.key_cache,
        value_cache=batch.value_cache,
        key=key,
        value=value,
        block_tables=batch.block_table[part.rows],
        k_scales=k_scale,
        v_scales=v_scale,
        cu_seqlens_kv=fetch.starts,
        token_to_batch=fetch.request_of_token,
        seq_starts=fetch.first,
        dequant=batch.k_scale is not None,
        kv_cache_layout="NHD",
        total_tokens=fetch.tokens,
    )


@lru_cache(maxsize=1)
def _workspace(device: torch.device, dtype: torch.dtype, shape: tuple[int, int]) -> Tensor:
    """Keys and values of a part of a context. All launches share it, as a model's layers do: each
    reads what it has just fetched.
    """
    import torch

    return torch.empty((2, FETCHED_AT_ONCE, *shape), dtype=dtype, device=device)


def _one_after_the_other(*calls: Callable[[], object]) -> None:
    for call in calls:
        call()
