"""What a request asks of an engine, as far as attention cares."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Lengths:
    """One request, in tokens; every field but the last is at least 1."""

    prompt_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    """Of the prompt, found in the engine's prefix cache; fewer than the prompt has."""
