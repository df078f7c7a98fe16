"""One kernel for every phase: its grid depends on the batch's shape and on no length in it."""

# mypy: disallow-untyped-decorators=False
# Triton ships no types.

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import triton
import triton.language as tl

from kernels_bench.backends._triton_tiles import Tile, num_stages
from kernels_bench.triton_kernels.operands import constants_of, strides_of
from kernels_bench.triton_kernels.resources import resources_of
from kernels_bench.triton_kernels.tokens import attend_tokens

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernels_bench.backends.base import PagedBatch
    from kernels_bench.spec import AttentionSpec


@triton.jit
def find_request(
    query_start_loc: tl.tensor, num_requests: tl.tensor, tile: tl.tensor, TOKENS: tl.constexpr
) -> tl.tensor:
    """The request that a tile belongs to, and its number within the request.

    Request i starts at tile `query_start_loc[i] // TOKENS + i`: no two start at the same, and each
    has room for its last, partly filled tile. At most one tile a request has nothing to do.
    """
    low = 0
    high = num_requests - 1
    while low < high:
        middle = (low + high + 1) // 2
        if tl.load(query_start_loc + middle) // TOKENS + middle <= tile:
            low = middle
        else:
            high = middle - 1
    return low, tile - tl.load(query_start_loc + low) // TOKENS - low


# One kernel for all sizes of a batch, where a size divisible by 16 would get its own.
@triton.jit(do_not_specialize=["num_requests"])
def unified_kernel(
    query: tl.tensor,
    key_cache: tl.tensor,
    value_cache: tl.tensor,
    output: tl.tensor,
    block_table: tl.tensor,
    seq_lens: tl.tensor,
    query_start_loc: tl.tensor,
    num_requests: tl.tensor,
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
    """Grid: tiles of tokens, tiles of heads."""
    request, tile = find_request(query_start_loc, num_requests, tl.program_id(0), TOKENS)
    seq_len = tl.load(seq_lens + request)
    query_begin = tl.load(query_start_loc + request)
    query_len = tl.load(query_start_loc + request + 1) - query_begin
    if (tile * TOKENS >= query_len) | (seq_len == 0):
        return
    attend_tokens(
        tile * TOKENS,
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


def bind_unified(spec: AttentionSpec, batch: PagedBatch, tile: Tile) -> Callable[[], None]:
    """A call that launches the kernel for the lengths and pages that the batch holds by then; its
    grid fits every batch of this shape.
    """
    constants = constants_of(spec, batch.pages.size, tile)
    num_requests = len(batch.seq_lens)
    # Every request may end in a tile of its own: see `find_request`.
    tiles = len(batch.query) // constants.tokens + num_requests
    grid = (tiles, spec.num_kv_heads * tile.head_tiles(constants.group_size))
    return partial(
        unified_kernel[grid],
        batch.query,
        batch.key_cache,
        batch.value_cache,
        batch.output,
        batch.block_table,
        batch.seq_lens,
        batch.query_start_loc,
        num_requests,
        *strides_of(batch),
        batch.softmax_scale,
        *constants,
        num_warps=tile.warps,
        num_stages=num_stages(tile, spec, resources_of(batch.query.device).shared_bytes),
    )
