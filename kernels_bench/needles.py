"""Contents whose mistakes show: a few keys, where kernels err, take nearly all of the weight.

On random contents a key more or less moves an output by a percent; here each of these needles holds
a tenth of it. Who misses one, or sees one that is hidden, is far off the reference.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from kernels_bench.spec import AttentionSpec
from kernels_bench.storage import quantisable
from kernels_bench.workload import Request

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from kernels_bench.batch import Contents

_PAGE_SIZES = (16, 64, 256)
"""Contents serve every page size; the borders of the others are among these."""
_ABOVE_ALL = 3.0
"""A needle's logit above the logarithm of the number of keys: as heavy as 20 times all of them."""
_KEY_SIZE = 2.0
"""Of each number of a needle, about; 6 sigma fit an fp8 cache, and the highest level is 1.5 of it.
"""
_UNDER_A_CAP = 1.9
"""Logit before the cap, in caps: the levels come out at 0.956, 0.983 and 0.993 of the cap, near
enough to share the weight; without the cap the highest would take all."""
_LEVELS = (1.0, 1.25, 1.5)
"""Exact in every format, fp8_e5m2 included."""


def needle_positions(spec: AttentionSpec, request: Request) -> tuple[int, ...]:
    """Keys of a request that become needles, rising: its ends, the ends of pages, and both sides of
    the edge that its first and its newest query see.
    """
    total = request.total_tokens
    edges = [0, total]
    for size in _PAGE_SIZES:
        last_page = (total - 1) // size * size
        edges += [size, last_page // 2 // size * size, last_page]
    for query in (total - request.new_tokens, total - 1):
        if spec.sliding_window is not None:
            edges.append(query - spec.sliding_window + 1)
        if spec.attention_chunk is not None:
            edges.append(query // spec.attention_chunk * spec.attention_chunk)
        edges.append(query)
    beside = {position for edge in edges for position in (edge - 1, edge)}
    return tuple(sorted(position for position in beside if 0 <= position < total))


def with_needles(spec: AttentionSpec, contents: Contents, generator: torch.Generator) -> Contents:
    """The contents, with needles in every request and KV head; all else as it was drawn.

    A needle points along signs that its request and head own, and all queries of its group lean on
    them by the same amount. Its value stays as drawn: no other token has it.
    """
    import torch

    queries = torch.split(contents.query, [request.new_tokens for request in contents.requests])
    leaning, keys = [], []
    for request, query, key in zip(contents.requests, queries, contents.keys, strict=True):
        coins = torch.rand(
            (spec.num_kv_heads, spec.head_dim), generator=generator, device=key.device
        )
        signs = torch.where(coins < 0.5, -1.0, 1.0)
        leaning.append(_leaning(spec, query, signs, _logit(spec, request) / _key_size(contents)))
        keys.append(_planted(spec, contents, key, signs, needle_positions(spec, request)))
    return replace(contents, query=quantisable(spec, torch.cat(leaning)), keys=tuple(keys))


def _logit(spec: AttentionSpec, request: Request) -> float:
    """Of a needle of the lowest level, before the cap."""
    if spec.logit_softcap is not None:
        return _UNDER_A_CAP * spec.logit_softcap
    return math.log(request.total_tokens) + _ABOVE_ALL


def _key_size(contents: Contents) -> float:
    """About `_KEY_SIZE`; a stored power of two, so that every level is exact in the cache."""
    return float(contents.kv_scale * 2.0 ** round(math.log2(_KEY_SIZE / contents.kv_scale)))


def _leaning(spec: AttentionSpec, query: Tensor, signs: Tensor, logit_per_size: float) -> Tensor:
    """[new, Hq, D]: what was drawn, less its part along the signs, plus the same for all.

    Where the scale is large what was drawn is made small, so that no other key's logit is: layers
    that norm their queries and keys scale by 1.
    """
    shrink = min(1.0, 1.0 / (spec.scale * math.sqrt(spec.head_dim)))
    grouped = shrink * query.float().view(len(query), spec.num_kv_heads, -1, spec.head_dim)
    along = signs[None, :, None]
    mean = (grouped * along).mean(dim=3, keepdim=True)
    wanted = logit_per_size / (spec.scale * spec.head_dim)
    return (grouped + (wanted - mean) * along).view_as(query).to(query.dtype)


def _planted(
    spec: AttentionSpec, contents: Contents, key: Tensor, signs: Tensor, positions: tuple[int, ...]
) -> Tensor:
    """[total, Hkv, D]"""
    import torch

    levels = _LEVELS if spec.logit_softcap is not None else _LEVELS[:1]
    sizes = torch.tensor([levels[i % len(levels)] for i in range(len(positions))])
    stored = sizes.to(key.device)[:, None, None] * signs * _key_size(contents) / contents.kv_scale
    at = torch.tensor(positions).to(key.device)
    if key.element_size() > 1:
        return key.index_copy(0, at, stored.to(key.dtype))
    as_bytes = stored.to(key.dtype).view(torch.uint8)  # torch indexes few tensors of fp8
    return key.view(torch.uint8).index_copy(0, at, as_bytes).view(key.dtype)
