"""How long to wait for what may never come."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Patience:
    """Of the process that measures with those that do the work."""

    hang_s: float = 120.0
    """Silence that counts as a hang, once everything is compiled."""
    compile_s: float = 300.0
    """Until a candidate's first results: FlashInfer builds a family of kernels for up to a minute
    on 16 cores, and for longer on fewer."""
