"""The KV cache of one layer: pages that requests own, one that pads tables, and a few of nobody."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from kernels_bench.method import SEED
from kernels_bench.spec import Pages

if TYPE_CHECKING:
    from torch import Tensor

    from kernels_bench.batch import Contents
    from kernels_bench.workload import Request

GARBAGE = 3.0e4
"""In slots behind a request's last token and in the page that pads tables: finite, since a kernel
that zeroes its probabilities still computes 0 * NaN there, and large enough to show when read."""
UNOWNED_PAGES = 3
"""Pages full of NaN, spread among the others: no table names them, so nobody may read them."""
_NAN_BYTE = 0x7F
"""NaN in both fp8 formats."""


@dataclass(frozen=True)
class Pool:
    """Pages of keys and values, shuffled; what nobody has written yet is NaN."""

    key_cache: Tensor
    """As `pages` says."""
    value_cache: Tensor
    pages: Pages
    free: Tensor
    """int64 [n] on the device: pages to give to requests, in an order without meaning."""
    padding_page: int
    """Behind the end of a request's row in a block table, as an engine's null page: garbage."""

    def write(self, contents: Contents, page_sets: Tensor) -> None:
        """Put the contents into every row of `page_sets`, int64 [sets, pages of all requests].

        Takes memory for one more copy of the keys, then of the values.
        """
        slots = _slots(contents.requests, self.pages).to(page_sets.device)
        num_pages = page_sets.shape[1]
        for cache, rows in ((self.key_cache, contents.keys), (self.value_cache, contents.values)):
            _bits(cache)[page_sets] = _paged(rows, slots, num_pages, self.pages)

    def tables(
        self, requests: Sequence[Request], page_sets: Tensor, rows: int, columns: int
    ) -> Tensor:
        """Block tables int32 [sets, rows, columns]; rows behind the last request are padding."""
        import torch

        device = page_sets.device
        shape = (len(page_sets), rows, columns)
        tables = torch.full(shape, self.padding_page, dtype=torch.int32, device=device)
        counts = page_counts(requests, self.pages)
        row_of_page = [row for row, count in enumerate(counts) for _ in range(count)]
        column_of_page = [column for count in counts for column in range(count)]
        places = torch.tensor([row_of_page, column_of_page]).to(device)
        tables[:, places[0], places[1]] = page_sets.to(torch.int32)
        return tables


def make_pool(contents: Contents, num_pages: int, pages: Pages) -> Pool:
    """A pool that can give away `num_pages`; `contents` says the shapes and the dtype."""
    import torch

    device = contents.query.device
    order = torch.randperm(num_pages + UNOWNED_PAGES, generator=torch.Generator().manual_seed(SEED))
    pool = Pool(
        _empty(contents.keys[0], len(order) + 1, pages),
        _empty(contents.values[0], len(order) + 1, pages),
        pages,
        order[:num_pages].to(device),
        padding_page=len(order),
    )
    for cache in (pool.key_cache, pool.value_cache):
        cache[pool.padding_page].fill_(_garbage(cache))
    return pool


def page_counts(requests: Sequence[Request], pages: Pages) -> tuple[int, ...]:
    """How many pages each request owns."""
    return tuple(pages.count_for(request.total_tokens) for request in requests)


def _empty(like: Tensor, num_pages: int, pages: Pages) -> Tensor:
    """A cache of NaN for tokens [total, H, D]."""
    import torch

    heads, dim = like.shape[1:]
    inner = (pages.size, heads) if pages.layout == "NHD" else (heads, pages.size)
    cache = torch.empty((num_pages, *inner, dim), dtype=like.dtype, device=like.device)
    _bits(cache).fill_(_NAN_BYTE if like.element_size() == 1 else math.nan)
    return cache


def _slots(requests: Sequence[Request], pages: Pages) -> Tensor:
    """Where each token of all requests stands when every request fills whole pages: int64 [T]."""
    import torch

    owned = page_counts(requests, pages)
    first_slots = (first * pages.size for first in accumulate((0, *owned[:-1])))
    return torch.cat(
        [
            torch.arange(first, first + request.total_tokens)
            for first, request in zip(first_slots, requests, strict=True)
        ]
    )


def _paged(rows: Sequence[Tensor], slots: Tensor, num_pages: int, pages: Pages) -> Tensor:
    """All requests' tokens as whole pages [num_pages, ...], as bits."""
    import torch

    tokens = torch.cat([_bits(each) for each in rows])
    padded = torch.empty(
        (num_pages * pages.size, *tokens.shape[1:]), dtype=rows[0].dtype, device=tokens.device
    )
    padded.fill_(_garbage(padded))
    _bits(padded)[slots] = tokens
    paged = _bits(padded).view(-1, pages.size, *tokens.shape[1:])
    return paged if pages.layout == "NHD" else paged.transpose(1, 2)


def _garbage(like: Tensor) -> float:
    import torch

    return min(GARBAGE, torch.finfo(like.dtype).max / 2)


def _bits(tensor: Tensor) -> Tensor:
    """fp8 as bytes, since torch indexes few tensors of fp8; all else as it is."""
    import torch

    return tensor.view(torch.uint8) if tensor.element_size() == 1 else tensor
