"""The clock for a GPU: blocks back to back between events, one synchronisation a round.

A block is a CUDA graph of several calls where an engine would capture the phase, and otherwise the
same calls from the host. They walk through the page sets behind matrix products, and so find a cold
cache and the clock that a model's other layers leave.
ROCm's torch answers to the same names.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from statistics import median

from kernels_bench.clock import Contestant, ContestantError, Lap, OnTurn, Probe
from kernels_bench.cuda_blocks import (
    Block,
    Marks,
    captured_block,
    delay_for,
    eager_block,
    elapsed_us,
    host_us,
    mark,
    measure_overheads,
    read,
)
from kernels_bench.cuda_waits import check_finished, waits_for_the_device
from kernels_bench.heat import Heat
from kernels_bench.host_clock import HOST_SAMPLES
from kernels_bench.rules import Rules

_LONG_US = 500.0
"""A first reading as long as this is believed: about 15 us are late after a synchronisation."""
_PROBES = 3
_FIRST_DELAY_US = 300.0
"""Longer than most calls take the host: 100 to 300 us for one Triton kernel."""


@dataclass(frozen=True)
class CudaTimer:
    """A contestant and its block."""

    contestant: Contestant
    block: Block
    calls: int
    heat_us: float
    """Matrix products before the block, for at least so long."""
    is_apart: bool
    """Nothing else may be under way with its block."""

    def rerun(self) -> None:
        """The block as it was timed; its last call leaves the output.

        Raises UnfinishedError for a contestant whose work goes on behind the last event, by now.
        """
        check_finished(self.block)


class CudaClock:
    """Times on the current device of this process."""

    def __init__(self, last_level_cache_bytes: int) -> None:
        self._heat = Heat(last_level_cache_bytes)
        self._overheads = measure_overheads()
        self._turns = count()

    def probe(self, contestant: Contestant) -> Probe:
        """Of the first page set, eagerly; a long call is not run more often than it must be."""
        plan_us = self.plan_us(contestant)
        block = Block(contestant.launches[0].run, delay_us=_FIRST_DELAY_US)
        first = read(block)
        if first.device_us > _LONG_US and first.host_us < first.device_us / 2:
            return Probe(first.device_us, first.host_us, plan_us)
        readings = []
        for _ in range(_PROBES):
            block = replace(block, delay_us=delay_for(first.host_us))
            readings.append(read(block))
        run_us = min(each.device_us for each in readings)
        return Probe(run_us, median(each.host_us for each in readings), plan_us)

    def plan_us(self, contestant: Contestant) -> float:
        """Host time of the first launch's plan, the device idle before."""
        return host_us(contestant.launches[0].plan)

    def ready(self, contestant: Contestant, probe: Probe, rules: Rules) -> CudaTimer:
        """Plan, size a block, and capture it where an engine would.

        Raises UnfinishedError for a contestant whose work goes on behind the last event.
        """
        calls = block_calls(contestant, probe.run_us, rules)
        if contestant.captured:
            block = captured_block(contestant, calls)
        else:
            contestant.plan()
            block = eager_block(contestant, calls, probe.call_us or 0.0, self._turns)
        check_finished(block)  # this also uploads a graph, as its first replay does
        # What is enqueued call by call is handed over while the products run.
        heat_us = max(rules.heat * probe.run_us * calls, block.delay_us)
        return CudaTimer(contestant, block, calls, heat_us, rules.apart)

    def round(
        self, timers: Sequence[CudaTimer], order: Sequence[int], on_turn: OnTurn
    ) -> dict[int, Lap]:
        """Each block behind products of as many tokens, which also take what is late after a
        synchronisation.
        """
        import torch

        is_apart = timers[order[0]].is_apart
        on_turn(None)  # a fault shows at the synchronisation, and nobody can say whose it was
        marks: dict[int, Marks] = {}
        for index in order:
            timer = timers[index]
            if is_apart:
                on_turn(index)
            try:
                self._heat.enqueue(len(timer.contestant.batches[0].query), timer.heat_us)
                marks[index] = mark(replace(timer.block, delay_us=0.0))
                if is_apart:
                    torch.cuda.synchronize()
            except Exception as error:  # a candidate's code: whatever it raises is its outcome
                raise ContestantError(index, error) from error
        torch.cuda.synchronize()
        return {index: self._lap(timers[index], marks[index]) for index in order}

    def deployed(self, contestant: Contestant) -> Callable[[], object]:
        """The first launch's call as an engine makes it: a graph's replay, or eagerly."""
        if not contestant.captured:
            return contestant.launches[0].run
        return captured_block(contestant, 1).enqueue

    def waits(self, plan: Callable[[], object]) -> bool:
        """Whether a plan waits for the device."""
        return waits_for_the_device(plan)

    def best_us(self, call: Callable[[], object]) -> float:
        """The shortest of a few runs."""
        block = Block(call, delay_us=50.0)
        return min(elapsed_us(block) for _ in range(HOST_SAMPLES)) - self._overheads.eager_us

    def _lap(self, timer: CudaTimer, marks: Marks) -> Lap:
        captured = timer.contestant.captured
        overhead_us = self._overheads.captured_us if captured else self._overheads.eager_us
        # Never 0, whose logarithm would end the race: a kernel that does nothing fails the gate.
        device_us = max(marks.elapsed_us() - overhead_us, 1e-3) / timer.calls
        return Lap(device_us, None if captured else marks.host_us / timer.calls)


def block_calls(contestant: Contestant, estimate_us: float, rules: Rules) -> int:
    """How many calls make a block. A graph walks through every page set, since it begins anew with
    each replay; where those do not fill the cache three times, each may be used only once.
    """
    page_sets = len(contestant.launches)
    least = page_sets if contestant.captured else 1
    most = rules.max_calls if contestant.is_cold else min(page_sets, rules.max_calls)
    wanted = math.ceil(rules.block_us / max(estimate_us, 1e-3))
    return max(1, min(max(wanted, least), most))
