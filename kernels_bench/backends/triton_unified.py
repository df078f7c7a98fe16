"""Our Triton kernel for every phase: one launch, no plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernels_bench.backends._launches import Unplanned
from kernels_bench.backends._triton import PAGES, triton_package, triton_refusals
from kernels_bench.backends._triton_tiles import Tile, keys_at
from kernels_bench.spec import AttentionSpec, Device, Phase, Stack, Support, Variant

if TYPE_CHECKING:
    from kernels_bench.backends.base import Launch, PagedBatch

_SHAPES = ((64, 4), (16, 4), (128, 8))
"""Rows and warps: for anything, for decodes, for long prefills."""


class TritonUnified:
    """A program takes a tile of one request's tokens, whichever phase the request is in."""

    name = "triton_unified"

    def variants(self, device: Device, spec: AttentionSpec, stack: Stack) -> tuple[Variant, ...]:
        """One a tile; wider heads take fewer keys a step."""
        packages = (triton_package(stack),)
        return tuple(Variant(tile.name, packages, PAGES) for tile in tiles_at(spec))

    def supports(
        self,
        variant: Variant,
        device: Device,
        spec: AttentionSpec,
        phase: Phase,
        stack: Stack,
    ) -> Support:
        """All but sinks, ALiBi, chunks, quantised caches and MLA, where Triton runs."""
        tile = _tile(variant, spec)
        return Support(tuple(triton_refusals(device, spec, phase, stack, tile)))

    def prepare(self, variant: Variant, spec: AttentionSpec, batch: PagedBatch) -> Launch:
        """Bind to a batch; the first `run` of a kind of layer compiles."""
        from kernels_bench.triton_kernels.unified import bind_unified

        return Unplanned(bind_unified(spec, batch, _tile(variant, spec)))


def tiles_at(spec: AttentionSpec) -> tuple[Tile, ...]:
    """The default first."""
    return tuple(Tile(rows, keys_at(spec), warps) for rows, warps in _SHAPES)


def _tile(variant: Variant, spec: AttentionSpec) -> Tile:
    (tile,) = (tile for tile in tiles_at(spec) if tile.name == variant.name)
    return tile


BACKEND = TritonUnified()
