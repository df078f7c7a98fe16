"""Reads what the scheduler of Linux gives this process's threads."""

from __future__ import annotations

from pathlib import Path

from kernels_bench.devices.files import text_of
from kernels_bench.health import CpuReading, Neighbour, NoReading

_S_PER_NS = 1e-9


class CpuWatch:
    """The watch of the CPU that this process runs on.

    `tasks` is the folder that has another for every thread. Time that a hypervisor takes is not
    seen: a thread runs meanwhile, as far as the kernel knows.
    """

    def __init__(self, tasks: Path) -> None:
        self._tasks = tasks

    def read(self) -> CpuReading | NoReading:
        """About 20 us a thread; nothing where the kernel keeps no such account."""
        times_ns = [
            (int(fields[0]), int(fields[1]))
            for fields in map(_schedstat, self._threads())
            if len(fields) == 3  # none: the thread ended meanwhile
        ]
        if not times_ns:
            return NoReading()
        ran, waited = zip(*times_ns, strict=True)
        return CpuReading(sum(ran) * _S_PER_NS, sum(waited) * _S_PER_NS)

    def others(self) -> tuple[Neighbour, ...]:
        """Nobody: what others take of a CPU, the readings tell."""
        return ()

    def close(self) -> None:
        """Nothing is held."""

    def _threads(self) -> list[Path]:
        try:
            return list(self._tasks.iterdir())
        except OSError:  # macOS has no /proc
            return []


def _schedstat(thread: Path) -> list[str]:
    """Nanoseconds on a CPU, nanoseconds waiting for one, turns: sched-stats.rst of Linux."""
    return text_of(thread / "schedstat").split()
