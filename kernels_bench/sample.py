"""Which new tokens of a workload the reference is computed for, and how they are grouped."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kernels_bench.method import SEED
from kernels_bench.workload import Request

STRETCH_TOKENS = 64
"""New tokens that are judged together: no tile of queries that a kernel gets wrong is much shorter,
and in a whole request a few wrong tokens would hide among thousands of right ones."""


@dataclass(frozen=True)
class Stretch:
    """Neighbours among a request's new tokens."""

    request: int
    tokens: tuple[int, ...]
    """Those that were chosen, rising; 0 is the request's first new token."""


def sample(requests: Sequence[Request], num_heads: int, max_logits: int) -> tuple[Stretch, ...]:
    """All tokens where their logits are few enough, else a part of every stretch.

    Of a stretch its first and last token come first, then random ones; a single token is a random
    one. Of a request the first and the last are always taken.
    """
    needed = num_heads * sum(request.new_tokens * request.total_tokens for request in requests)
    per_stretch = max(1, STRETCH_TOKENS * max_logits // max(needed, 1))
    rng = random.Random(SEED)
    return tuple(
        stretch
        for index, request in enumerate(requests)
        for stretch in _stretches(index, request.new_tokens, per_stretch, rng)
    )


def _stretches(
    request: int, new_tokens: int, per_stretch: int, rng: random.Random
) -> Iterator[Stretch]:
    for first in range(0, new_tokens, STRETCH_TOKENS):
        tokens = range(first, min(first + STRETCH_TOKENS, new_tokens))
        chosen = set(tokens)
        if per_stretch < len(tokens):
            borders = {tokens[0], tokens[-1]} if per_stretch > 1 else set()
            inner = [token for token in tokens if token not in borders]
            chosen = borders.union(rng.sample(inner, per_stretch - len(borders)))
            chosen.update({0, new_tokens - 1}.intersection(tokens))
        yield Stretch(request, tuple(sorted(chosen)))
