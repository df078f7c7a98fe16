"""A block table as FlashInfer's wrappers read it, kept where a captured graph looks for it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kernels_bench.backends.base import PagedBatch


class PageIndices:
    """The block table as FlashInfer reads it: the pages of all requests in one row.

    The buffers on the device stay where they are, for a graph that was captured over them.
    """

    def __init__(self, batch: PagedBatch) -> None:
        import torch

        self._batch = batch
        rows, columns = batch.block_table.shape
        empty = partial(torch.empty, dtype=torch.int32, device=batch.block_table.device)
        self.buffer = empty(rows * columns)
        """Room for every request at its longest."""
        self.pages = self.buffer[:0]
        """The part in use."""
        self.starts = empty(rows + 1)
        """Where each request's pages start, and where the last one's end."""
        self.last_page_len = empty(rows)
        self.starts_cpu = torch.zeros(rows + 1, dtype=torch.int32)
        self.last_page_len_cpu = torch.zeros(rows, dtype=torch.int32)
        self._table_rows = torch.arange(rows, device=batch.block_table.device) * columns

    def update(self) -> None:
        """For the lengths and the table as they are now; waits for nothing on the device."""
        import torch

        batch, size = self._batch, self._batch.pages.size
        lens = batch.seq_lens_cpu
        counts = (lens + size - 1) // size
        self.starts_cpu = torch.zeros_like(self.starts_cpu)
        self.starts_cpu[1:] = counts.cumsum(0)
        self.last_page_len_cpu = lens - (counts - 1).clamp(min=0) * size
        self.starts.copy_(self.starts_cpu, non_blocking=True)
        self.last_page_len.copy_(self.last_page_len_cpu, non_blocking=True)
        total = int(self.starts_cpu[-1])
        self.pages = self.buffer[:total]
        # With the total known here, repeating needs no answer from the device.
        shifts = self._table_rows - self.starts[:-1]
        shifts = shifts.repeat_interleave(self.starts.diff(), output_size=total)
        places = shifts + torch.arange(total, device=shifts.device)
        torch.index_select(batch.block_table.flatten(), 0, places, out=self.pages)
