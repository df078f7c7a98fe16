"""Backends of another distribution that look as if they worked, each with one fault."""

from __future__ import annotations

import ctypes
import math
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from kernels_bench.gather import gather_pages
from kernels_bench.spec import AttentionSpec, Pages, Support, Variant

if TYPE_CHECKING:
    from torch import Tensor

    from kernels_bench.backends.base import Launch, PagedBatch

PLAIN = Variant("plain", ("hostile-backends",))
GIB = 1 << 30
SLOW_S = 0.02
"""Longer than an honest call on the shapes that the tests ask for, so that it never wins."""
LATE_S = 0.05
"""Longer than a check on a busy machine takes to look at the output."""


@dataclass(frozen=True)
class Sight:
    """Which keys of a request a kernel sees; an honest one all that it should."""

    pages_beyond: int = 0
    """More than a request owns: -1 leaves its last one out."""
    sees_window: bool = True

    def num_keys(self, total_tokens: int, pages: Pages) -> int:
        """Of a request; at least those in its first page."""
        owned = -(-total_tokens // pages.size)
        whole = (owned + self.pages_beyond) * pages.size
        return whole if self.pages_beyond > 0 else min(total_tokens, max(whole, pages.size))

    def mask(self, spec: AttentionSpec, positions: Tensor, keys: Tensor, total: int) -> Tensor:
        """bool [q, k]; what lies behind the request's end is seen by every query."""
        at = positions[:, None]
        seen = (keys <= at) | (keys >= total)
        if self.sees_window and spec.sliding_window is not None:
            seen &= (at - keys < spec.sliding_window) | (keys >= total)
        return seen


class Attention:
    """Paged attention in plain torch, a request at a time, with nothing to plan."""

    def __init__(self, spec: AttentionSpec, batch: PagedBatch, sight: Sight) -> None:
        self.spec, self.batch, self.sight = spec, batch, sight

    def plan(self) -> None:
        pass

    def run(self) -> None:
        starts = self.batch.query_start_loc_cpu.tolist()
        for row, total in enumerate(self.batch.seq_lens_cpu.tolist()):
            tokens = slice(starts[row], starts[row + 1])
            self.batch.output[tokens] = self._attend(row, self.batch.query[tokens], total)

    def _attend(self, row: int, query: Tensor, total: int) -> Tensor:
        """[new, Hq, D] -> [new, Hq, D]"""
        import torch
        from torch.nn.functional import scaled_dot_product_attention

        batch, spec = self.batch, self.spec
        num_keys = self.sight.num_keys(total, batch.pages)
        columns = torch.arange(-(-num_keys // batch.pages.size))
        # Behind the end of a row lies the next row, as it does for a kernel that walks too far.
        flat = batch.block_table.flatten()
        pages = flat[(row * batch.block_table.shape[1] + columns) % len(flat)][None]
        key, value = (
            gather_pages(cache, pages, batch.pages)[:, :, :num_keys]
            for cache in (batch.key_cache, batch.value_cache)
        )
        positions = torch.arange(total - len(query), total)
        mask = self.sight.mask(spec, positions, torch.arange(num_keys), total)
        output = scaled_dot_product_attention(
            query.transpose(0, 1)[None],
            key,
            value,
            attn_mask=mask,
            scale=batch.softmax_scale,
            enable_gqa=spec.num_q_heads > spec.num_kv_heads,
        )
        return output[0].transpose(0, 1)


class Zeros(Attention):
    def run(self) -> None:
        self.batch.output.zero_()


class NanInLastRow(Attention):
    def run(self) -> None:
        super().run()
        self.batch.output[-1] = math.nan


class RightOnlyOnce(Attention):
    """Remembers its first answer, which is right for as long as nobody changes the question."""

    remembered: Tensor | None = None

    def run(self) -> None:
        if self.remembered is None:
            super().run()
            self.remembered = self.batch.output.clone()
        self.batch.output.copy_(self.remembered)


class ScalesQueries(Attention):
    """In place, as a kernel may that takes the query for its own: the next one finds it changed."""

    def run(self) -> None:
        super().run()
        self.batch.query.mul_(self.batch.softmax_scale)


class WritesIntoPages(Attention):
    def run(self) -> None:
        super().run()
        self.batch.key_cache.mul_(2)


class NeverFills(Attention):
    def run(self) -> None:
        pass


class Segfaults(Attention):
    def run(self) -> None:
        ctypes.string_at(0)


class Hangs(Attention):
    """From the second call on: the first may take as long as compiling does."""

    calls = 0

    def run(self) -> None:
        super().run()
        self.calls += 1
        if self.calls > 1:
            time.sleep(3600)


class Allocates(Attention):
    """Of memory that nobody touches, so that it costs the machine nothing."""

    def run(self) -> None:
        import torch

        held = []
        while True:
            held.append(torch.empty(GIB, dtype=torch.uint8))


class Prints(Attention):
    """Right, but slow and loud, through Python and past it."""

    def run(self) -> None:
        super().run()
        time.sleep(SLOW_S)
        sys.stdout.write('{"schema": 1, "decisions": []}\n')
        sys.stdout.flush()
        os.write(1, b"\x00\xff rubbish\n" * 100)


class WorksBehindTheClock(Attention):
    """Returns at once and works in a thread: what another stream is on a GPU."""

    threads: ClassVar[list[threading.Thread]] = []

    def run(self) -> None:
        thread = threading.Thread(target=self._work, daemon=True)
        self.threads.append(thread)
        thread.start()

    def _work(self) -> None:
        time.sleep(LATE_S)
        super().run()


@dataclass(frozen=True)
class Hostile:
    """A backend that says yes to everything."""

    name: str
    make: Callable[[AttentionSpec, PagedBatch, Sight], Launch]
    sight: Sight = Sight()

    def variants(self, *_: object) -> tuple[Variant, ...]:
        return (PLAIN,)

    def supports(self, *_: object) -> Support:
        return Support()

    def prepare(self, _variant: Variant, spec: AttentionSpec, batch: PagedBatch) -> Launch:
        return self.make(spec, batch, self.sight)


DROPS_LAST_PAGE = Hostile("drops_last_page", Attention, Sight(pages_beyond=-1))
READS_ONE_PAGE_TOO_MANY = Hostile("reads_one_page_too_many", Attention, Sight(pages_beyond=1))
IGNORES_WINDOW = Hostile("ignores_window", Attention, Sight(sees_window=False))
ZEROS = Hostile("zeros", Zeros)
NAN_IN_LAST_ROW = Hostile("nan_in_last_row", NanInLastRow)
RIGHT_ONLY_ONCE = Hostile("right_only_once", RightOnlyOnce)
SCALES_QUERIES = Hostile("scales_queries", ScalesQueries)
WRITES_INTO_PAGES = Hostile("writes_into_pages", WritesIntoPages)
NEVER_FILLS = Hostile("never_fills", NeverFills)
SEGFAULTS = Hostile("segfaults", Segfaults)
HANGS = Hostile("hangs", Hangs)
ALLOCATES = Hostile("allocates", Allocates)
PRINTS = Hostile("prints", Prints)
WORKS_BEHIND_THE_CLOCK = Hostile("works_behind_the_clock", WorksBehindTheClock)
