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
from typing import TYPE_CHECKING

from kernels_bench.cuda_blocks import capture

if TYPE_CHECKING:
    import torch

_CACHES = 4
"""Weights of so many last-level caches: what lay there before is gone after one product."""
_LEAST_BYTES = 64 << 20
"""Of weights, where a cache is small or not known."""
_INPUTS = 4096
"""Of a layer of an 8B model."""
_MOST_TOKENS = 1024
"""From about 300 on a product is bound by arithmetic, and more draw no more power."""
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

        product()  # loads the kernel before a capture
        calls = max(1, math.ceil(_STRETCH_US / _elapsed_us(product)))
        graph = capture(lambda: _repeat(product, calls))
        graph.replay()
        return _Stretch(graph.replay, _elapsed_us(graph.replay))


def _elapsed_us(act: Callable[[], object]) -> float:
    """On the device, the host's pace included where it is the slower."""
    import torch

    start, end = _event(), _event()
    torch.cuda.synchronize()
    start.record()
    act()
    end.record()
    torch.cuda.synchronize()
    return max(1.0, float(start.elapsed_time(end)) * 1e3)


def _event() -> torch.cuda.Event:
    import torch

    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


def _repeat(act: Callable[[], object], times: int) -> None:
    for _ in range(times):
        act()
