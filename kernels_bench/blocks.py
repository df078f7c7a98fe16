"""Which query tokens the reference computes at once, within bounds of memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernels_bench.spec import AttentionSpec
from kernels_bench.workload import first_tokens

if TYPE_CHECKING:
    from torch import Tensor

    from kernels_bench.batch import Contents

_MAX_LOGITS = 1 << 26
"""Logits held at once, and fp32 keys and values: 256 MiB each."""
_MAX_PADDING = 1 << 24
"""Keys and values that one longer request adds to the shorter ones of its block."""


@dataclass(frozen=True)
class Part:
    """Some new tokens of one request."""

    request: int
    first_place: int
    """Where its first token stands in the result."""
    chosen: Sequence[int]
    num_keys: int
    """No token of the part sees a later key."""


@dataclass(frozen=True)
class Block:
    """Parts of R requests, q tokens each, that are computed at once; int64 [R, q]."""

    parts: tuple[Part, ...]
    tokens: Tensor
    """Of the batch."""
    positions: Tensor
    """In the request."""
    places: Tensor
    """In the result."""


def blocks(
    spec: AttentionSpec, contents: Contents, chosen: Sequence[Sequence[int]]
) -> Iterator[Block]:
    """Requests of about one length share a block: a batch of 256 decodes takes a dozen blocks."""
    parts = sorted(_parts(spec, contents, chosen), key=lambda p: (len(p.chosen), p.num_keys))
    group: list[Part] = []
    for part in parts:
        per_key = max(
            spec.num_q_heads * len(part.chosen),
            spec.num_kv_heads * (spec.head_dim + spec.value_dim),
        )
        if group and (
            len(group[0].chosen) != len(part.chosen)
            or (len(group) + 1) * part.num_keys * per_key > _MAX_LOGITS
            or len(group) * (part.num_keys - group[-1].num_keys) * per_key > _MAX_PADDING
        ):
            yield _block(contents, group)
            group = []
        group.append(part)
    if group:
        yield _block(contents, group)


def _parts(
    spec: AttentionSpec, contents: Contents, chosen: Sequence[Sequence[int]]
) -> Iterator[Part]:
    place = 0
    for index, (request, tokens) in enumerate(zip(contents.requests, chosen, strict=True)):
        at_once = max(1, _MAX_LOGITS // (spec.num_q_heads * request.total_tokens))
        cached = request.total_tokens - request.new_tokens
        for start in range(0, len(tokens), at_once):
            some = tokens[start : start + at_once]
            num_keys = cached + some[-1] + 1 if spec.causal else request.total_tokens
            yield Part(index, place + start, some, num_keys)
        place += len(tokens)


def _block(contents: Contents, parts: Sequence[Part]) -> Block:
    import torch

    requests = contents.requests
    firsts = first_tokens(requests)
    cached = [request.total_tokens - request.new_tokens for request in requests]
    chosen = torch.tensor([list(part.chosen) for part in parts])
    columns = [(firsts[p.request], cached[p.request], p.first_place) for p in parts]
    first, before, place = torch.tensor(columns)[:, :, None].unbind(1)
    places = place + torch.arange(chosen.shape[1])
    rows = torch.stack([first + chosen, before + chosen, places]).to(contents.query.device)
    return Block(tuple(parts), *rows)
