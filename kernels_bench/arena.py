"""One workload's inputs, its right answer, and who may race on it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kernels_bench.batch import Batch, Contents, make_batches
from kernels_bench.binding import prepared
from kernels_bench.candidates import Entrant
from kernels_bench.capture import is_captured, table_tokens
from kernels_bench.clock import Clock, Contestant, Probe, TimerT
from kernels_bench.failures import failure
from kernels_bench.floor import kv_bytes_seen
from kernels_bench.gate import Truth, check
from kernels_bench.grid import kv_bytes, scratch_bytes
from kernels_bench.method import SEED
from kernels_bench.spec import Failed, Pages, Wrong

if TYPE_CHECKING:
    from kernels_bench.messages import Task

_MAX_PAGE_SETS = 48
_CACHES_BETWEEN_USES = 3


@dataclass(frozen=True)
class Admitted:
    """A candidate whose output is right."""

    contestant: Contestant
    probe: Probe


class Arena:
    """Binds candidates to batches and checks what they write."""

    def __init__(self, task: Task, contents: Contents, truth: Truth) -> None:
        self._task, self._contents, self._truth = task, contents, truth
        self._page_sets = page_sets(task)
        self._is_cold = self._page_sets >= _wanted_page_sets(task)
        self._batches: dict[Pages, tuple[Batch, ...]] = {}

    def admit(self, entrant: Entrant, clock: Clock[TimerT]) -> Admitted | Wrong | Failed:
        """Bind a candidate to every page set, read its time on the first, and check what it wrote
        there: one run is enough for both.
        """
        task = self._task
        captured = is_captured(task.device, entrant.variant, task.workload.phase)
        try:
            batches = self._bind(entrant.pages, captured)
            launches = tuple(prepared(entrant, task.spec, batch) for batch in batches)
            contestant = Contestant(launches, batches, captured, is_cold=self._is_cold)
            batches[0].output.fill_(math.nan)
            probe = clock.probe(contestant)
            wrong = check(self._truth, batches[0].output)
        except Exception as error:  # a candidate's code: whatever it raises is its outcome
            return failure(error)
        return wrong or Admitted(contestant, probe)

    def recheck(self, entrant: Entrant, rerun: Callable[[], None]) -> Wrong | Failed | None:
        """Check again after the race what was timed: a stale plan shows only there."""
        output = self._batches[entrant.pages][0].output
        output.fill_(math.nan)
        try:
            rerun()
            return check(self._truth, output)
        except Exception as error:  # a candidate's code: whatever it raises is its outcome
            return failure(error)

    def _bind(self, pages: Pages, captured: bool) -> tuple[Batch, ...]:
        """Batches of one pool, which every candidate with these pages shares."""
        task = self._task
        if pages not in self._batches:
            longest = table_tokens(task.device, task.workload.phase, task.max_model_len)
            self._batches[pages] = make_batches(
                task.spec, self._contents, pages, self._page_sets, longest
            )
        batches = self._batches[pages]
        if not captured:
            return batches
        return tuple(replace(batch, max_seq_len=task.max_model_len) for batch in batches)


def page_sets(task: Task) -> int:
    """Disjoint page sets to walk through: between two layers an engine's weights pass through the
    cache, so keys are read cold. Three times the cache between two uses of a page, in memory's
    bounds.
    """
    room = scratch_bytes(task.device) // kv_bytes(task.spec, task.workload)
    return max(1, min(_wanted_page_sets(task), _MAX_PAGE_SETS, room))


def _wanted_page_sets(task: Task) -> int:
    requests = task.workload.requests(SEED)
    seen = sum(kv_bytes_seen(task.spec, request) for request in requests)
    return math.ceil(_CACHES_BETWEEN_USES * task.device.last_level_cache_bytes / seen)
