"""Our Triton kernels, one for decodes and one for everything else; a mixed batch runs both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernels_bench.backends._needs import lacks
from kernels_bench.backends._triton import PAGES, triton_package, triton_refusals
from kernels_bench.backends._triton_tiles import Tile, keys_at
from kernels_bench.capture import UNIFORM_PHASES
from kernels_bench.spec import AttentionSpec, Device, Phase, Stack, Support, Variant

if TYPE_CHECKING:
    from kernels_bench.backends.base import Launch, PagedBatch


@dataclass(frozen=True)
class TilePair:
    """Of the two kernels."""

    prefill: Tile
    decode: Tile

    @property
    def name(self) -> str:
        """Of a variant: "tile64x64w4-decode16x64w4"."""
        return f"{self.prefill.name}-decode{self.decode.name.removeprefix('tile')}"


class TritonSplit:
    """Decodes are cut along their keys; other requests go tile by tile."""

    name = "triton_split"

    def variants(self, device: Device, spec: AttentionSpec, stack: Stack) -> tuple[Variant, ...]:
        """One a pair of tiles; wider heads take fewer keys a step."""
        packages = (triton_package(stack),)
        # Of uniform batches the maxima say which kernels run. Of others the lengths say it, and a
        # captured graph could not change that.
        return tuple(Variant(pair.name, packages, PAGES, UNIFORM_PHASES) for pair in pairs_at(spec))

    def supports(
        self,
        variant: Variant,
        device: Device,
        spec: AttentionSpec,
        phase: Phase,
        stack: Stack,
    ) -> Support:
        """All but sinks, ALiBi, chunks, quantised caches and MLA, where Triton runs."""
        pair = _pair(variant, spec)
        reasons = triton_refusals(device, spec, phase, stack, pair.prefill, pair.decode)
        return Support((*reasons, *lacks(spec, "batch_invariance")))

    def prepare(self, variant: Variant, spec: AttentionSpec, batch: PagedBatch) -> Launch:
        """Bind to a batch; the first `run` of a kind of layer compiles."""
        from kernels_bench.triton_kernels.split_launch import DecodeLaunch, SplitLaunch

        pair = _pair(variant, spec)
        if batch.max_query_len == 1:
            return DecodeLaunch(spec, batch, pair.decode)
        return SplitLaunch(spec, batch, pair.prefill, pair.decode)


def pairs_at(spec: AttentionSpec) -> tuple[TilePair, ...]:
    """The default first."""
    keys = keys_at(spec)
    return (
        TilePair(prefill=Tile(64, keys, 4), decode=Tile(16, keys, 4)),
        TilePair(prefill=Tile(128, keys, 8), decode=Tile(16, keys // 2, 2)),
    )


def _pair(variant: Variant, spec: AttentionSpec) -> TilePair:
    (pair,) = (pair for pair in pairs_at(spec) if pair.name == variant.name)
    return pair


BACKEND = TritonSplit()
