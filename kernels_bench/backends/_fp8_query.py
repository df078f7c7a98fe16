"""A query in fp8, for kernels that multiply in the cache's format."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from kernels_bench.backends.base import PagedBatch


class Query(Protocol):
    """What a kernel reads as its query."""

    tensor: Tensor
    """At a fixed address."""

    def refresh(self) -> None:
        """For the batch as it is now."""


class PlainQuery:
    """The batch's own."""

    def __init__(self, batch: PagedBatch) -> None:
        self.tensor = batch.query

    def refresh(self) -> None:
        """Nothing: it is the batch's."""


class Fp8Query:
    """The query over its scale, in e4m3.

    Made by `plan`, not in `run`: engines quantise before they call attention, where their compilers
    fold it into the kernel that writes the query. vllm 0.24, model_executor/layers/attention/
    attention.py, `query_quant`.
    """

    def __init__(self, batch: PagedBatch, scale: Tensor) -> None:
        import torch

        self._query, self._scale = batch.query, scale
        self.tensor = torch.empty_like(batch.query, dtype=torch.float8_e4m3fn)

    def refresh(self) -> None:
        """Quantise what is there now."""
        self.tensor.copy_(self._query / self._scale)


def query_for(batch: PagedBatch) -> Query:
    """In fp8 where the cache is."""
    if batch.q_scale is None or batch.key_cache.element_size() > 1:
        return PlainQuery(batch)
    return Fp8Query(batch, batch.q_scale)


class Quantised:
    """A call whose query is made anew in every step where it is in fp8, ahead of its own plan."""

    def __init__(
        self, query: Query, call: Callable[[], object], plan: Callable[[], object] | None = None
    ) -> None:
        self._query, self._call, self._plan = query, call, plan

    def plan(self) -> None:
        """The query of this step, then what the call plans."""
        self._query.refresh()
        if self._plan is not None:
            self._plan()

    def run(self) -> None:
        """The call, which writes the output."""
        self._call()


def scales_of(batch: PagedBatch, num_kv_heads: int) -> tuple[Tensor | None, ...]:
    """Of query, key and value, [B, Hkv] each, as FlashAttention 3 takes them; None for a cache in
    the model's dtype.
    """
    shape = (len(batch.seq_lens), num_kv_heads)
    return tuple(
        None if scale is None else scale.expand(shape)
        for scale in (batch.q_scale, batch.k_scale, batch.v_scale)
    )
