"""What is timed on a GPU: several calls between two events, replayed or enqueued one by one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from statistics import median
from typing import TYPE_CHECKING

from kernels_bench.batch import at_maxima
from kernels_bench.host_clock import wall_us

if TYPE_CHECKING:
    import torch

    from kernels_bench.clock import Contestant

_CYCLES_PER_US = 2_000
"""Of the fastest clock among today's GPUs: a slower one is only delayed for longer."""
_LONGEST_DELAY_US = 50_000.0
_HOST_SAMPLES = 3
_HOST_SECONDS = 0.1
_PROBE_CALLS = 32
_PROBES = 20


@dataclass(frozen=True)
class Block:
    """Calls that are timed together."""

    enqueue: Callable[[], object]
    """Hands all of them to the device, and waits for none."""
    delay_us: float = 0.0
    """The device is kept busy for so long before, that the host's pace does not show."""


@dataclass(frozen=True)
class Marks:
    """The events around a block that was enqueued."""

    start: torch.cuda.Event
    end: torch.cuda.Event
    host_us: float
    """What handing the block over took."""

    def elapsed_us(self) -> float:
        """Once the device has been synchronised."""
        return float(self.start.elapsed_time(self.end)) * 1e3


@dataclass(frozen=True)
class Overheads:
    """What a block reads whatever it holds: about 15 us for a replay on an H100."""

    captured_us: float
    eager_us: float


def eager_block(contestant: Contestant, calls: int, call_us: float, turns: Iterator[int]) -> Block:
    """Calls from the host. All who share `turns` walk through the page sets together, block after
    block: nobody finds in the cache what another has just read.
    """
    launches = contestant.launches

    def enqueue() -> None:
        for turn in islice(turns, calls):
            launches[turn % len(launches)].run()

    return Block(enqueue, delay_for(calls * call_us))


def delay_for(enqueue_us: float) -> float:
    """So long that the host has handed over everything before the device begins."""
    return 1.5 * enqueue_us + 20.0


def captured_block(contestant: Contestant, calls: int) -> Block:
    """A CUDA graph of the calls, captured as an engine captures: with every request as long as the
    engine allows. Planned again, so that a replay computes the batch's own lengths.
    """

    def calls_of_a_block() -> None:
        for launch in islice(cycle(contestant.launches), calls):
            launch.run()

    with at_maxima(contestant.batches):
        contestant.plan()
        graph = capture(calls_of_a_block)
    contestant.plan()
    return Block(graph.replay)


def capture(act: Callable[[], object]) -> torch.cuda.CUDAGraph:
    """As `torch.cuda.graph` does, but for its collection of garbage and its return of the cache:
    those cost more than the capture, and a full grid holds hundreds.
    """
    import torch

    graph = torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):  # type: ignore[no-untyped-call]
        graph.capture_begin()
        try:
            act()
        except BaseException:
            with suppress(RuntimeError):  # the capture is void; what voided it is the news
                graph.capture_end()
            raise
        graph.capture_end()
    return graph


def keep_busy(us: float) -> None:
    """Queue work of at least so long, and of nobody."""
    import torch

    torch.cuda._sleep(int(us * _CYCLES_PER_US))  # type: ignore[no-untyped-call]


def mark(block: Block) -> Marks:
    """Enqueue a block between two events."""
    import torch

    start = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    if block.delay_us:
        keep_busy(min(block.delay_us, _LONGEST_DELAY_US))
    start.record()
    enqueued_us = wall_us([block.enqueue])
    end.record()
    return Marks(start, end, enqueued_us)


@dataclass(frozen=True)
class Reading:
    """One block by itself."""

    device_us: float
    host_us: float
    """What handing it over took, while the device was busy with a delay."""


def read(block: Block) -> Reading:
    """One block, behind its delay and nothing else."""
    import torch

    marks = mark(block)
    torch.cuda.synchronize()
    return Reading(marks.elapsed_us(), marks.host_us)


def elapsed_us(block: Block) -> float:
    """One block by itself, behind another that takes the cost of the synchronisation before."""
    block.enqueue()
    return read(block).device_us


def host_us(act: Callable[[], object]) -> float:
    """Median host time of a few, the device idle before each; of fewer where it is slow."""
    import torch

    times_us: list[float] = []
    deadline = time.perf_counter() + _HOST_SECONDS
    while len(times_us) < _HOST_SAMPLES and (not times_us or time.perf_counter() < deadline):
        torch.cuda.synchronize()
        times_us.append(wall_us([act]))
        torch.cuda.synchronize()
    return median(times_us)


def measure_overheads() -> Overheads:
    """From blocks of one and of many calls of the smallest kernel there is."""
    import torch

    tiny = torch.zeros(1, device="cuda")

    def eager(calls: int) -> Block:
        return Block(partial(repeat, lambda: tiny.add_(1), calls), delay_us=20.0 * calls + 50.0)

    def captured(calls: int) -> Block:
        return Block(capture(lambda: repeat(lambda: tiny.add_(1), calls)).replay)

    def fixed_us(make: Callable[[int], Block]) -> float:
        one, many = (
            median(elapsed_us(block) for _ in range(_PROBES))
            for block in (make(1), make(_PROBE_CALLS))
        )
        return fixed_part_us(one, many, _PROBE_CALLS)

    tiny.add_(1)  # compiled and loaded before a capture
    return Overheads(captured_us=fixed_us(captured), eager_us=fixed_us(eager))


def fixed_part_us(one_us: float, many_us: float, many: int) -> float:
    """What a block of one call holds besides the call."""
    return max(0.0, one_us - (many_us - one_us) / (many - 1))


def repeat(call: Callable[[], object], times: int) -> None:
    """One after the other."""
    for _ in range(times):
        call()
