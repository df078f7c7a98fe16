"""One tile of query rows over a range of keys in pages: online softmax in fp32."""

# mypy: disallow-untyped-decorators=False
# Triton ships no types.

from __future__ import annotations

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)
LOWEST = tl.constexpr(-3.0e38)
"""Where the peak of a row starts: finite, since a row that sees nothing yet subtracts it from
itself, and -inf - -inf is NaN."""


@triton.jit
def soft_cap(logits: tl.tensor, cap: tl.constexpr) -> tl.tensor:
    """cap * tanh(logits / cap) from a power that cannot overflow."""
    power = tl.exp2(tl.abs(logits) * (-2.0 * LOG2_E / cap))
    magnitude = cap * (1.0 - power) / (1.0 + power)
    return tl.where(logits < 0, -magnitude, magnitude)


@triton.jit
def attend(
    query: tl.tensor,
    positions: tl.tensor,
    first_key: tl.tensor,
    end_key: tl.tensor,
    key_head: tl.tensor,
    value_head: tl.tensor,
    table_row: tl.tensor,
    key_page_stride: tl.tensor,
    key_slot_stride: tl.tensor,
    value_page_stride: tl.tensor,
    value_slot_stride: tl.tensor,
    scale: tl.tensor,
    HEAD_DIM: tl.constexpr,
    VALUE_DIM: tl.constexpr,
    VALUE_DIM_PADDED: tl.constexpr,
    PAGE_SIZE: tl.constexpr,
    KEYS: tl.constexpr,
    CAUSAL: tl.constexpr,
    WINDOW: tl.constexpr,
    SOFT_CAP: tl.constexpr,
) -> tl.tensor:
    """Sum of values by weight, peak logit (base 2) and sum of weights, for each row.

    Reads the keys from `first_key` to `end_key` and nothing else: pages behind a window may be
    somebody else's by now, and a page's tail holds anything.

    Args:
        query: [rows, padded head_dim].
        positions: [rows], absolute.
        first_key: position of the first key that some row sees.
        end_key: one past the last.
        key_head: the keys of this KV head in page 0.
        value_head: the values.
        table_row: the request's page numbers.
        key_page_stride: elements between pages; the others likewise.
        key_slot_stride: between tokens of a page.
        value_page_stride: between pages.
        value_slot_stride: between tokens of a page.
        scale: what logits are multiplied by.
        HEAD_DIM: of queries and keys.
        VALUE_DIM: of values.
        VALUE_DIM_PADDED: to a power of two.
        PAGE_SIZE: tokens a page.
        KEYS: keys a step.
        CAUSAL: a row sees no key behind its position.
        WINDOW: keys that a row sees, itself included, or None.
        SOFT_CAP: of logits, or None.
    """
    dims = tl.arange(0, query.shape[1])
    value_dims = tl.arange(0, VALUE_DIM_PADDED)
    peak = tl.full([query.shape[0]], LOWEST, tl.float32)
    total = tl.zeros([query.shape[0]], tl.float32)
    weighted = tl.zeros([query.shape[0], VALUE_DIM_PADDED], tl.float32)

    for start in range(first_key, end_key, KEYS):
        keys = start + tl.arange(0, KEYS)
        present = keys < end_key
        # int64: a pool of pages exceeds 2**31 elements.
        page = tl.load(table_row + keys // PAGE_SIZE, mask=present, other=0).to(tl.int64)
        slot = keys % PAGE_SIZE

        key_rows = key_head + page * key_page_stride + slot * key_slot_stride
        key = tl.load(
            key_rows[None, :] + dims[:, None],
            mask=present[None, :] & (dims < HEAD_DIM)[:, None],
            other=0.0,
        )
        logits = tl.dot(query, key)
        if SOFT_CAP is None:
            logits = logits * (scale * LOG2_E)
        else:
            logits = soft_cap(logits * scale, SOFT_CAP) * LOG2_E
        seen = present[None, :]
        if CAUSAL:
            seen = seen & (keys[None, :] <= positions[:, None])
        if WINDOW is not None:
            seen = seen & (positions[:, None] - keys[None, :] < WINDOW)
        logits = tl.where(seen, logits, float("-inf"))

        new_peak = tl.maximum(peak, tl.max(logits, 1))
        shrink = tl.exp2(peak - new_peak)
        weights = tl.exp2(logits - new_peak[:, None])
        peak = new_peak
        total = total * shrink + tl.sum(weights, 1)

        value_rows = value_head + page * value_page_stride + slot * value_slot_stride
        value = tl.load(
            value_rows[:, None] + value_dims[None, :],
            mask=present[:, None] & (value_dims < VALUE_DIM)[None, :],
            other=0.0,
        )
        weighted = tl.dot(weights.to(value.dtype), value, weighted * shrink[:, None])

    return weighted, peak, total
