"""The segments that a decode's keys are cut into: where each lies, and how they come together."""

# mypy: disallow-untyped-decorators=False
# Triton ships no types.

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import triton
import triton.language as tl

from kernels_bench.triton_kernels.attend import LOWEST
from kernels_bench.triton_kernels.operands import constants_of, strides_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from kernels_bench.backends._triton_tiles import Tile
    from kernels_bench.backends.base import PagedBatch
    from kernels_bench.spec import AttentionSpec

_REDUCE_WARPS = 4


@triton.jit
def segment_keys(
    seq_len: tl.tensor, KEYS: tl.constexpr, WINDOW: tl.constexpr, SEGMENTS: tl.constexpr
) -> tl.tensor:
    """The first key that the request's last token sees, and keys a segment: whole steps."""
    first_key = 0
    if WINDOW is not None:
        first_key = tl.maximum(seq_len - WINDOW, 0)
    steps = (seq_len - first_key + KEYS - 1) // KEYS
    return first_key, (steps + SEGMENTS - 1) // SEGMENTS * KEYS


@triton.jit
def reduce_kernel(
    requests: tl.tensor,
    partial_values: tl.tensor,
    partial_peaks: tl.tensor,
    partial_totals: tl.tensor,
    output: tl.tensor,
    seq_lens: tl.tensor,
    query_start_loc: tl.tensor,
    output_token_stride: tl.tensor,
    output_head_stride: tl.tensor,
    num_heads: tl.tensor,
    KEYS: tl.constexpr,
    VALUE_DIM: tl.constexpr,
    VALUE_DIM_PADDED: tl.constexpr,
    WINDOW: tl.constexpr,
    SEGMENTS: tl.constexpr,
) -> None:
    """Grid: slots of `requests`, query heads. Segments without keys hold what was there before."""
    slot = tl.program_id(0)
    head = tl.program_id(1)
    request = tl.load(requests + slot)
    if request < 0:
        return
    seq_len = tl.load(seq_lens + request)
    token = tl.load(query_start_loc + request)
    if (seq_len == 0) | (tl.load(query_start_loc + request + 1) == token):
        return
    first_key, per_segment = segment_keys(seq_len, KEYS, WINDOW, SEGMENTS)
    segments = tl.arange(0, SEGMENTS)
    filled = first_key + segments * per_segment < seq_len
    place = (slot * num_heads + head) * SEGMENTS + segments
    peaks = tl.load(partial_peaks + place, mask=filled, other=LOWEST)
    totals = tl.load(partial_totals + place, mask=filled, other=0.0)
    shrink = tl.exp2(peaks - tl.max(peaks, 0))

    dims = tl.arange(0, VALUE_DIM_PADDED)
    values = tl.load(
        (partial_values + place * VALUE_DIM)[:, None] + dims[None, :],
        mask=filled[:, None] & (dims < VALUE_DIM)[None, :],
        other=0.0,
    )
    result = tl.sum(values * shrink[:, None], 0) / tl.sum(totals * shrink, 0)
    tl.store(
        output + token.to(tl.int64) * output_token_stride + head * output_head_stride + dims,
        result.to(output.dtype.element_ty),
        mask=dims < VALUE_DIM,
    )


def bind_reduce(
    spec: AttentionSpec,
    batch: PagedBatch,
    tile: Tile,
    segments: int,
    requests: Tensor,
    partials: tuple[Tensor, ...],
) -> Callable[[], None]:
    """A call that puts the partial results of these requests together."""
    constants, strides = constants_of(spec, batch.pages.size, tile), strides_of(batch)
    return partial(
        reduce_kernel[len(requests), spec.num_q_heads],
        requests,
        *partials,
        batch.output,
        batch.seq_lens,
        batch.query_start_loc,
        strides.output_token,
        strides.output_head,
        spec.num_q_heads,
        KEYS=constants.keys,
        VALUE_DIM=constants.value_dim,
        VALUE_DIM_PADDED=constants.value_dim_padded,
        WINDOW=constants.window,
        SEGMENTS=segments,
        num_warps=_REDUCE_WARPS,
    )
