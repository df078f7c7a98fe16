"""What torch's own backends share: the limits of a plain tensor call, padding, and whole pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernels_bench.backends._needs import lacks, needs_encoder_phase, needs_torch
from kernels_bench.gather import gather_pages
from kernels_bench.spec import AttentionSpec, Device, Pages, Phase, Reason, Stack

if TYPE_CHECKING:
    from torch import Tensor

    from kernels_bench.backends.base import PagedBatch

ANY_PAGES = tuple(Pages(size) for size in (16, 32, 64, 128, 256))
"""A gather takes every size; these are the usual ones."""


def torch_refusals(device: Device, spec: AttentionSpec, phase: Phase, stack: Stack) -> list[Reason]:
    """Why no call of torch can run this layer here."""
    return [
        *needs_torch(device, stack),
        *lacks(spec, "mla"),
        *needs_encoder_phase(spec, phase),
    ]


class GatheredBatch:
    """Keys and values of the batch's longest request, for every request."""

    def __init__(self, batch: PagedBatch) -> None:
        self._batch = batch
        per_row = batch.pages.count_for(int(batch.seq_lens_cpu.max()))
        self._block_table = batch.block_table[:, :per_row]  # an engine's table is wider
        self.num_keys = per_row * batch.pages.size

    def gather(self) -> tuple[Tensor, Tensor]:
        """As `gather_both`."""
        return gather_both(self._batch, self._block_table)


def gather_both(batch: PagedBatch, block_table: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values of a table's pages: [B, Hkv, k, D] and [B, Hkv, k, Dv]."""
    key = gather_pages(batch.key_cache, block_table, batch.pages)
    return key, gather_pages(batch.value_cache, block_table, batch.pages)


class PaddedQuery:
    """Where the tokens of a ragged batch stand when every request is as wide as the widest."""

    def __init__(self, batch: PagedBatch) -> None:
        import torch

        starts = batch.query_start_loc
        new_tokens = starts[1:] - starts[:-1]
        width = int((batch.query_start_loc_cpu[1:] - batch.query_start_loc_cpu[:-1]).max())
        offsets = torch.arange(width, device=starts.device)
        self.cached = batch.seq_lens - new_tokens
        """[B]"""
        self.positions = self.cached[:, None] + offsets
        """[B, width], absolute"""
        is_token = offsets < new_tokens[:, None]
        index = starts[:-1, None] + offsets
        self._token_of_place = torch.where(is_token, index, torch.zeros_like(index))
        self._place_of_token = is_token.flatten().nonzero()[:, 0]

    def pad(self, query: Tensor) -> Tensor:
        """[T, H, D] -> [B, H, width, D]; the padding repeats a token."""
        return query[self._token_of_place].transpose(1, 2)

    def unpad(self, padded: Tensor, output: Tensor) -> None:
        """[B, H, width, D] -> [T, H, D]; the tokens of a batch's padded rows stay as they are."""
        tokens = padded.transpose(1, 2).flatten(0, 1)[self._place_of_token]
        output[: len(tokens)] = tokens
