"""One tile of a request's new tokens and a KV head's query heads, from queries to output."""

# mypy: disallow-untyped-decorators=False
# Triton ships no types.

from __future__ import annotations

import triton
import triton.language as tl

from kernels_bench.triton_kernels.attend import attend


@triton.jit
def attend_tokens(
    first_token: tl.tensor,
    head_tile: tl.tensor,
    query_begin: tl.tensor,
    query_len: tl.tensor,
    seq_len: tl.tensor,
    query: tl.tensor,
    key_cache: tl.tensor,
    value_cache: tl.tensor,
    output: tl.tensor,
    table_row: tl.tensor,
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
    """Row r is token `first_token + r // HEADS` of the request and head `r % HEADS` of the tile's.

    A group wider than the tile is cut into several head tiles. Tokens count within the request.
    """
    head_tiles: tl.constexpr = (GROUP_SIZE + HEADS - 1) // HEADS
    kv_head = head_tile // head_tiles
    rows = tl.arange(0, ROWS)
    head_in_group = (head_tile % head_tiles) * HEADS + rows % HEADS
    token = first_token + rows // HEADS
    real = (rows < TOKENS * HEADS) & (token < query_len) & (head_in_group < GROUP_SIZE)
    head = kv_head * GROUP_SIZE + head_in_group
    # int64: a long prefill of many heads comes near 2**31 elements.
    batch_token = (query_begin + token).to(tl.int64)

    dims = tl.arange(0, HEAD_DIM_PADDED)
    query_rows = query + batch_token * query_token_stride + head * query_head_stride
    query_tile = tl.load(
        query_rows[:, None] + dims[None, :],
        mask=real[:, None] & (dims < HEAD_DIM)[None, :],
        other=0.0,
    )

    cached = seq_len - query_len
    first_key = 0
    if WINDOW is not None:
        first_key = tl.maximum(cached + first_token - WINDOW + 1, 0)
    end_key = seq_len
    if CAUSAL:
        end_key = cached + tl.minimum(first_token + TOKENS, query_len)
    weighted, _, total = attend(
        query_tile,
        cached + token,
        first_key,
        end_key,
        key_cache + kv_head * key_head_stride,
        value_cache + kv_head * value_head_stride,
        table_row,
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
        CAUSAL,
        WINDOW,
        SOFT_CAP,
    )

    value_dims = tl.arange(0, VALUE_DIM_PADDED)
    output_rows = output + batch_token * output_token_stride + head * output_head_stride
    # A row without a token may have seen nothing; it is not stored, but must not divide by 0.
    result = weighted / tl.where(total > 0.0, total, 1.0)[:, None]
    tl.store(
        output_rows[:, None] + value_dims[None, :],
        result.to(output.dtype.element_ty),
        mask=real[:, None] & (value_dims < VALUE_DIM)[None, :],
    )
