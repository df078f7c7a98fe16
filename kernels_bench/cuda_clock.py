"""The clock for a GPU: blocks back to back between events, one synchronisation a round.

A block is a CUDA graph of several calls where an engine would capture the phase, and otherwise the
same calls from the host behind a delay. It walks through the page sets, and so finds a cold cache.
ROCm's torch answers to the same names.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kernels_bench.cuda_blocks import (
    Block,
    Marks,
    captured_block,
    eager_block,
    elapsed_us,
    host_us,
    mark,
    measure_overheads,
)
from kernels_bench.host_clock import HOST_SAMPLES
from kernels_bench.race import Contestant, ContestantError, OnTurn, Rules

_SCRUBBED_CACHES = 3
"""Reading three times the last-level cache leaves nothing of what was there."""


@dataclass(frozen=True)
class CudaTimer:
    """A contestant and its block."""

    contestant: Contestant
    block: Block
    calls: int
    host_call_us: float

    def call_us(self) -> float:
        """Host time of a call that nothing waits for."""
        return self.host_call_us

    def plan_us(self) -> float:
        """Host time of a plan."""
        return host_us(self.contestant.launches[0].plan)

    def rerun(self) -> None:
        """The block as it was timed; its last call leaves the output."""
        self.block.enqueue()


class CudaClock:
    """Times on the current device of this process."""

    def __init__(self, last_level_cache_bytes: int) -> None:
        import torch

        scrubbed = _SCRUBBED_CACHES * last_level_cache_bytes
        self._scrub = torch.zeros(scrubbed // 4, device="cuda").sum
        self._overheads = measure_overheads()

    def ready(self, contestant: Contestant, rules: Rules) -> CudaTimer:
        """Plan, run every page set once, size a block, and capture it where an engine would."""
        import torch

        for launch in contestant.launches:
            launch.plan()
            launch.run()
        call_us = host_us(contestant.launches[0].run)
        probe = eager_block(contestant, 1, call_us)
        estimate_us = elapsed_us(probe) - self._overheads.eager_us
        calls = block_calls(estimate_us, len(contestant.launches), contestant.is_cold, rules)
        if not contestant.captured:
            return CudaTimer(contestant, eager_block(contestant, calls, call_us), calls, call_us)
        block = captured_block(contestant, calls)
        block.enqueue()  # the first replay uploads the graph
        torch.cuda.synchronize()
        return CudaTimer(contestant, block, calls, call_us)

    def round_us(
        self, timers: Sequence[CudaTimer], order: Sequence[int], on_turn: OnTurn
    ) -> list[float]:
        """All blocks behind one that is thrown away: the first after a synchronisation is late."""
        import torch

        on_turn(None)  # a fault shows at the synchronisation, and nobody can say whose it was
        timers[0].block.enqueue()
        marks: dict[int, Marks] = {}
        for index in order:
            if not timers[index].contestant.is_cold:
                self._scrub()
            try:
                marks[index] = mark(timers[index].block)
            except Exception as error:  # a candidate's code: whatever it raises is its outcome
                raise ContestantError(index, error) from error
        torch.cuda.synchronize()
        return [self._mean_us(timer, marks[index]) for index, timer in enumerate(timers)]

    def best_us(self, call: Callable[[], object]) -> float:
        """The shortest of a few runs."""
        block = Block(call, delay_us=50.0)
        return min(elapsed_us(block) for _ in range(HOST_SAMPLES)) - self._overheads.eager_us

    def _mean_us(self, timer: CudaTimer, marks: Marks) -> float:
        captured = timer.contestant.captured
        overhead_us = self._overheads.captured_us if captured else self._overheads.eager_us
        # Never 0, whose logarithm would end the race: a kernel that does nothing fails the gate.
        return max(marks.elapsed_us() - overhead_us, 1e-3) / timer.calls


def block_calls(estimate_us: float, page_sets: int, is_cold: bool, rules: Rules) -> int:
    """How many calls make a block. It walks through every page set; where those do not fill the
    cache three times, each may be used only once.
    """
    most = rules.max_calls if is_cold else min(page_sets, rules.max_calls)
    wanted = math.ceil(rules.block_us / max(estimate_us, 1e-3))
    return max(1, min(max(wanted, page_sets), most))
