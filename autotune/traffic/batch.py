"""What an engine runs in one step, and in the steps that are like it."""

from __future__ import annotations

from dataclasses import dataclass

from kernels_bench.spec import Phase


@dataclass(frozen=True)
class Chunk:
    """New tokens of one prompt, over those of it that are in the KV cache."""

    new_tokens: int
    cached_tokens: int

    @property
    def pairs_among_new(self) -> int:
        """(query, key) pairs under a causal mask."""
        return self.new_tokens * (self.new_tokens + 1) // 2

    @property
    def pairs_with_cached(self) -> int:
        """(query, key) pairs with what is cached."""
        return self.new_tokens * self.cached_tokens


@dataclass(frozen=True)
class Batch:
    """Decodes and chunks of prompts; not both are none."""

    decodes: int
    decode_tokens: float
    """Mean length of a decode, its new token included; 0 where there is none."""
    chunks: tuple[Chunk, ...] = ()
    steps: int = 1
    """Steps alike; the mean length is that of the middle one."""

    @property
    def new_tokens(self) -> int:
        """Of all prompts."""
        return sum(chunk.new_tokens for chunk in self.chunks)

    @property
    def cached_tokens(self) -> float:
        """What a prompt's token sees of the cache, on average over the new tokens of all."""
        if not self.chunks:
            return 0.0
        return sum(chunk.pairs_with_cached for chunk in self.chunks) / self.new_tokens

    @property
    def phase(self) -> Phase:
        """Prompts alone with and without something cached are named after most of their pairs."""
        if not self.chunks:
            return Phase.DECODE
        if self.decodes:
            return Phase.MIXED
        old = sum(chunk.pairs_with_cached for chunk in self.chunks)
        new = sum(chunk.pairs_among_new for chunk in self.chunks if chunk.cached_tokens == 0)
        return Phase.EXTEND if old > new else Phase.PREFILL
