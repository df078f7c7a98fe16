"""Attention as written in a textbook, in any precision: what every candidate is compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernels_bench.spec import AttentionSpec

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from kernels_bench.batch import Contents

_MAX_LOGITS = 1 << 26
"""Logits held at once: 256 MiB in fp32."""


def reference(
    spec: AttentionSpec,
    contents: Contents,
    dtype: torch.dtype,
    rounded_to: torch.dtype | None = None,
) -> Tensor:
    """Compute the output [T, Hq, Dv] request by request, all arithmetic in `dtype`.

    With `rounded_to`, weights and output pass through that dtype, as in a fused kernel: its logits
    and softmax stay in fp32, and its matrix unit takes the weights in the model's dtype.
    """
    import torch

    def stored(values: Tensor) -> Tensor:
        return values if rounded_to is None else values.to(rounded_to).to(dtype)

    first_token, outputs = 0, []
    for request, keys, values in zip(
        contents.requests, contents.keys, contents.values, strict=True
    ):
        query = contents.query[first_token : first_token + request.new_tokens].to(dtype)
        first_token += request.new_tokens
        groups = spec.num_q_heads // spec.num_kv_heads
        key = (keys.to(dtype) * contents.kv_scale).repeat_interleave(groups, dim=1)
        value = (values.to(dtype) * contents.kv_scale).repeat_interleave(groups, dim=1)
        rows_at_once = max(1, _MAX_LOGITS // (spec.num_q_heads * request.total_tokens))
        cached = request.total_tokens - request.new_tokens
        for start in range(0, request.new_tokens, rows_at_once):
            rows = query[start : start + rows_at_once]
            positions = torch.arange(
                cached + start, cached + start + len(rows), device=query.device
            )
            weights = stored(_weights(spec, contents, rows, key, positions))
            outputs.append(stored(torch.einsum("hqk,khd->qhd", weights, value)))
    return torch.cat(outputs)


def visible(spec: AttentionSpec, query_positions: Tensor, key_positions: Tensor) -> Tensor:
    """Which key each query may see: bool [queries, keys], from absolute positions."""
    import torch

    query, key = query_positions[:, None], key_positions[None, :]
    seen = torch.ones(
        (len(query_positions), len(key_positions)), dtype=torch.bool, device=query.device
    )
    if spec.causal:
        seen &= key <= query
    if spec.sliding_window is not None:
        seen &= query - key < spec.sliding_window
    if spec.attention_chunk is not None:
        seen &= query // spec.attention_chunk == key // spec.attention_chunk
    return seen


def _weights(
    spec: AttentionSpec, contents: Contents, query: Tensor, key: Tensor, positions: Tensor
) -> Tensor:
    """[rows, Hq, D] x [total, Hq, D] -> [Hq, rows, total]; `positions` are the rows' own."""
    import torch

    logits = torch.einsum("qhd,khd->hqk", query, key) * spec.scale
    if spec.logit_softcap is not None:
        logits = torch.tanh(logits / spec.logit_softcap) * spec.logit_softcap
    key_positions = torch.arange(len(key), device=key.device)
    if contents.alibi_slopes is not None:
        distance = key_positions[None, :] - positions[:, None]
        logits = logits + contents.alibi_slopes.to(logits.dtype)[:, None, None] * distance
    hidden = ~visible(spec, positions, key_positions)
    logits = logits.masked_fill(hidden, float("-inf"))
    if contents.sinks is not None:
        sinks = contents.sinks.to(logits.dtype)[:, None, None].expand(-1, len(query), 1)
        logits = torch.cat([logits, sinks], dim=2)
    return torch.softmax(logits, dim=2)[:, :, : len(key)]
