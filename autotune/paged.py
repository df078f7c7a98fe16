"""What an engine hands to a kernel: a step's lengths and pages, and a layer's tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autotune.errors import UsageError
from kernels_bench.batch import Batch
from kernels_bench.spec import AttentionSpec, Pages, Phase
from kernels_bench.workload import Segment, Workload

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class PagedStep:
    """One step's batch, the same for all layers. B requests."""

    phase: Phase
    block_table: Tensor
    """int32 [B, max_pages]. Behind a request's own pages stand any that hold finite numbers."""
    seq_lens: Tensor
    """int32 [B], cached and new tokens; 0 in a padded row."""
    query_start_loc: Tensor
    """int32 [B + 1]: where each request's new tokens begin, and where the last one's end."""
    seq_lens_cpu: Tensor
    query_start_loc_cpu: Tensor
    max_query_len: int
    """Of this step; of all steps where one captured graph serves them."""
    max_seq_len: int


@dataclass(frozen=True, eq=False)
class LayerTensors:
    """One layer's part of a step. T new tokens, H heads, D dimensions."""

    query: Tensor
    """[T, Hq, D]"""
    key_cache: Tensor
    """NHD: [pages, size, Hkv, D]; HND: [pages, Hkv, size, D]. The step's tokens are in it."""
    value_cache: Tensor
    """Likewise, with Dv."""
    output: Tensor
    """[T, Hq, Dv], which `run` fills."""
    q_scale: Tensor | None = None
    k_scale: Tensor | None = None
    """float32, of one number: what a key of an fp8 cache is multiplied by."""
    v_scale: Tensor | None = None
    sinks: Tensor | None = None
    """float32 [Hq]"""
    alibi_slopes: Tensor | None = None
    """float32 [Hq]"""


def phase_of(new_tokens: Sequence[int], total_tokens: Sequence[int]) -> Phase:
    """The phase that all requests share, or mixed; rows without a token do not count. Pure.

    Raises WorkloadError for lengths that no request has, UsageError where there is none.
    """
    pairs = [pair for pair in zip(new_tokens, total_tokens, strict=True) if any(pair)]
    if not pairs:
        raise UsageError("a step without a token: leave it out")
    return Workload(tuple(Segment(1, new, total) for new, total in pairs)).phase


def make_step(
    tables: Sequence[Sequence[int]],
    new_tokens: Sequence[int],
    total_tokens: Sequence[int],
    pages: Pages,
    device: str,
) -> PagedStep:
    """A step from lists; raises UsageError or WorkloadError where they do not fit each other.

    Args:
        tables: each request's pages, in the order of its tokens.
        new_tokens: of each request.
        total_tokens: of each request, cached and new.
        pages: as the kernels want them.
        device: what `torch.device` takes.
    """
    if not len(tables) == len(new_tokens) == len(total_tokens):
        found = f"{len(tables)} tables, {len(new_tokens)} new and {len(total_tokens)} total tokens"
        raise UsageError(f"{found}: expected one of each a request")
    for row, (table, total) in enumerate(zip(tables, total_tokens, strict=True)):
        if len(table) < pages.count_for(total):
            raise UsageError(
                f"request {row}: {total} tokens do not fit {len(table)} pages of {pages.size}"
            )
    phase = phase_of(new_tokens, total_tokens)
    import torch

    width = max(map(len, tables))
    # Its own page behind a request's last: one that surely is there, and holds what was written.
    rows = [[*table, *[table[-1] if table else 0] * (width - len(table))] for table in tables]
    lens = torch.tensor(list(total_tokens), dtype=torch.int32)
    starts = torch.tensor([0, *new_tokens]).cumsum(0).to(torch.int32)
    return PagedStep(
        phase=phase,
        block_table=torch.tensor(rows, dtype=torch.int32, device=device),
        seq_lens=lens.to(device),
        query_start_loc=starts.to(device),
        seq_lens_cpu=lens,
        query_start_loc_cpu=starts,
        max_query_len=max(new_tokens),
        max_seq_len=max(total_tokens),
    )


def batch_of(spec: AttentionSpec, pages: Pages, step: PagedStep, layer: LayerTensors) -> Batch:
    """Both as backends take them; raises UsageError for a tensor of another shape or dtype."""
    _check(spec, pages, layer)
    _check_lengths(step, layer)
    return Batch(
        query=layer.query,
        key_cache=layer.key_cache,
        value_cache=layer.value_cache,
        block_table=step.block_table,
        seq_lens=step.seq_lens,
        query_start_loc=step.query_start_loc,
        seq_lens_cpu=step.seq_lens_cpu,
        query_start_loc_cpu=step.query_start_loc_cpu,
        output=layer.output,
        max_query_len=step.max_query_len,
        max_seq_len=step.max_seq_len,
        pages=pages,
        softmax_scale=spec.scale,
        q_scale=layer.q_scale,
        k_scale=layer.k_scale,
        v_scale=layer.v_scale,
        sinks=layer.sinks,
        alibi_slopes=layer.alibi_slopes,
    )


def _check(spec: AttentionSpec, pages: Pages, layer: LayerTensors) -> None:
    """A kernel would read another layout as if it were its own, and nobody would see it."""
    page = (pages.size, spec.num_kv_heads)
    page = page if pages.layout == "NHD" else (page[1], page[0])
    for name, tensor, expected in (
        ("query", layer.query, (spec.num_q_heads, spec.head_dim)),
        ("output", layer.output, (spec.num_q_heads, spec.value_dim)),
        ("key_cache", layer.key_cache, (*page, spec.head_dim)),
        ("value_cache", layer.value_cache, (*page, spec.value_dim)),
    ):
        found = tuple(tensor.shape)
        if found[1:] != expected:
            raise UsageError(f"{name} {list(found)}: expected [any, {str([*expected])[1:]}")
    if (dtype := str(layer.query.dtype)) != f"torch.{spec.dtype}":
        raise UsageError(f"query in {dtype}: expected torch.{spec.dtype}, as the model says")


def _check_lengths(step: PagedStep, layer: LayerTensors) -> None:
    expected = int(step.query_start_loc_cpu[-1])
    for name, tensor in (("query", layer.query), ("output", layer.output)):
        # More is well: the last rows of a batch that is padded to a graph's size.
        if len(tensor) < expected:
            raise UsageError(f"{name} of {len(tensor)} tokens: the step has {expected}")
