"""Attention as written in a textbook, in any precision: what every candidate is compared with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernels_bench.blocks import Block, blocks
from kernels_bench.method import SEED
from kernels_bench.spec import AttentionSpec

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from kernels_bench.batch import Contents

_TANH_ERROR = 2**-11


@dataclass(frozen=True)
class Pair:
    """Both float32 [S, Hq, Dv]."""

    exact: Tensor
    rounded: Tensor
    """The same, but with what a right kernel must round to the model's dtype."""


def reference(
    spec: AttentionSpec,
    contents: Contents,
    dtype: torch.dtype,
    rounded_to: torch.dtype | None = None,
) -> Tensor:
    """Compute the output [T, Hq, Dv], all arithmetic in `dtype`.

    With `rounded_to`, weights and output pass through that dtype, as in a fused kernel: its logits
    and softmax stay in fp32, and its matrix unit takes weights and values in the model's dtype.
    """
    every = [range(request.new_tokens) for request in contents.requests]
    output = contents.query.new_empty(
        (len(contents.query), spec.num_q_heads, spec.value_dim), dtype=dtype
    )
    with _without_tf32():
        for block in blocks(spec, contents, every):
            weights = _softmax(spec, contents, block, _logits(spec, contents, block, dtype))
            values = _dequantised(contents.values, contents, block, dtype)
            output[block.tokens.flatten()] = _mix(weights, values, rounded_to)
    return output


def reference_pair(
    spec: AttentionSpec, contents: Contents, chosen: Sequence[Sequence[int]]
) -> Pair:
    """Compute fp32 attention of the chosen new tokens, exact and rounded, from the same logits.

    `chosen` holds for each request the rising indices of its new tokens; the results are in that
    order. Long rows are computed in blocks: no more than about a GiB is held at once.
    """
    import torch

    tokens = sum(map(len, chosen))
    pair = Pair(
        *torch.empty(
            (2, tokens, spec.num_q_heads, spec.value_dim),
            dtype=torch.float32,
            device=contents.query.device,
        )
    )
    with _without_tf32():
        for block in blocks(spec, contents, chosen):
            logits = _logits(spec, contents, block, torch.float32)
            weights = _softmax(spec, contents, block, logits)
            values = _dequantised(contents.values, contents, block, torch.float32)
            places = block.places.flatten()
            pair.exact[places] = _mix(weights, values, None)
            if spec.logit_softcap is not None:
                weights = _softmax(spec, contents, block, _capped_fast(logits))
            if spec.kv_dtype == "fp8_e4m3":  # no kernel multiplies in fp8_e5m2
                weights = _in_fp8(weights)
            pair.rounded[places] = _mix(weights, values, contents.query.dtype)
    return pair


def visible(spec: AttentionSpec, query_positions: Tensor, key_positions: Tensor) -> Tensor:
    """Which key each query may see: bool [..., queries, keys], from absolute positions."""
    import torch

    query, key = query_positions[..., :, None], key_positions[None, :]
    seen = torch.ones(
        (*query_positions.shape, len(key_positions)), dtype=torch.bool, device=query.device
    )
    if spec.causal:
        seen &= key <= query
    if spec.sliding_window is not None:
        seen &= query - key < spec.sliding_window
    if spec.attention_chunk is not None:
        seen &= query // spec.attention_chunk == key // spec.attention_chunk
    return seen


