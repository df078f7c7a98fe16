"""How vLLM's FLASH_ATTN calls its builds of FlashAttention: vllm 0.24,
v1/attention/backends/flash_attn.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from kernels_bench.backends._flash_attn_kernels import Version
from kernels_bench.backends._fp8_query import Quantised, query_for, scales_of
from kernels_bench.backends._launches import Unplanned
from kernels_bench.backends._vllm import LARGEST_CAPTURE, bound, window_size

if TYPE_CHECKING:
    from torch import Tensor

    from kernels_bench.backends.base import Launch, PagedBatch
    from kernels_bench.spec import AttentionSpec

MAX_SPLITS = 32
"""vLLM's `flash_attn_max_num_splits_for_cuda_graph`: bounds the buffers that a graph holds."""


class Schedule:
    """Version 3's division of the work, made once a step.

    A graph that was captured reads it where it was, so it is refreshed in place. Its length depends
    on the number of requests alone, which a batch does not change.
    """

    def __init__(self, make: Callable[[], Tensor]) -> None:
        self._make = make
        self.metadata = make()
        """int32, at a fixed address"""

    def refresh(self) -> None:
        """For the lengths as they are now."""
        self.metadata.copy_(self._make())


def schedule_of(make: Callable[..., Tensor], spec: AttentionSpec, batch: PagedBatch) -> Schedule:
    """As vLLM asks its own build for one, and anybody the package."""
    return Schedule(
        partial(
            make,
            batch_size=len(batch.seq_lens),
            max_seqlen_q=batch.max_query_len,
            max_seqlen_k=batch.max_seq_len,
            num_heads_q=spec.num_q_heads,
            num_heads_kv=spec.num_kv_heads,
            headdim=spec.head_dim,
            cache_seqlens=batch.seq_lens,
            qkv_dtype=batch.key_cache.dtype,
            cu_seqlens_q=batch.query_start_loc,
            page_size=batch.pages.size,
            causal=spec.causal,
            window_size=window_size(spec),
            num_splits=num_splits(spec, batch),
        )
    )


def num_splits(spec: AttentionSpec, batch: PagedBatch) -> int:
    """0 is the kernel's own choice: vLLM bounds it up to the largest batch it captures."""
    if spec.batch_invariant:
        return 1
    return MAX_SPLITS if len(batch.query) <= LARGEST_CAPTURE else 0


def vllm_flash_attn_3(spec: AttentionSpec, batch: PagedBatch) -> Launch:
    """Version 3 as vLLM ships it. One schedule serves all layers, so that vLLM makes none where
    they differ in their windows (`aot_schedule` of the metadata's builder), nor where a result must
    not depend on the batch.
    """
    module, query = _vllm_build(3), query_for(batch)
    q_scale, k_scale, v_scale = scales_of(batch, spec.num_kv_heads)
    call = partial(
        bound(module.flash_attn_varlen_func, spec, batch),
        q=query.tensor,
        q_descale=q_scale,
        k_descale=k_scale,
        v_descale=v_scale,
        fa_version=3,
        s_aux=in_bfloat16(batch.sinks),
        num_splits=num_splits(spec, batch),
    )
    if spec.has_mixed_windows or spec.batch_invariant:
        return Quantised(query, partial(call, scheduler_metadata=None))
    schedule = schedule_of(module.get_scheduler_metadata, spec, batch)
    return Quantised(query, partial(call, scheduler_metadata=schedule.metadata), schedule.refresh)


def vllm_flash_attn_2(spec: AttentionSpec, batch: PagedBatch) -> Launch:
    """Version 2 as vLLM ships it; its splits are its own choice, unless they must not change."""
    kernel = bound(_vllm_build(2).flash_attn_varlen_func, spec, batch)
    splits = 1 if spec.batch_invariant else 0
    return Unplanned(
        partial(kernel, fa_version=2, alibi_slopes=batch.alibi_slopes, num_splits=splits)
    )


def vllm_flash_attn_4(spec: AttentionSpec, batch: PagedBatch) -> Launch:
    """Version 4 as vLLM ships it: no schedule, and splits of its own choice."""
    kernel = bound(_vllm_build(4).flash_attn_varlen_func, spec, batch)
    return Unplanned(partial(kernel, fa_version=4, s_aux=in_bfloat16(batch.sinks), num_splits=0))


def in_bfloat16(sinks: Tensor | None) -> Tensor | None:
    """The only dtype that versions 3 and 4 take sinks in, whatever the query's."""
    import torch

    return None if sinks is None else sinks.to(torch.bfloat16)


def _vllm_build(version: Version) -> ModuleType:
    """vLLM's module, with that version's binary in it.

    Raises:
        ImportError: this build of vLLM comes without it, or it does not load here.
    """
    interface = import_module("vllm.vllm_flash_attn.flash_attn_interface")
    if not getattr(interface, f"FA{version}_AVAILABLE"):
        why = str(getattr(interface, f"FA{version}_UNAVAILABLE_REASON")).partition("\n")[0]
        raise ImportError(
            f"vllm's FlashAttention {version} does not load: {why}; install a vllm built with it"
        )
    return import_module("vllm.vllm_flash_attn")
