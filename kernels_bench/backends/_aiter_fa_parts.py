"""What vLLM's ROCM_AITER_FA plans for a step (vllm 0.24, v1/attention/backends/rocm_aiter_fa.py):
which requests are served alike, and which cached tokens are fetched at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Literal, TypeAlias

from kernels_bench.workload import VERIFY_MAX_NEW_TOKENS, Request

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from kernels_bench.backends.base import PagedBatch

Kind: TypeAlias = Literal["prefill", "extend", "decode"]
"""In the order in which vLLM launches them."""

FETCHED_AT_ONCE = 32 * 1024
"""Tokens of all requests together: _CP_TOKENS_PER_ITER_ROCM."""


@dataclass(frozen=True)
class Stretch:
    """Neighbours in a batch that one call serves. vLLM sorts its requests, so that each kind is one
    stretch; here a kind whose requests stand apart takes a call for each of its stretches.
    """

    kind: Kind
    rows: slice
    tokens: slice
    requests: tuple[Request, ...]

    @property
    def longest_query(self) -> int:
        """New tokens."""
        return max(request.new_tokens for request in self.requests)

    @property
    def longest_context(self) -> int:
        """Cached and new tokens."""
        return max(request.total_tokens for request in self.requests)


@dataclass(frozen=True)
class Fetch:
    """Cached tokens that are gathered into plain tensors, request by request."""

    starts: Tensor
    """int32 [n + 1]: where each request's tokens start among the fetched."""
    first: Tensor
    """int32 [n]: each request's first position."""
    request_of_token: Tensor
    """int32 [tokens]"""
    longest: int
    tokens: int


def requests_of(query_start_loc: Sequence[int], seq_lens: Sequence[int]) -> tuple[Request, ...]:
    """Row by row; a padded row has neither new nor cached tokens."""
    ends = query_start_loc[1:]
    return tuple(
        Request(end - start, total)
        for start, end, total in zip(query_start_loc, ends, seq_lens, strict=False)
    )


def decode_tokens(requests: Sequence[Request]) -> int:
    """New tokens up to which a request is a decode: with speculation as many as are verified, or
    one (`reorder_batch_threshold`).
    """
    lengths = {request.new_tokens for request in requests}
    if len(lengths) > 1 or any(request.new_tokens == request.total_tokens for request in requests):
        return 1
    (length,) = lengths
    return length if length <= VERIFY_MAX_NEW_TOKENS else 1


def stretches(requests: Sequence[Request], longest_decode: int) -> list[Stretch]:
    """Every request is in one of them."""

    def kind_of(request: Request) -> Kind:
        if request.new_tokens <= longest_decode:
            return "decode"
        return "prefill" if request.new_tokens == request.total_tokens else "extend"

    found, row, token = [], 0, 0
    for kind, group in groupby(requests, kind_of):
        own = tuple(group)
        tokens = sum(request.new_tokens for request in own)
        rows = slice(row, row + len(own))
        found.append(Stretch(kind, rows, slice(token, token + tokens), own))
        row, token = rows.stop, token + tokens
    order = ("prefill", "extend", "decode")
    return sorted(found, key=lambda stretch: order.index(stretch.kind))


def starts_of(batch: PagedBatch, part: Stretch) -> Tensor:
    """Where its requests' tokens start among its own: the batch's tensor where it comes first."""
    starts = batch.query_start_loc[part.rows.start : part.rows.stop + 1]
    return starts if part.rows.start == 0 else starts - starts[0]


def context_fetches(requests: Sequence[Request], device: torch.device) -> list[Fetch]:
    """All that is cached of each, in parts that fit a workspace."""
    at_once = FETCHED_AT_ONCE // len(requests)
    cached = [request.total_tokens - request.new_tokens for request in requests]
    return [
        _fetch(
            [start] * len(cached), [min(max(each - start, 0), at_once) for each in cached], device
        )
        for start in range(0, max(cached), at_once)
    ]


def window_fetch(requests: Sequence[Request], window: int, device: torch.device) -> Fetch:
    """All that the new tokens see, themselves included."""
    seen = [min(request.total_tokens, request.new_tokens + window) for request in requests]
    first = [request.total_tokens - each for request, each in zip(requests, seen, strict=True)]
    return _fetch(first, seen, device)


def _fetch(first: Sequence[int], lengths: Sequence[int], device: torch.device) -> Fetch:
    import torch

    counts = torch.tensor(lengths, dtype=torch.int32)
    starts = torch.zeros(len(lengths) + 1, dtype=torch.int32)
    torch.cumsum(counts, 0, dtype=torch.int32, out=starts[1:])
    rows = torch.arange(len(lengths), dtype=torch.int32).repeat_interleave(counts)
    return Fetch(
        starts.to(device, non_blocking=True),
        torch.tensor(first, dtype=torch.int32).to(device, non_blocking=True),
        rows.to(device, non_blocking=True),
        max(lengths),
        sum(lengths),
    )
