"""What is timed on a GPU: several calls between two events, replayed or enqueued one by one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from statistics import median
from typing import TYPE_CHECKING

from kernels_bench.batch import at_maxima
from kernels_bench.host_clock import HOST_SAMPLES

if TYPE_CHECKING:
    import torch

    from kernels_bench.race import Contestant

_CYCLES_PER_US = 2_000
"""Of the fastest clock among today's GPUs: a slower one is only delayed for longer."""
_LONGEST_DELAY_US = 50_000.0
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

    def elapsed_us(self) -> float:
        """Once the device has been synchronised."""
        return float(self.start.elapsed_time(self.end)) * 1e3


@dataclass(frozen=True)
class Overheads:
    """What a block reads whatever it holds: about 15 us for a replay on an H100."""

    captured_us: float
    eager_us: float


def eager_block(contestant: Contestant, calls: int, call_us: float) -> Block:
    """Calls from the host that walk through the page sets without a break, block after block."""
    launches = cycle(contestant.launches)

    def enqueue() -> None:
        for launch in islice(launches, calls):
            launch.run()

    return Block(enqueue, delay_us=1.5 * calls * call_us + 20.0)


def captured_block(contestant: Contestant, calls: int) -> Block:
    """A CUDA graph of the calls, captured as an engine captures: with every request as long as the
    engine allows. Planned again, so that a replay computes the batch's own lengths.
    """
    import torch

    graph = torch.cuda.CUDAGraph()
    with at_maxima(contestant.batches):
        contestant.plan()
        torch.cuda.synchronize()
        with torch.cuda.graph(graph):
            for launch in islice(cycle(contestant.launches), calls):
                launch.run()
    contestant.plan()
    return Block(graph.replay)


def mark(block: Block) -> Marks:
    """Enqueue a block between two events."""
    import torch

    start = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    if block.delay_us:
        cycles = int(min(block.delay_us, _LONGEST_DELAY_US) * _CYCLES_PER_US)
        torch.cuda._sleep(cycles)  # type: ignore[no-untyped-call]
    start.record()
    block.enqueue()
    end.record()
    return Marks(start, end)


def elapsed_us(block: Block) -> float:
    """One block by itself, behind another that takes the cost of the synchronisation before."""
    import torch

    block.enqueue()
    marks = mark(block)
    torch.cuda.synchronize()
    return marks.elapsed_us()


def host_us(act: Callable[[], object]) -> float:
    """Median host time of a few, the device idle before each; of fewer where it is slow."""
    import torch

    times_us: list[float] = []
    deadline = time.perf_counter() + _HOST_SECONDS
    while len(times_us) < HOST_SAMPLES and (not times_us or time.perf_counter() < deadline):
        torch.cuda.synchronize()
        start = time.perf_counter_ns()
        act()
        times_us.append((time.perf_counter_ns() - start) / 1e3)
        torch.cuda.synchronize()
    return median(times_us)


def measure_overheads() -> Overheads:
    """From blocks of one and of many calls of the smallest kernel there is."""
    import torch

    tiny = torch.zeros(1, device="cuda")

    def eager(calls: int) -> Block:
        return Block(partial(_repeat, lambda: tiny.add_(1), calls), delay_us=20.0 * calls + 50.0)

    def captured(calls: int) -> Block:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            _repeat(lambda: tiny.add_(1), calls)
        return Block(graph.replay)

    def read(make: Callable[[int], Block]) -> float:
        one, many = (
            median(elapsed_us(block) for _ in range(_PROBES))
            for block in (make(1), make(_PROBE_CALLS))
        )
        return fixed_part_us(one, many, _PROBE_CALLS)

    tiny.add_(1)  # compiled and loaded before a capture
    return Overheads(captured_us=read(captured), eager_us=read(eager))


def fixed_part_us(one_us: float, many_us: float, many: int) -> float:
    """What a block of one call holds besides the call."""
    return max(0.0, one_us - (many_us - one_us) / (many - 1))


def _repeat(call: Callable[[], object], times: int) -> None:
    for _ in range(times):
        call()
