"""Keys and values of a batch's new tokens as plain tensors, for kernels that want them beside the
cache.

An engine has them at hand, since the layer has just computed them; here they lie in the pages
alone. So `plan` copies them, and no `run` pays for it. They come cold from memory all the same,
where an engine's have just been written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from kernels_bench.backends.base import PagedBatch
    from kernels_bench.spec import AttentionSpec


class NewTokens:
    """[T, Hkv, D] each, in the model's dtype and at fixed addresses; pages are NHD."""

    def __init__(self, spec: AttentionSpec, batch: PagedBatch) -> None:
        import torch

        self._batch = batch
        query = batch.query
        shape = (len(query), spec.num_kv_heads)
        self.key = query.new_empty((*shape, spec.head_dim))
        self.value = query.new_empty((*shape, spec.value_dim))
        self._tokens = torch.arange(len(query), dtype=torch.int32, device=query.device)

    def refresh(self) -> None:
        """Copy what the pages hold now. Looks nothing up on the host, which would have to wait."""
        import torch

        batch, tokens = self._batch, self._tokens
        ends = batch.query_start_loc[1:]
        rows = torch.searchsorted(ends, tokens, right=True)
        rows.clamp_(max=len(ends) - 1)  # tokens of padded rows: anybody's will do
        positions = (batch.seq_lens[rows] - ends[rows] + tokens).clamp_(min=0)
        pages = batch.block_table[rows, positions // batch.pages.size]
        slots = positions % batch.pages.size
        for new, cache, scale in (
            (self.key, batch.key_cache, batch.k_scale),
            (self.value, batch.value_cache, batch.v_scale),
        ):
            numbers = _bits(cache)[pages, slots].view(cache.dtype)
            new.copy_(numbers if scale is None else numbers.float() * scale)


class Beside:
    """A call that reads the new tokens."""

    def __init__(self, new_tokens: NewTokens, call: Callable[[], object]) -> None:
        self._new_tokens, self._call = new_tokens, call

    def plan(self) -> None:
        """Copy them: an engine has nothing to do here."""
        self._new_tokens.refresh()

    def run(self) -> None:
        """The call, which writes the output."""
        self._call()


def _bits(cache: Tensor) -> Tensor:
    """fp8 as bytes, since torch indexes few tensors of fp8; all else as it is."""
    import torch

    return cache.view(torch.uint8) if cache.element_size() == 1 else cache
