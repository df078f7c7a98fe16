"""Builds the tensors of a workload: uneven lengths, shuffled pages, random values, never zeros.

Values are drawn once a workload (`Contents`), so that every candidate, page size and page set sees
the same numbers and one reference serves them all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernels_bench.method import SEED
from kernels_bench.pool import Pool, make_pool, page_counts
from kernels_bench.spec import AttentionSpec, Pages
from kernels_bench.storage import QUERY_SCALE, kv_storage, quantisable
from kernels_bench.workload import Request, Workload, first_tokens

if TYPE_CHECKING:
    import torch
    from torch import Tensor


_DRAWN_AT_ONCE = 1 << 26
"""Numbers, so that a long context costs no second copy in fp32: 256 MiB."""


@dataclass(frozen=True)
class Contents:
    """A workload's values, before they are paged. T tokens, H heads, D dimensions."""

    requests: tuple[Request, ...]
    query: Tensor
    """[T, Hq, D]; beside an fp8 cache each number is one that an fp8 query can hold, since engines
    quantise it there for some kernels and leave it for others."""
    keys: tuple[Tensor, ...]
    """A request: [total, Hkv, D], in the dtype of the KV cache."""
    values: tuple[Tensor, ...]
    """A request: [total, Hkv, Dv]."""
    kv_scale: float
    """What a stored key or value is multiplied by; 1 unless the KV cache is fp8."""
    sinks: Tensor | None
    alibi_slopes: Tensor | None


@dataclass
class Batch:
    """A `PagedBatch`: see `backends/base.py` for the shapes. Mutable, since plans re-read it."""

    query: Tensor
    key_cache: Tensor
    value_cache: Tensor
    block_table: Tensor
    seq_lens: Tensor
    query_start_loc: Tensor
    seq_lens_cpu: Tensor
    query_start_loc_cpu: Tensor
    output: Tensor
    max_query_len: int
    max_seq_len: int
    pages: Pages
    softmax_scale: float
    q_scale: Tensor | None
    k_scale: Tensor | None
    v_scale: Tensor | None
    sinks: Tensor | None
    alibi_slopes: Tensor | None


def make_contents(spec: AttentionSpec, workload: Workload, device: torch.device) -> Contents:
    """Draw a workload's values on the device that will use them; the same on every run."""
    return draw_contents(spec, workload.requests(SEED), device)


