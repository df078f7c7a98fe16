"""Processes that compile side by side, before the one that measures loads what they left on disk.

Triton, inductor and FlashInfer keep what they compile in caches on the disk.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from kernels_bench.child import Child
from kernels_bench.messages import Rehearsal

if TYPE_CHECKING:
    from kernels_bench.bench import Readiness

_CORES_EACH = 2
"""A compiler, and the Python that waits for it."""
_BYTES_EACH = 8 << 30
"""Of a GPU's memory for a process: its context, its modules, FlashInfer's workspace, one batch."""
_MOST = 8


def helpers_for(rehearsals: Sequence[Rehearsal]) -> int:
    """How many processes may rehearse side by side. On a CPU they would take the cores from each
    other, and one alone compiles there.
    """
    if not rehearsals or rehearsals[0].device.kind == "cpu":
        return 1
    by_cores = len(os.sched_getaffinity(0)) // _CORES_EACH
    by_memory = rehearsals[0].device.memory_bytes // _BYTES_EACH
    return max(1, min(_MOST, by_cores, by_memory, len(rehearsals)))


class Helpers:
    """Each takes the next rehearsal as soon as it has ended one."""

    def __init__(
        self,
        rehearsals: Sequence[Rehearsal],
        rehearse_in: Callable[[Child, Rehearsal], Readiness],
        on_ready: Callable[[int, Readiness], None],
        start: Callable[[], Child] = Child,
    ) -> None:
        self._rehearsals, self._rehearse_in, self._on_ready = rehearsals, rehearse_in, on_ready
        self._start = start
        self._waiting: SimpleQueue[int] = SimpleQueue()
        self._children: list[Child] = []
        self._is_over = False
        self._answers: dict[int, Readiness] = {}

    def rehearse(self, count: int) -> tuple[Readiness, ...]:
        """One answer a rehearsal, in their order, of so many processes."""
        for index in _spread(self._rehearsals):
            self._waiting.put(index)
        with ThreadPoolExecutor(count) as pool:
            try:
                for done in as_completed([pool.submit(self._work) for _ in range(count)]):
                    done.result()
            except BaseException:  # Ctrl-C as well: the threads wait for their processes
                self._is_over = True
                for child in self._children:
                    child.stop()
                raise
        return tuple(self._answers[index] for index in range(len(self._rehearsals)))

    def _work(self) -> None:
        child: Child | None = None
        while (index := _next(self._waiting)) is not None:
            if child is None or child.is_dead:
                child = self._start()
                self._children.append(child)
            if self._is_over:  # asked after it was listed: who stops the others sees it, or we do
                break
            self._answers[index] = self._rehearse_in(child, self._rehearsals[index])
            self._on_ready(index, self._answers[index])
        if child is not None and not child.is_dead:
            child.kill()


def _next(waiting: SimpleQueue[int]) -> int | None:
    try:
        return waiting.get_nowait()
    except Empty:
        return None


def _spread(rehearsals: Sequence[Rehearsal]) -> list[int]:
    """First one of each backend, then another of each: those of one backend wait for each other's
    builds, and share their imports.
    """
    seen: dict[str, int] = {}
    turns = []
    for index, rehearsal in enumerate(rehearsals):
        name = rehearsal.entrant.backend
        seen[name] = seen.get(name, -1) + 1
        turns.append((seen[name], index))
    return [index for _, index in sorted(turns)]
