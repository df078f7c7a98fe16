"""From pages to plain tensors, for backends and references that know no paging."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from kernels_bench.spec import Pages


def gather_pages(cache: Tensor, block_table: Tensor, pages: Pages) -> Tensor:
    """Collect the pages of each row.

    Args:
        cache: [pages, size, H, D] for NHD, [pages, H, size, D] for HND.
        block_table: int [B, n].
        pages: says which of the two `cache` is.

    Returns:
        [B, H, n * size, D], a view of one copy.
    """
    rows, per_row = block_table.shape
    collected = cache[block_table]
    if pages.layout == "NHD":
        heads, dim = cache.shape[2:]
        return collected.view(rows, per_row * pages.size, heads, dim).transpose(1, 2)
    heads, dim = cache.shape[1], cache.shape[3]
    return collected.transpose(1, 2).reshape(rows, heads, per_row * pages.size, dim)
