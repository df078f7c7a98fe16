"""What the kernels take besides tensors, in the order of their parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kernels_bench.backends._triton_tiles import Tile, padded_dim

if TYPE_CHECKING:
    from torch import Tensor

    from kernels_bench.backends.base import PagedBatch
    from kernels_bench.spec import AttentionSpec


class Strides(NamedTuple):
    """In elements. The last axis of every tensor is contiguous."""

    table: int
    query_token: int
    query_head: int
    key_page: int
    key_slot: int
    key_head: int
    value_page: int
    value_slot: int
    value_head: int
    output_token: int
    output_head: int


class Constants(NamedTuple):
    """What a kernel is compiled for."""

    group_size: int
    """Query heads a KV head."""
    heads: int
    """Of a group, in one tile."""
    tokens: int
    """In one tile."""
    rows: int
    keys: int
    head_dim: int
    head_dim_padded: int
    value_dim: int
    value_dim_padded: int
    page_size: int
    causal: bool
    window: int | None
    soft_cap: float | None


def strides_of(batch: PagedBatch) -> Strides:
    """Of the caches by what their axes mean, whatever the order of a page's axes."""
    query, output, table = batch.query, batch.output, batch.block_table
    for tensor in (query, output, table, batch.key_cache, batch.value_cache):
        if tensor.stride(-1) != 1:
            raise ValueError(
                f"strides {tensor.stride()}: the kernels need a contiguous last axis; call"
                " contiguous() on the tensor first"
            )
    return Strides(
        table.stride(0),
        query.stride(0),
        query.stride(1),
        *_cache_strides(batch.key_cache, batch),
        *_cache_strides(batch.value_cache, batch),
        output.stride(0),
        output.stride(1),
    )


def constants_of(spec: AttentionSpec, page_size: int, tile: Tile) -> Constants:
    """The layer's, with what of it one tile takes."""
    group_size = spec.num_q_heads // spec.num_kv_heads
    return Constants(
        group_size,
        tile.heads(group_size),
        tile.tokens(group_size),
        tile.rows,
        tile.keys,
        spec.head_dim,
        padded_dim(spec.head_dim),
        spec.value_dim,
        padded_dim(spec.value_dim),
        page_size,
        spec.causal,
        spec.sliding_window,
        spec.logit_softcap,
    )


def _cache_strides(cache: Tensor, batch: PagedBatch) -> tuple[int, int, int]:
    """Page, slot, head."""
    page, second, third, _ = cache.stride()
    return (page, second, third) if batch.pages.layout == "NHD" else (page, third, second)
