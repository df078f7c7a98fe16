"""Requests of more than one new token, tile by tile, as a plan sorted them out."""

# mypy: disallow-untyped-decorators=False
# Triton ships no types.

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import triton
import triton.language as tl

from kernels_bench.triton_kernels.operands import constants_of, strides_of
from kernels_bench.triton_kernels.tokens import attend_tokens

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from kernels_bench.backends._triton_tiles import Tile
    from kernels_bench.backends.base import PagedBatch
    from kernels_bench.spec import AttentionSpec


@triton.jit
def prefill_kernel(
    tiles: tl.tensor,
    query: tl.tensor,
    key_cache: tl.tensor,
    value_cache: tl.tensor,
    output: tl.tensor,
    block_table: tl.tensor,
    seq_lens: tl.tensor,
    query_start_loc: tl.tensor,
    table_stride: tl.tensor,
    query_token_stride: tl.tensor,
    query_head_stride: tl.tensor,
    key_page_stride: tl.tensor,
    key_slot_stride: tl.tensor,
    key_head_stride: tl.tensor,
    value_page_stride: tl.tensor,
    value_slot_stride: tl.tensor,
    value_head_stride: tl.tensor,
    output_token_stride: tl.tensor,
    output_head_stride: tl.tensor,
    scale: tl.tensor,
    GROUP_SIZE: tl.constexpr,
    HEADS: tl.constexpr,
    TOKENS: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    HEAD_DIM_PADDED: tl.constexpr,
    VALUE_DIM: tl.constexpr,
    VALUE_DIM_PADDED: tl.constexpr,
    PAGE_SIZE: tl.constexpr,
    CAUSAL: tl.constexpr,
    WINDOW: tl.constexpr,
    SOFT_CAP: tl.constexpr,
) -> None:
    """Grid: tiles of tokens, tiles of heads.

    `tiles` is [tiles, 2]: a request and its first token in the tile, or -1 for no tile.
    """
    tile = tiles + 2 * tl.program_id(0)
    request = tl.load(tile)
    if request < 0:
        return
    seq_len = tl.load(seq_lens + request)
    if seq_len == 0:
        return
    query_begin = tl.load(query_start_loc + request)
    query_len = tl.load(query_start_loc + request + 1) - query_begin
    attend_tokens(
        tl.load(tile + 1),
        tl.program_id(1),
        query_begin,
        query_len,
        seq_len,
        query,
        key_cache,
        value_cache,
        output,
        block_table + request * table_stride,
        query_token_stride,
        query_head_stride,
        key_page_stride,
        key_slot_stride,
        key_head_stride,
        value_page_stride,
        value_slot_stride,
        value_head_stride,
        output_token_stride,
        output_head_stride,
        scale,
        GROUP_SIZE,
        HEADS,
        TOKENS,
        ROWS,
        KEYS,
        HEAD_DIM,
        HEAD_DIM_PADDED,
        VALUE_DIM,
        VALUE_DIM_PADDED,
        PAGE_SIZE,
        CAUSAL,
        WINDOW,
        SOFT_CAP,
    )


def bind_prefill(
    spec: AttentionSpec, batch: PagedBatch, tile: Tile, stages: int, tiles: Tensor
) -> Callable[[], None]:
    """A call that launches the kernel for the tiles that `tiles` names by then."""
    constants = constants_of(spec, batch.pages.size, tile)
    grid = (len(tiles), spec.num_kv_heads * tile.head_tiles(constants.group_size))
    return partial(
        prefill_kernel[grid],
        tiles,
        batch.query,
        batch.key_cache,
        batch.value_cache,
        batch.output,
        batch.block_table,
        batch.seq_lens,
        batch.query_start_loc,
        *strides_of(batch),
        batch.softmax_scale,
        *constants,
        num_warps=tile.warps,
        num_stages=stages,
    )
