"""TensorRT-LLM's kernels as FlashInfer wraps them: XQA, and on Blackwell "trtllm-gen", which vLLM's
FLASHINFER calls there (vllm 0.24, v1/attention/backends/flashinfer.py).

trtllm-gen ran on no GPU here: it is called against the recorded signatures.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
from importlib import import_module
from typing import TYPE_CHECKING

from kernels_bench.backends._flashinfer_launches import (
    WORKSPACE_BYTES,
    flashinfer,
    num_leading_decodes,
    window_left,
)
from kernels_bench.backends._fp8_query import Quantised, query_for
from kernels_bench.backends._launches import Unplanned
from kernels_bench.workload import VERIFY_MAX_NEW_TOKENS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch
    from torch import Tensor

    from kernels_bench.backends.base import Launch, PagedBatch
    from kernels_bench.spec import AttentionSpec


def xqa(spec: AttentionSpec, batch: PagedBatch) -> Launch:
    """One call, which reads lengths and pages on the device. The query stays in its dtype, also
    beside an fp8 cache.
    """
    flashinfer()
    decode = import_module("flashinfer.decode").xqa_batch_decode_with_kv_cache
    call = partial(
        decode,
        query=batch.query,
        kv_cache=(batch.key_cache, batch.value_cache),
        workspace_buffer=_zeroed_workspace(batch.query.device),
        block_tables=batch.block_table,
        seq_lens=batch.seq_lens,
        max_seq_len=batch.max_seq_len,
        bmm1_scale=batch.softmax_scale * _number(batch.k_scale),
        bmm2_scale=_number(batch.v_scale),
        window_left=window_left(spec),
        out=batch.output,
        sinks=batch.sinks,
        kv_layout=batch.pages.layout,
    )
    return Unplanned(call)


def trtllm_gen(spec: AttentionSpec, batch: PagedBatch) -> Launch:
    """Requests of one number of new tokens, up to a speculative verify's, go to the decode kernel;
    of other batches the decodes that lead them do, and what follows to the context kernel.
    """
    flashinfer()
    query = query_for(batch)
    q_scale = 1.0 if query.tensor is batch.query else _number(batch.q_scale)
    caches = Caches(
        kv_cache=(batch.key_cache, batch.value_cache),
        workspace_buffer=_zeroed_workspace(batch.query.device),
        bmm1_scale=batch.softmax_scale * _number(batch.k_scale) * q_scale,
        bmm2_scale=_number(batch.v_scale),
    )
    rows, tokens_each = _decoded(batch)
    calls: list[Callable[[], object]] = []
    prompts = None
    if rows:
        calls.append(_decode(spec, batch, query.tensor, caches, rows, tokens_each))
    if rows < len(batch.seq_lens):
        prompts = Prompts(batch, rows)
        calls.append(_context(spec, batch, query.tensor, caches, prompts))
    return Quantised(query, partial(_run_all, calls), None if prompts is None else prompts.refresh)


@dataclass(frozen=True)
class Caches:
    """What both kernels are given under the same names."""

    kv_cache: tuple[Tensor, Tensor]
    workspace_buffer: Tensor
    bmm1_scale: float
    """Of the logits: softmax, query and key."""
    bmm2_scale: float
    """Of the values."""


class Prompts:
    """The requests from a row on, in running totals of tokens and of pages."""

    def __init__(self, batch: PagedBatch, first_row: int) -> None:
        self._batch, self._first_row = batch, first_row
        self.token_starts = batch.query_start_loc[first_row:] - batch.query_start_loc[first_row]
        self.page_starts = self.token_starts.new_zeros(len(self.token_starts))
        self.refresh()

    def refresh(self) -> None:
        """For the lengths as they are now, where the call reads them."""
        import torch

        batch, first, size = self._batch, self._first_row, self._batch.pages.size
        starts = batch.query_start_loc
        self.token_starts.copy_(starts[first:] - starts[first])
        counts = (batch.seq_lens[first:] + size - 1) // size
        ends = self.page_starts[1:]
        torch.cumsum(counts, 0, dtype=ends.dtype, out=ends)


def _decode(
    spec: AttentionSpec,
    batch: PagedBatch,
    query: Tensor,
    caches: Caches,
    rows: int,
    tokens_each: int,
) -> Callable[[], object]:
    tokens = rows * tokens_each
    return partial(
        import_module("flashinfer.decode").trtllm_batch_decode_with_kv_cache,
        query=query[:tokens],
        kv_cache=caches.kv_cache,
        workspace_buffer=caches.workspace_buffer,
        block_tables=batch.block_table[:rows],
        seq_lens=batch.seq_lens[:rows],
        max_seq_len=batch.max_seq_len,
        bmm1_scale=caches.bmm1_scale,
        bmm2_scale=caches.bmm2_scale,
        window_left=window_left(spec),
        sinks=batch.sinks,
        kv_layout=batch.pages.layout,
        out=batch.output[:tokens],
        q_len_per_req=tokens_each,
    )


def _context(
    spec: AttentionSpec, batch: PagedBatch, query: Tensor, caches: Caches, prompts: Prompts
) -> Callable[[], object]:
    rows = len(batch.seq_lens) - len(prompts.token_starts) + 1
    first_token = int(batch.query_start_loc_cpu[rows])
    return partial(
        import_module("flashinfer.prefill").trtllm_batch_context_with_kv_cache,
        query=query[first_token:],
        kv_cache=caches.kv_cache,
        workspace_buffer=caches.workspace_buffer,
        block_tables=batch.block_table[rows:],
        seq_lens=batch.seq_lens[rows:],
        max_q_len=batch.max_query_len,
        max_kv_len=batch.max_seq_len,
        bmm1_scale=caches.bmm1_scale,
        bmm2_scale=caches.bmm2_scale,
        batch_size=len(batch.seq_lens) - rows,
        cum_seq_lens_q=prompts.token_starts,
        cum_seq_lens_kv=prompts.page_starts,
        window_left=window_left(spec),
        sinks=batch.sinks,
        kv_layout=batch.pages.layout,
        out=batch.output[first_token:],
    )


def _run_all(calls: Sequence[Callable[[], object]]) -> None:
    for call in calls:
        call()


def _decoded(batch: PagedBatch) -> tuple[int, int]:
    """How many rows the decode kernel takes, and the new tokens of each."""
    lens = batch.query_start_loc_cpu.diff()
    first = int(lens[0])
    if first <= VERIFY_MAX_NEW_TOKENS and bool((lens == first).all()):
        return len(lens), first
    return num_leading_decodes(batch), 1


def _number(scale: Tensor | None) -> float:
    """On the host, as these calls take it."""
    return 1.0 if scale is None else float(scale)


@lru_cache
def _zeroed_workspace(device: torch.device) -> Tensor:
    """Partial results and counters, which each call leaves at zero as it must find them; so apart
    from the wrappers' workspace.
    """
    import torch

    return torch.zeros(WORKSPACE_BYTES, dtype=torch.uint8, device=device)
