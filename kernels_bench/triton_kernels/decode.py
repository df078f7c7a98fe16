"""One new token a request: the keys are cut into segments, and a second kernel puts them together.

A decode has few rows, so without the cut most of a GPU would idle. The number of segments is fixed
when a launch is bound, from maxima; how long each is follows from the request's length.
"""

# mypy: disallow-untyped-decorators=False
# Triton ships no types.

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import triton
import triton.language as tl

from kernels_bench.triton_kernels.attend import attend
from kernels_bench.triton_kernels.operands import constants_of, strides_of
from kernels_bench.triton_kernels.resources import workspace
from kernels_bench.triton_kernels.segments import bind_reduce, segment_keys

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from kernels_bench.backends._triton_tiles import Tile
    from kernels_bench.backends.base import PagedBatch
    from kernels_bench.spec import AttentionSpec

_NO_PARTIALS = (None, None, None)


@triton.jit
def decode_kernel(
    requests: tl.tensor,
    partial_values: tl.tensor,
    partial_peaks: tl.tensor,
    partial_totals: tl.tensor,
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
    num_heads: tl.tensor,
    scale: tl.tensor,
    GROUP_SIZE: tl.constexpr,
    HEADS: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    HEAD_DIM_PADDED: tl.constexpr,
    VALUE_DIM: tl.constexpr,
    VALUE_DIM_PADDED: tl.constexpr,
    PAGE_SIZE: tl.constexpr,
    WINDOW: tl.constexpr,
    SOFT_CAP: tl.constexpr,
    SEGMENTS: tl.constexpr,
) -> None:
    """Grid: slots of `requests`, tiles of heads, segments. A slot holds a request, or -1.

    With one segment the output is complete; with more, the partial results are [slot, head,
    segment] and their values not yet divided.
    """
    slot = tl.program_id(0)
    request = tl.load(requests + slot)
    if request < 0:
        return
    seq_len = tl.load(seq_lens + request)
    token = tl.load(query_start_loc + request)
    if (seq_len == 0) | (tl.load(query_start_loc + request + 1) == token):
        return
    segment = tl.program_id(2)
    first_key, per_segment = segment_keys(seq_len, KEYS, WINDOW, SEGMENTS)
    first_key += segment * per_segment
    end_key = tl.minimum(first_key + per_segment, seq_len)
    if first_key >= end_key:
        return

    head_tiles: tl.constexpr = (GROUP_SIZE + HEADS - 1) // HEADS
    head_tile = tl.program_id(1)
    kv_head = head_tile // head_tiles
    rows = tl.arange(0, ROWS)
    head_in_group = (head_tile % head_tiles) * HEADS + rows
    real = (rows < HEADS) & (head_in_group < GROUP_SIZE)
    head = kv_head * GROUP_SIZE + head_in_group
    dims = tl.arange(0, HEAD_DIM_PADDED)
    query_rows = query + token.to(tl.int64) * query_token_stride + head * query_head_stride
    query_tile = tl.load(
        query_rows[:, None] + dims[None, :],
        mask=real[:, None] & (dims < HEAD_DIM)[None, :],
        other=0.0,
    )

    # The newest token sees every key of its segment: the range is the mask.
    weighted, peak, total = attend(
        query_tile,
        rows,
        first_key,
        end_key,
        key_cache + kv_head * key_head_stride,
        value_cache + kv_head * value_head_stride,
        block_table + request * table_stride,
        key_page_stride,
        key_slot_stride,
        value_page_stride,
        value_slot_stride,
        scale,
        HEAD_DIM,
        VALUE_DIM,
        VALUE_DIM_PADDED,
        PAGE_SIZE,
        KEYS,
        False,
        None,
        SOFT_CAP,
    )

    value_dims = tl.arange(0, VALUE_DIM_PADDED)
    stored = real[:, None] & (value_dims < VALUE_DIM)[None, :]
    if SEGMENTS == 1:
        output_rows = output + token.to(tl.int64) * output_token_stride + head * output_head_stride
        result = weighted / total[:, None]
        tl.store(
            output_rows[:, None] + value_dims[None, :],
            result.to(output.dtype.element_ty),
            mask=stored,
        )
    else:
        place = (slot * num_heads + head) * SEGMENTS + segment
        tl.store(partial_peaks + place, peak, mask=real)
        tl.store(partial_totals + place, total, mask=real)
        partial_rows = partial_values + place * VALUE_DIM
        tl.store(partial_rows[:, None] + value_dims[None, :], weighted, mask=stored)


def bind_decode(
    spec: AttentionSpec,
    batch: PagedBatch,
    tile: Tile,
    stages: int,
    segments: int,
    requests: Tensor,
) -> tuple[Callable[[], None], ...]:
    """The calls, in order, that answer the requests which `requests` names by then."""
    constants = constants_of(spec, batch.pages.size, tile)
    strides = strides_of(batch)
    slots, head_tiles = len(requests), tile.head_tiles(constants.group_size)
    places = slots * spec.num_q_heads * segments
    partials = _partials(spec, batch, places) if segments > 1 else None
    decode = partial(
        decode_kernel[slots, spec.num_kv_heads * head_tiles, segments],
        requests,
        *(partials or _NO_PARTIALS),
        batch.query,
        batch.key_cache,
        batch.value_cache,
        batch.output,
        batch.block_table,
        batch.seq_lens,
        batch.query_start_loc,
        *strides,
        spec.num_q_heads,
        batch.softmax_scale,
        GROUP_SIZE=constants.group_size,
        HEADS=constants.heads,
        ROWS=constants.rows,
        KEYS=constants.keys,
        HEAD_DIM=constants.head_dim,
        HEAD_DIM_PADDED=constants.head_dim_padded,
        VALUE_DIM=constants.value_dim,
        VALUE_DIM_PADDED=constants.value_dim_padded,
        PAGE_SIZE=constants.page_size,
        WINDOW=constants.window,
        SOFT_CAP=constants.soft_cap,
        SEGMENTS=segments,
        num_warps=tile.warps,
        num_stages=stages,
    )
    if partials is None:
        return (decode,)
    return decode, bind_reduce(spec, batch, tile, segments, requests, partials)


def _partials(spec: AttentionSpec, batch: PagedBatch, places: int) -> tuple[Tensor, ...]:
    """Values, peaks and totals in one scratch buffer."""
    scratch = workspace(batch.query.device, places * (spec.value_dim + 2))
    peaks, totals = places * spec.value_dim, places * (spec.value_dim + 1)
    return scratch[:peaks], scratch[peaks:totals], scratch[totals:]
