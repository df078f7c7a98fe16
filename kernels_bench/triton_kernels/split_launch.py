"""Launches of the kernels for decodes and for everything else, alone or together."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from kernels_bench.backends._triton_tiles import Tile, num_stages
from kernels_bench.triton_kernels.decode import bind_decode
from kernels_bench.triton_kernels.prefill import bind_prefill
from kernels_bench.triton_kernels.resources import resources_of
from kernels_bench.triton_kernels.split_plan import EMPTY, num_segments, sort_out
from kernels_bench.workload import VERIFY_MAX_NEW_TOKENS

if TYPE_CHECKING:
    from torch import Tensor

    from kernels_bench.backends.base import PagedBatch
    from kernels_bench.spec import AttentionSpec


class DecodeLaunch:
    """At most one new token a request: all of them are decodes, and nothing is to be sorted."""

    def __init__(self, spec: AttentionSpec, batch: PagedBatch, tile: Tile) -> None:
        requests = torch.arange(len(batch.seq_lens), dtype=torch.int32, device=batch.query.device)
        self._calls = _bind_decode(spec, batch, tile, requests)

    def plan(self) -> None:
        """Nothing: the kernels read lengths and pages when they run."""

    def run(self) -> None:
        """The segments, then their reduction."""
        for call in self._calls:
            call()


class SplitLaunch:
    """Requests go to the kernel that suits them, by tables that a plan fills."""

    def __init__(self, spec: AttentionSpec, batch: PagedBatch, prefill: Tile, decode: Tile) -> None:
        self._batch = batch
        self._tokens = prefill.tokens(spec.num_q_heads // spec.num_kv_heads)
        # In a captured batch of drafts a single token is a short draft: one kernel for them all.
        self._has_decodes = batch.max_query_len > VERIFY_MAX_NEW_TOKENS
        num_requests, device = len(batch.seq_lens), batch.query.device
        num_tiles = len(batch.query) // self._tokens + num_requests
        # Both tables in one tensor, so that a plan copies once; the second starts on 16 bytes.
        self._split_at = 2 * (num_tiles + num_tiles % 2)
        self._table_cpu = torch.full((self._split_at + num_requests,), EMPTY, dtype=torch.int32)
        self._table = self._table_cpu.to(device, copy=True)
        tiles, requests = self._table[: self._split_at].view(-1, 2), self._table[self._split_at :]
        stages = num_stages(prefill, spec, resources_of(device).shared_bytes)
        self._prefill = (bind_prefill(spec, batch, prefill, stages, tiles),)
        self._decode = _bind_decode(spec, batch, decode, requests) if self._has_decodes else ()
        self._calls: tuple[Callable[[], None], ...] = self._prefill

    def plan(self) -> None:
        """Sort the requests out; a kernel that gets none is not launched."""
        table = self._table_cpu.numpy()
        num_decodes, num_tiles = sort_out(
            self._batch.query_start_loc_cpu.numpy(),
            self._tokens,
            decodes=table[self._split_at :],
            tiles=table[: self._split_at].reshape(-1, 2),
            has_decodes=self._has_decodes,
        )
        # From pageable memory: the driver has taken the bytes when the call returns, and the next
        # plan may overwrite them.
        self._table.copy_(self._table_cpu, non_blocking=True)
        if self._has_decodes:  # else one kernel takes all, which a captured graph relies on
            others = self._prefill if num_tiles else ()
            self._calls = (*others, *self._decode) if num_decodes else others

    def run(self) -> None:
        """The prefill kernel, then the decodes' two."""
        for call in self._calls:
            call()


def _bind_decode(
    spec: AttentionSpec, batch: PagedBatch, tile: Tile, requests: Tensor
) -> tuple[Callable[[], None], ...]:
    """With as many segments as the maxima ask for, so that a captured grid stays right."""
    resources = resources_of(batch.query.device)
    head_tiles = spec.num_kv_heads * tile.head_tiles(spec.num_q_heads // spec.num_kv_heads)
    window = spec.sliding_window
    longest = batch.max_seq_len if window is None else min(batch.max_seq_len, window)
    segments = num_segments(
        len(requests) * head_tiles, resources.multiprocessors, longest, tile.keys
    )
    stages = num_stages(tile, spec, resources.shared_bytes)
    return bind_decode(spec, batch, tile, stages, segments, requests)
