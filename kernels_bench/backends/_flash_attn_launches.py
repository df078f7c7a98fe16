"""How FlashAttention's providers are called. All but flash-attn as vLLM's FLASH_ATTN calls its own
(vllm 0.24, v1/attention/backends/flash_attn.py).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Literal

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

    def __init__(self, make: Callable[..., Tensor], spec: AttentionSpec, batch: PagedBatch) -> None:
        self._make = partial(
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
            num_splits=_num_splits(batch),
        )
        self.metadata = self._make()
        """int32, at a fixed address"""

    def refresh(self) -> None:
        """For the lengths as they are now."""
        self.metadata.copy_(self._make())


class Scheduled:
    """A call of version 3, and the schedule that it reads."""

    def __init__(self, schedule: Schedule, call: Callable[[], object]) -> None:
        self._schedule, self._call = schedule, call

    def plan(self) -> None:
        """Make the schedule of this step."""
        self._schedule.refresh()

    def run(self) -> None:
        """The call, which writes the output."""
        self._call()


def _num_splits(batch: PagedBatch) -> int:
    """0 is the kernel's own choice: vLLM bounds it up to the largest batch it captures."""
    return MAX_SPLITS if len(batch.query) <= LARGEST_CAPTURE else 0


def vllm_flash_attn_3(spec: AttentionSpec, batch: PagedBatch) -> Launch:
    """Version 3 as vLLM ships it. One schedule serves all layers, so that vLLM makes none where
    they differ in their windows (`aot_schedule` of the metadata's builder).
    """
    import torch

    module = _vllm_build(3)
    call = partial(
        bound(module.flash_attn_varlen_func, spec, batch),
        fa_version=3,
        # The kernel takes sinks in bfloat16 alone, whatever the query's dtype.
        s_aux=None if batch.sinks is None else batch.sinks.to(torch.bfloat16),
        num_splits=_num_splits(batch),
    )
    if spec.has_mixed_windows:
        return Unplanned(partial(call, scheduler_metadata=None))
    schedule = Schedule(module.get_scheduler_metadata, spec, batch)
    return Scheduled(schedule, partial(call, scheduler_metadata=schedule.metadata))


def vllm_flash_attn_2(spec: AttentionSpec, batch: PagedBatch) -> Launch:
    """Version 2 as vLLM ships it; its splits are its own choice."""
    kernel = bound(_vllm_build(2).flash_attn_varlen_func, spec, batch)
    return Unplanned(partial(kernel, fa_version=2, alibi_slopes=batch.alibi_slopes))


def flash_attn_3(spec: AttentionSpec, batch: PagedBatch) -> Launch:
    """The flash-attn-3 package. Its operator takes the output, which its Python functions hide."""
    import torch

    module = import_module("flash_attn_interface")  # registers the operator
    chunk, window = spec.attention_chunk or 0, window_size(spec)
    schedule = Schedule(partial(module.get_scheduler_metadata, attention_chunk=chunk), spec, batch)
    call = partial(
        torch.ops.flash_attn_3.fwd,
        batch.query,
        batch.key_cache,
        batch.value_cache,
        out=batch.output,
        cu_seqlens_q=batch.query_start_loc,
        seqused_k=batch.seq_lens,
        max_seqlen_q=batch.max_query_len,
        page_table=batch.block_table,
        softmax_scale=batch.softmax_scale,
        is_causal=spec.causal,
        window_size_left=window[0],
        window_size_right=window[1],
        attention_chunk=chunk,
        softcap=spec.logit_softcap or 0.0,
        scheduler_metadata=schedule.metadata,
        num_splits=_num_splits(batch),
    )
    return Scheduled(schedule, call)


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


def _vllm_build(version: Literal[2, 3]) -> ModuleType:
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