def draw_contents(
    spec: AttentionSpec, requests: tuple[Request, ...], device: torch.device, seed: int = SEED
) -> Contents:
    """Draw the values of these requests, normal with variance 1."""
    import torch

    generator = torch.Generator(device).manual_seed(seed)

    def draw(dtype: torch.dtype, scale: float, *shape: int) -> Tensor:
        drawn = torch.empty(shape, dtype=dtype, device=device)
        at_once = max(1, _DRAWN_AT_ONCE // math.prod(shape[1:]))
        for first in range(0, shape[0], at_once):
            part = (min(at_once, shape[0] - first), *shape[1:])
            numbers = torch.randn(part, generator=generator, dtype=torch.float32, device=device)
            # Of a billion numbers two lie beyond 6 sigma, and what is too large for fp8 is NaN.
            largest = torch.finfo(dtype).max
            drawn[first : first + at_once] = numbers.div_(scale).clamp_(-largest, largest).to(dtype)
        return drawn

    lengths = [request.total_tokens for request in requests]
    tokens = sum(request.new_tokens for request in requests)
    tokens_and_heads = (sum(lengths), spec.num_kv_heads)
    scale, kv_dtype = kv_storage(spec, device)
    query = draw(getattr(torch, spec.dtype), 1.0, tokens, spec.num_q_heads, spec.head_dim)
    return Contents(
        requests,
        quantisable(spec, query),
        torch.split(draw(kv_dtype, scale, *tokens_and_heads, spec.head_dim), lengths),
        torch.split(draw(kv_dtype, scale, *tokens_and_heads, spec.value_dim), lengths),
        scale,
        sinks=(
            _sinks(draw(torch.float32, 1.0, spec.num_q_heads), spec, requests)
            if spec.has_sinks
            else None
        ),
        alibi_slopes=_alibi_slopes(spec, device) if spec.has_alibi else None,
    )


def make_batches(
    spec: AttentionSpec, contents: Contents, pages: Pages, count: int, longest_tokens: int = 0
) -> tuple[Batch, ...]:
    """Page the contents `count` times over disjoint page sets of one pool, so that a timing which
    walks through the batches finds a cold cache. Query and output are shared, as in serving.

    A row of the block table holds `longest_tokens` or the longest request, whichever is more.
    """
    counts = page_counts(contents.requests, pages)
    columns = max(*counts, pages.count_for(longest_tokens))
    pool = make_pool(contents, count * sum(counts), pages)
    page_sets = pool.free.view(count, -1)
    pool.write(contents, page_sets)
    output = empty_output(spec, contents)
    tables = pool.tables(contents.requests, page_sets, len(counts), columns)
    return tuple(bind(spec, contents, pool, table, output) for table in tables)


@contextmanager
def at_maxima(batches: Sequence[Batch]) -> Iterator[None]:
    """As an engine captures: every request at the longest context; afterwards as before.

    Columns of the block table behind a request's own pages point at garbage, which may be read.
    """
    own = [batch.seq_lens_cpu.clone() for batch in batches]
    for batch in batches:
        batch.seq_lens_cpu.fill_(batch.max_seq_len)
        batch.seq_lens.fill_(batch.max_seq_len)
    try:
        yield
    finally:
        for batch, lens in zip(batches, own, strict=True):
            batch.seq_lens_cpu.copy_(lens)
            batch.seq_lens.copy_(lens)


def empty_output(spec: AttentionSpec, contents: Contents) -> Tensor:
    """[T, Hq, Dv], full of NaN, for what a candidate computes."""
    import torch

    query = contents.query
    shape = (len(query), spec.num_q_heads, spec.value_dim)
    return torch.full(shape, math.nan, dtype=query.dtype, device=query.device)


def lens_and_starts(requests: Sequence[Request], padded_rows: int = 0) -> tuple[Tensor, Tensor]:
    """Total tokens, int32 [B], and where new ones start, int32 [B + 1], on the CPU. A padded row is
    empty, and starts where the last one ends.
    """
    import torch

    totals = [request.total_tokens for request in requests] + [0] * padded_rows
    starts = first_tokens(requests)
    starts += starts[-1:] * padded_rows
    return torch.tensor(totals, dtype=torch.int32), torch.tensor(starts, dtype=torch.int32)


def bind(
    spec: AttentionSpec, contents: Contents, pool: Pool, block_table: Tensor, output: Tensor
) -> Batch:
    """The batch of contents that were written to the pages of `block_table`."""
    import torch

    device = contents.query.device
    lens, starts = lens_and_starts(contents.requests)
    is_fp8 = spec.kv_dtype is not None
    scale = torch.tensor(contents.kv_scale, device=device) if is_fp8 else None
    return Batch(
        query=contents.query,
        key_cache=pool.key_cache,
        value_cache=pool.value_cache,
        block_table=block_table,
        seq_lens=lens.to(device),
        query_start_loc=starts.to(device),
        seq_lens_cpu=lens,
        query_start_loc_cpu=starts,
        output=output,
        max_query_len=max(request.new_tokens for request in contents.requests),
        max_seq_len=max(request.total_tokens for request in contents.requests),
        pages=pool.pages,
        softmax_scale=spec.scale,
        q_scale=torch.tensor(QUERY_SCALE, device=device) if is_fp8 else None,
        k_scale=scale,
        v_scale=scale,
        sinks=contents.sinks,
        alibi_slopes=contents.alibi_slopes,
    )


def _sinks(drawn: Tensor, spec: AttentionSpec, requests: tuple[Request, ...]) -> Tensor:
    """As heavy as all keys of the longest request together: a kernel that forgets its sinks must
    show at any length. Rounded as checkpoints store them; a kernel may take them in bfloat16.
    """
    import torch

    longest = max(request.total_tokens for request in requests)
    seen = longest if spec.sliding_window is None else min(longest, spec.sliding_window)
    return (drawn + math.log(seen)).to(torch.bfloat16).to(torch.float32)


def _alibi_slopes(spec: AttentionSpec, device: torch.device) -> Tensor:
    """2 ** (-8 i / Hq), i from 1: Press et al., Train Short, Test Long (2022)."""
    import torch

    return torch.tensor(
        [2.0 ** (-8.0 * (head + 1) / spec.num_q_heads) for head in range(spec.num_q_heads)],
        device=device,
    )
