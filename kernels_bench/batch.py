"""Builds the tensors of a workload: uneven lengths, shuffled pages, random values, never zeros.

Values are drawn once a workload (`Contents`), so that every candidate, page size and page set sees
the same numbers and one reference serves them all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from kernels_bench.method import SEED
from kernels_bench.spec import AttentionSpec, Pages

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from kernels_bench.workload import Request, Workload

GARBAGE = 3.0e4
"""In slots behind a request's last token: finite, since a kernel that zeroes its probabilities
still computes 0 * NaN there, and large enough to show when it is read."""


@dataclass(frozen=True)
class Contents:
    """A workload's values, before they are paged. T tokens, H heads, D dimensions."""

    requests: tuple[Request, ...]
    query: Tensor
    """[T, Hq, D]"""
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
    import torch

    generator = torch.Generator(device).manual_seed(SEED)
    dtype = getattr(torch, spec.dtype)
    requests = workload.requests(SEED)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float32, device=device)

    tokens = sum(request.new_tokens for request in requests)
    query = draw(tokens, spec.num_q_heads, spec.head_dim).to(dtype)
    scale, kv_dtype = _kv_storage(spec)
    keys: list[Tensor] = []
    values: list[Tensor] = []
    for request in requests:
        for store, dim in ((keys, spec.head_dim), (values, spec.value_dim)):
            store.append((draw(request.total_tokens, spec.num_kv_heads, dim) / scale).to(kv_dtype))
    return Contents(
        requests,
        query,
        tuple(keys),
        tuple(values),
        scale,
        sinks=_sinks(draw(spec.num_q_heads), spec, requests) if spec.has_sinks else None,
        alibi_slopes=_alibi_slopes(spec, device) if spec.has_alibi else None,
    )


def make_batches(
    spec: AttentionSpec, contents: Contents, pages: Pages, count: int, longest_tokens: int = 0
) -> tuple[Batch, ...]:
    """Page the contents `count` times over disjoint page sets of one pool, so that a timing which
    walks through the batches finds a cold cache. Query and output are shared, as in serving.

    A row of the block table holds `longest_tokens` or the longest request, whichever is more.
    """
    import torch

    device = contents.query.device
    per_request = [math.ceil(r.total_tokens / pages.size) for r in contents.requests]
    columns = max(*per_request, math.ceil(longest_tokens / pages.size))
    padding_page = count * sum(per_request)
    order = torch.randperm(padding_page, generator=torch.Generator().manual_seed(SEED))
    key_cache = _pool(contents.keys[0], padding_page + 1, pages)
    value_cache = _pool(contents.values[0], padding_page + 1, pages)
    output = torch.full(
        (contents.query.shape[0], spec.num_q_heads, spec.value_dim),
        math.nan,
        dtype=contents.query.dtype,
        device=device,
    )
    batches = []
    for page_ids in order.to(device).chunk(count):
        rows = torch.split(page_ids, per_request)
        for row, keys, values in zip(rows, contents.keys, contents.values, strict=True):
            _fill(key_cache, row, keys, pages)
            _fill(value_cache, row, values, pages)
        table = torch.full((len(rows), columns), padding_page, dtype=torch.int32, device=device)
        for index, row in enumerate(rows):
            table[index, : len(row)] = row
        batches.append(_bind(spec, contents, pages, (key_cache, value_cache, table, output)))
    return tuple(batches)


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


def _bind(
    spec: AttentionSpec,
    contents: Contents,
    pages: Pages,
    tensors: tuple[Tensor, Tensor, Tensor, Tensor],
) -> Batch:
    """`tensors` are key cache, value cache, block table and output."""
    import torch

    key_cache, value_cache, table, output = tensors
    device = contents.query.device
    totals = [request.total_tokens for request in contents.requests]
    new_tokens = [request.new_tokens for request in contents.requests]
    lens = torch.tensor(totals, dtype=torch.int32)
    starts = torch.tensor([0, *accumulate(new_tokens)], dtype=torch.int32)
    scale = None if spec.kv_dtype is None else torch.tensor(contents.kv_scale, device=device)
    return Batch(
        query=contents.query,
        key_cache=key_cache,
        value_cache=value_cache,
        block_table=table,
        seq_lens=lens.to(device),
        query_start_loc=starts.to(device),
        seq_lens_cpu=lens,
        query_start_loc_cpu=starts,
        output=output,
        max_query_len=max(new_tokens),
        max_seq_len=max(totals),
        pages=pages,
        softmax_scale=spec.scale,
        q_scale=None,
        k_scale=scale,
        v_scale=scale,
        sinks=contents.sinks,
        alibi_slopes=contents.alibi_slopes,
    )


def _pool(like: Tensor, num_pages: int, pages: Pages) -> Tensor:
    import torch

    heads, dim = like.shape[1:]
    shape = (
        (num_pages, pages.size, heads, dim)
        if pages.layout == "NHD"
        else (num_pages, heads, pages.size, dim)
    )
    garbage = min(GARBAGE, torch.finfo(like.dtype).max / 2)
    return torch.full(shape, garbage, dtype=like.dtype, device=like.device)


def _fill(pool: Tensor, page_ids: Tensor, rows: Tensor, pages: Pages) -> None:
    """Write a request's tokens into its pages, leaving garbage behind the last token."""
    whole = len(rows) // pages.size
    tail = len(rows) - whole * pages.size
    full_pages = rows[: whole * pages.size].view(whole, pages.size, *rows.shape[1:])
    if pages.layout == "NHD":
        pool[page_ids[:whole]] = full_pages
        if tail:
            pool[page_ids[whole], :tail] = rows[-tail:]
    else:
        pool[page_ids[:whole]] = full_pages.transpose(1, 2)
        if tail:
            pool[page_ids[whole], :, :tail] = rows[-tail:].transpose(0, 1)


def _kv_storage(spec: AttentionSpec) -> tuple[float, torch.dtype]:
    """Scale and dtype of the KV cache. A fixed fp8 scale puts 6 sigma of a normal draw at the
    format's largest number, as a calibrated checkpoint would.
    """
    import torch

    match spec.kv_dtype:
        case None:
            return 1.0, getattr(torch, spec.dtype)
        case "fp8_e4m3":
            kv_dtype = torch.float8_e4m3fn
        case "fp8_e5m2":
            kv_dtype = torch.float8_e5m2
        case other:
            raise ValueError(f"kv_dtype {other!r}: expected fp8_e4m3, fp8_e5m2 or none")
    return 6.0 / torch.finfo(kv_dtype).max, kv_dtype


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
