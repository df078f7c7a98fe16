"""What vLLM's own defaults fix of a kernel's launch (vllm 0.24, config/vllm.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kernels_bench.spec import AttentionSpec

LARGEST_CAPTURE = 512
"""Tokens of the largest batch that it captures: `max_cudagraph_capture_size`."""
CAPTURE_SIZES: tuple[int, ...] = (1, 2, 4, *range(8, 256, 8), *range(256, LARGEST_CAPTURE + 1, 16))
"""Tokens of every batch that it captures: `cudagraph_capture_sizes`."""


def window_size(spec: AttentionSpec) -> tuple[int, int]:
    """Keys before and after the query's own, as FlashAttention counts them; -1 is all."""
    return (-1, -1) if spec.sliding_window is None else (spec.sliding_window - 1, 0)
