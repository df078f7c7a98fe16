"""What a backend is. A plug-in written against this page works; `API` rises when it would not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor

    from kernels_bench.spec import AttentionSpec, Device, Pages, Phase, Stack, Support, Variant

API = 1


class PagedBatch(Protocol):
    """One batch for one layer. T tokens, B requests, H heads, D dimensions.

    The harness owns every tensor, rotates page sets, and changes contents in place between plans.
    """

    query: Tensor
    """[T, Hq, D]"""
    key_cache: Tensor
    """As `pages` says. Full before `prepare`, and never written after it."""
    value_cache: Tensor
    block_table: Tensor
    """int32 [B, max_pages], shuffled; padding points at a page that must not matter."""
    seq_lens: Tensor
    """int32 [B], cached and new tokens; 0 in a padded row."""
    query_start_loc: Tensor
    """int32 [B + 1]"""
    seq_lens_cpu: Tensor
    query_start_loc_cpu: Tensor
    output: Tensor
    """[T, Hq, Dv]; filled with NaN before a check."""
    max_query_len: int
    """Maxima as captured: of the engine, not of this batch."""
    max_seq_len: int
    pages: Pages
    softmax_scale: float
    q_scale: Tensor | None
    """Beside an fp8 cache, for a kernel that takes the query in fp8 too: query / q_scale."""
    k_scale: Tensor | None
    v_scale: Tensor | None
    sinks: Tensor | None
    """float32 [Hq]: a logit that takes part in the softmax and carries no value."""
    alibi_slopes: Tensor | None
    """float32 [Hq]"""


class Launch(Protocol):
    """A candidate bound to one batch."""

    def plan(self) -> None:
        """The host work an engine does once a step; re-reads the batch, which may have changed."""

    def run(self) -> None:
        """One layer: fills `batch.output`.

        No allocation that a CUDA graph could not replay, no host synchronisation.
        """


@runtime_checkable
class Backend(Protocol):
    """One file, one module attribute `BACKEND`; a plug-in's entry point in
    `attn_autotune.backends` is such an instance.
    """

    name: str
    """Stable: what the cache stores."""

    def variants(self, device: Device, spec: AttentionSpec, stack: Stack) -> tuple[Variant, ...]:
        """A handful, the default first; also those that cannot run here, so that their reasons
        can be shown. Pure.
        """

    def supports(
        self, variant: Variant, device: Device, spec: AttentionSpec, phase: Phase, stack: Stack
    ) -> Support:
        """Pure: no import of a kernel package, no GPU, no file. Every reason at once."""

    def prepare(self, variant: Variant, spec: AttentionSpec, batch: PagedBatch) -> Launch:
        """Bind to a batch. Imports what it needs; called in the child process only."""
