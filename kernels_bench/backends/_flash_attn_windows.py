"""Where FlashAttention 3, as vLLM ships it, lets a windowed prompt see its own future.

The source is vLLM's fork of flash-attention, hopper/, from 8f468e7d (2025-10-04) to at least
617264c1 (2026-08-06). A tile of queries reads its keys from the first that its window holds
(block.h, `n_offset`), but where the unmasked blocks begin and end is still counted from the first
key of all (mainloop_fwd_sm90_tma_gmma_ws.hpp, `tot_seqlen_k`; the branch without IntraWGOverlap
counts right). So blocks that hold the future of the tile's first queries go without a mask. Seen
with vllm 0.24 as computed here: benchmarks/results/fa3-windows-h100.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from kernels_bench.backends._releases import release
from kernels_bench.spec import AttentionSpec, Phase, Reason, Stack
from kernels_bench.workload import Request

_FIRST, _LAST = (0, 13), (0, 24)
"""Releases read or seen; the gate finds out about later ones."""
_PROMPTS = frozenset({Phase.PREFILL, Phase.EXTEND, Phase.MIXED})


@dataclass(frozen=True)
class Tile:
    """What a block of threads works on."""

    rows: int
    keys: int


@dataclass(frozen=True)
class Unmasked:
    """The blocks of keys that a tile of queries reads without a mask."""

    tokens: range
    """The tile's, counted from the request's first new one."""
    first_key: int
    """Of the first block, counted likewise."""
    last_key: int
    """Of the last block."""


def sees_future(spec: AttentionSpec, phase: Phase, stack: Stack) -> list[Reason]:
    """Why this layer's prompts come out wrong."""
    version = stack.get("vllm", "")
    is_known = _FIRST <= release(version) <= _LAST
    if not is_known or phase not in _PROMPTS or spec.sliding_window is None or not spec.causal:
        return []
    group = spec.num_q_heads // spec.num_kv_heads
    if not _is_hit(group, spec.head_dim, spec.sliding_window):
        return []
    text = f"sliding_window {spec.sliding_window}: prompts longer than it see their own future"
    return [Reason("defect", f"{text} (vllm {version}, heads of {spec.head_dim})")]


@lru_cache
def _is_hit(group: int, head_dim: int, window: int) -> bool:
    """Whether a prompt of twice the window has a token with a key that it must not see."""
    tile = tile_of(head_dim)
    if tile is None:
        return False
    prompt = Request(2 * window + tile.rows, 2 * window + tile.rows)
    left = window - 1
    return any(
        not _sees(blocks, token, left)
        for blocks in unmasked(prompt, tile, group, left)
        for token in (blocks.tokens[0], blocks.tokens[-1])
    )


def _sees(blocks: Unmasked, token: int, left: int) -> bool:
    """Whether every key of the blocks is within the token's window."""
    return token - left <= blocks.first_key and blocks.last_key <= token


def hit_tokens(spec: AttentionSpec, request: Request) -> list[int]:
    """New tokens for which the unmasked blocks hold keys outside their window."""
    tile, group = tile_of(spec.head_dim), spec.num_q_heads // spec.num_kv_heads
    if tile is None or spec.sliding_window is None:
        return []
    left = spec.sliding_window - 1
    blocks = unmasked(request, tile, group, left)
    # A token whose rows are cut by a tile's border is in both tiles.
    return sorted({t for each in blocks for t in each.tokens if not _sees(each, t, left)})


def unmasked(request: Request, tile: Tile, group: int, left: int) -> Iterator[Unmasked]:
    """The blocks without a mask, tile by tile. `left` is how far back a token sees."""
    cached = request.total_tokens - request.new_tokens
    for row in range(0, request.new_tokens * group, tile.rows):
        first, end = row // group, (row + tile.rows - 1) // group + 1
        offset = max(0, first + cached - left)
        keys = min(request.total_tokens, end + cached) - offset
        last = math.ceil(keys / tile.keys) - 1  # this block is masked whatever the bounds say
        begin = max(0, math.ceil((end + cached - left) / tile.keys))
        past = min(last, (first + cached) // tile.keys)
        tokens = range(first, min(end, request.new_tokens))
        if begin < past and tokens:
            start = offset - cached
            yield Unmasked(tokens, begin * tile.keys + start, past * tile.keys + start - 1)


def tile_of(head_dim: int) -> Tile | None:
    """For a window, 2-byte elements (tile_size.h); None where the branch counts right."""
    if head_dim <= 64:
        return None
    if head_dim <= 96:
        return Tile(192, 128)
    if head_dim <= 128:
        return Tile(128, 128)
    return Tile(128, 96 if head_dim <= 192 else 64)
