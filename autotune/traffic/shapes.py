"""How alike two batches are: by five numbers, in octaves."""

from __future__ import annotations

from dataclasses import dataclass
from math import log2

from autotune.traffic.batch import Batch, Chunk
from kernels_bench.spec import Phase
from kernels_bench.workload import Segment, Workload, parse_workload

NEAR_OCTAVES = log2(2.5)
LEAST_CACHED_TOKENS = 1024
"""Less is hardly felt beside a prompt's new tokens, and counts as this much."""
_LEAST_CHUNK_TOKENS = 32
"""Fewer new tokens over cached ones would be a verify."""
_PARTS = 8
"""Of an octave: batches that share all are the same."""


@dataclass(frozen=True)
class Shape:
    """A phase and the binary logarithms of its numbers; 0 for what the phase lacks."""

    phase: Phase
    decodes: float = 0.0
    decode_tokens: float = 0.0
    """Mean length."""
    prompts: float = 0.0
    new_tokens: float = 0.0
    """Of all prompts."""
    cached_tokens: float = 0.0

    @property
    def octaves(self) -> tuple[float, ...]:
        """All five."""
        own = (self.decodes, self.decode_tokens)
        return (*own, self.prompts, self.new_tokens, self.cached_tokens)


def distance(one: Shape, other: Shape) -> float:
    """Sum of the differences in octaves, for two of a phase."""
    return sum(abs(a - b) for a, b in zip(one.octaves, other.octaves, strict=True))


def is_near(one: Shape, other: Shape) -> bool:
    """Of one phase, and within a factor of 2.5 in each number."""
    pairs = zip(one.octaves, other.octaves, strict=True)
    return one.phase is other.phase and all(abs(a - b) <= NEAR_OCTAVES for a, b in pairs)


def shape_of(batch: Batch) -> Shape:
    """Rounded to an eighth of an octave."""
    octaves: dict[str, float] = {}
    if batch.decodes:
        octaves |= {"decodes": log2(batch.decodes), "decode_tokens": log2(batch.decode_tokens)}
    if batch.chunks:
        octaves["prompts"] = log2(len(batch.chunks))
        octaves["new_tokens"] = log2(batch.new_tokens)
        if batch.phase is not Phase.PREFILL:
            octaves["cached_tokens"] = log2(max(batch.cached_tokens, LEAST_CACHED_TOKENS))
    return Shape(batch.phase, **{name: round(x * _PARTS) / _PARTS for name, x in octaves.items()})


def shape_of_workload(text: str) -> Shape:
    """As that of the batch which it stands for."""
    workload = parse_workload(text)
    decodes = [each for each in workload.segments if each.phase is Phase.DECODE]
    count = sum(each.count for each in decodes)
    total = sum(each.count * each.total_tokens for each in decodes)
    chunks = tuple(
        Chunk(each.new_tokens, each.total_tokens - each.new_tokens)
        for each in workload.segments
        if each.phase is not Phase.DECODE
        for _ in range(each.count)
    )
    return shape_of(Batch(count, total / count if count else 0.0, chunks))


def workload_like(shape: Shape) -> str:
    """A workload of numbers that are powers of two or halfway between, by the grammar's text."""
    segments = []
    if shape.phase in (Phase.DECODE, Phase.MIXED):
        count = _quantised(shape.decodes)
        tokens = max(_LEAST_CHUNK_TOKENS, _quantised(shape.decode_tokens))
        segments.append(Segment(count, 1, tokens, 80 if count > 1 else 0))
    if shape.phase is not Phase.DECODE:
        new = max(_LEAST_CHUNK_TOKENS, _quantised(shape.new_tokens - shape.prompts))
        cached = _quantised(shape.cached_tokens)
        is_cached = shape.phase is Phase.EXTEND or cached > LEAST_CACHED_TOKENS
        total = new + cached if is_cached else new
        segments.append(Segment(_quantised(shape.prompts), new, total))
    return Workload(tuple(segments)).text


def _quantised(octaves: float) -> int:
    whole = int(octaves)
    near = [1 << whole, 3 * (1 << whole) // 2, 2 << whole]
    return min(near, key=lambda number: abs(log2(number) - octaves))