def _logits(spec: AttentionSpec, contents: Contents, block: Block, dtype: torch.dtype) -> Tensor:
    """Scaled and capped, of all keys: [R, Hkv, G, q, k]."""
    import torch

    shape = (len(block.parts), -1, spec.num_kv_heads, spec.num_q_heads // spec.num_kv_heads)
    key = _dequantised(contents.keys, contents, block, dtype)
    query = contents.query[block.tokens].to(dtype).view(*shape, spec.head_dim)
    logits = torch.einsum("rqhgd,rhkd->rhgqk", query, key) * spec.scale
    if spec.logit_softcap is not None:
        logits = torch.tanh(logits / spec.logit_softcap) * spec.logit_softcap
    return logits


def _capped_fast(logits: Tensor) -> Tensor:
    """Capped logits as far off as a GPU's tanh may be: relative 2 ** -11, so that two keys near a
    cap of 50 may be 5 % apart in weight. PTX ISA, `tanh.approx.f32`; FlashAttention uses it.
    """
    import torch

    generator = torch.Generator(logits.device).manual_seed(SEED)
    signs = torch.empty_like(logits).bernoulli_(generator=generator).mul_(2).sub_(1)
    return logits * (1 + _TANH_ERROR * signs)


def _in_fp8(weights: Tensor) -> Tensor:
    """As kernels round them whose matrix unit takes weights in the cache's format: by the largest
    of a row, so that a long row does not vanish. FlashAttention's tests allow for it as well:
    hopper/test_flash_attn.py, `intermediate_dtype`.
    """
    import torch

    largest = weights.amax(dim=-1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)
    return (weights / largest).to(torch.float8_e4m3fn).to(weights.dtype) * largest


def _softmax(spec: AttentionSpec, contents: Contents, block: Block, logits: Tensor) -> Tensor:
    """Weights of the keys that each query sees: [R, Hkv, G, q, k]."""
    import torch

    device, (heads, groups) = logits.device, logits.shape[1:3]
    key_positions = torch.arange(logits.shape[-1], device=device)
    if contents.alibi_slopes is not None:
        distance = key_positions - block.positions[:, None, None, :, None]
        slopes = contents.alibi_slopes.to(logits.dtype).view(heads, groups, 1, 1)
        logits = logits + slopes * distance
    seen = visible(spec, block.positions, key_positions)
    totals = [contents.requests[part.request].total_tokens for part in block.parts]
    seen &= key_positions < torch.tensor(totals, device=device)[:, None, None]
    logits = logits.masked_fill(~seen[:, None, None], float("-inf"))
    if contents.sinks is not None:
        sinks = contents.sinks.to(logits.dtype).view(heads, groups, 1, 1)
        logits = torch.cat([logits, sinks.expand(*logits.shape[:-1], 1)], dim=-1)
    return torch.softmax(logits, dim=-1)[..., : len(key_positions)]


def _dequantised(
    rows: Sequence[Tensor], contents: Contents, block: Block, dtype: torch.dtype
) -> Tensor:
    """Keys or values of the block's requests: [R, Hkv, k, D]."""
    import torch

    by_head = _padded(rows, block).transpose(1, 2)
    # One copy converts and reorders; a matrix product would make its own of anything else.
    numbers = by_head.to(dtype, memory_format=torch.contiguous_format)
    return numbers if contents.kv_scale == 1.0 else numbers * contents.kv_scale


def _mix(weights: Tensor, values: Tensor, rounded_to: torch.dtype | None) -> Tensor:
    """The output [R * q, Hq, Dv] of a block."""
    import torch

    def stored(numbers: Tensor) -> Tensor:
        return numbers if rounded_to is None else numbers.to(rounded_to).to(numbers.dtype)

    mixed = torch.einsum("rhgqk,rhkd->rqhgd", stored(weights), stored(values))
    return stored(mixed.flatten(2, 3).flatten(0, 1))


def _padded(rows: Sequence[Tensor], block: Block) -> Tensor:
    """[R, k, H, D] as stored, zeros behind the shorter requests."""
    import torch

    some = [rows[part.request][: part.num_keys] for part in block.parts]
    if len(some) == 1:
        return some[0][None]
    if some[0].element_size() > 1:
        return torch.nn.utils.rnn.pad_sequence(some, batch_first=True)
    as_bytes = [each.view(torch.uint8) for each in some]  # few operators know fp8; 0 is 0.0 there
    return torch.nn.utils.rnn.pad_sequence(as_bytes, batch_first=True).view(some[0].dtype)


@contextmanager
def _without_tf32() -> Iterator[None]:
    """A package that was imported for a candidate may have turned TF32 on: 10 bits of mantissa
    are no reference for bf16.
    """
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
