"""How vLLM's ROCM_AITER_FA serves a batch (vllm 0.24 and 0.32, v1/attention/backends/
rocm_aiter_fa.py), in its usual cache layout: VLLM_ROCM_SHUFFLE_KV_CACHE_LAYOUT is off.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from kernels_bench.backends._aiter_fa_decode import decode
from kernels_bench.backends._aiter_fa_parts import Stretch, decode_tokens, requests_of, stretches
from kernels_bench.backends._aiter_fa_prefill import Extend, prefill, windowed
from kernels_bench.backends._launches import Unplanned
from kernels_bench.backends._new_tokens import NewTokens

if TYPE_CHECKING:
    from kernels_bench.backends.base import Launch, PagedBatch
    from kernels_bench.spec import AttentionSpec


def aiter_fa(spec: AttentionSpec, batch: PagedBatch) -> Launch:
    """Decodes of one length, all of a batch, never change what is called."""
    requests = requests_of(batch.query_start_loc_cpu.tolist(), batch.seq_lens_cpu.tolist())
    longest = decode_tokens(requests)
    parts = stretches(requests, longest)
    if [part.kind for part in parts] == ["decode"]:
        return Unplanned(decode(spec, batch, parts[0]))
    return ThreeWays(spec, batch, longest)


class ThreeWays:
    """Prompts, chunks and decodes, each by calls of its own."""

    def __init__(self, spec: AttentionSpec, batch: PagedBatch, longest_decode: int) -> None:
        self._spec, self._batch, self._longest_decode = spec, batch, longest_decode
        self._new_tokens = NewTokens(spec, batch)
        self._calls: list[Callable[[], object]] = []

    def plan(self) -> None:
        """Sort out who is what, which waits for the device: vLLM asks it for the lengths."""
        batch = self._batch
        self._new_tokens.refresh()
        requests = requests_of(batch.query_start_loc_cpu.tolist(), batch.seq_lens.cpu().tolist())
        self._calls = [self._call_for(part) for part in stretches(requests, self._longest_decode)]

    def run(self) -> None:
        """All calls, which write the output between them."""
        for call in self._calls:
            call()

    def _call_for(self, part: Stretch) -> Callable[[], object]:
        spec, batch, new_tokens = self._spec, self._batch, self._new_tokens
        match part.kind:
            case "decode":
                return decode(spec, batch, part)
            case "prefill":
                return prefill(spec, batch, new_tokens, part)
            case "extend" if spec.sliding_window is not None:
                return windowed(spec, batch, part)
            case "extend":
                return Extend(spec, batch, new_tokens, part).run
