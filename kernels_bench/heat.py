"""Matrix products before each timed block, as a model's layers have them between one attention and
the next: they draw the power that sets the clock, and leave none of the keys in the cache.

On an H200 at its limit of 700 W the multiprocessors run at about 1.5 GHz behind such products and
at 1.98 GHz without them; FlashAttention 3's decodes take up to 19 % longer, others less or more:
benchmarks/results/engine-proof-h200.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from kernels_bench.cuda_blocks import Block, capture, elapsed_us, repeat

_CACHES = 4
"""Weights of so many last-level caches: what lay there before is gone after one product."""
_LEAST_BYTES = 64 << 20
"""Of weights, where a cache is small or not known."""
_INPUTS = 4096
"""Of a layer of an 8B model."""
_MOST_TOKENS = 1024
"""From about 300 on a product is bound by arithmetic (an H100's dense rate over its bandwidth)."""
_STRETCH_US = 500.0


@dataclass(frozen=True)
class _Stretch:
    """A CUDA graph of products, so that the host hands over many at once."""

    replay: Callable[[], object]
    us: float


class Heat:
    """Products on the current device, of as many tokens as the batch that is timed has."""

    def __init__(self, last_level_cache_bytes: int) -> None:
        import torch

        dtype = torch.float16
        weight_bytes = max(_LEAST_BYTES, _CACHES * last_level_cache_bytes)
        outputs = weight_bytes // (_INPUTS * dtype.itemsize)
        # Not zeros, which draw less.
        self._weights = torch.randn((_INPUTS, outputs), dtype=dtype, device="cuda")
        self._tokens = torch.randn((_MOST_TOKENS, _INPUTS), dtype=dtype, device="cuda")
        self._result = torch.empty((_MOST_TOKENS, outputs), dtype=dtype, device="cuda")
        self._stretches: dict[int, _Stretch] = {}

    def enqueue(self, tokens: int, us: float) -> None:
        """Products for at least so long; waits for none."""
        tokens = min(tokens, _MOST_TOKENS)
        if tokens not in self._stretches:
            self._stretches[tokens] = self._make(tokens)
        stretch = self._stretches[tokens]
        for _ in range(math.ceil(us / stretch.us)):
            stretch.replay()

    def _make(self, tokens: int) -> _Stretch:
        import torch

        given, made = self._tokens[:tokens], self._result[:tokens]

        def product() -> None:
            torch.mm(given, self._weights, out=made)

        calls = max(1, math.ceil(_STRETCH_US / _at_least_1_us(product)))
        graph = capture(partial(repeat, product, calls))
        return _Stretch(graph.replay, _at_least_1_us(graph.replay))


def _at_least_1_us(act: Callable[[], object]) -> float:
    return max(1.0, elapsed_us(Block(act)))
