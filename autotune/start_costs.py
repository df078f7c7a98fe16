"""What the start of an engine pays for a candidate, beside the time of its attention."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from kernels_bench.spec import Outcome, Timed

LONG_COMPILE_S = 30.0
"""Felt in a start: an engine is up in about a minute where nothing compiles."""
LARGE_WORKSPACE_BYTES = 256 << 20
"""Room for 2048 tokens of an 8B model's KV cache (32 layers, 8 KV heads of 128, 2 bytes)."""


@dataclass(frozen=True)
class StartCost:
    """What the start of an engine pays for a candidate, whatever it serves: the most of what was
    seen on any workload.
    """

    compile_s: float
    """0 where nobody measured it."""
    workspace_bytes: int | None
    """None where nobody counted."""
    plan_waits: bool

    @property
    def burden(self) -> tuple[bool, bool]:
        """What decides between equals: a long compile, then a large workspace. Seconds and bytes
        themselves differ from run to run with what lay compiled on the disk.
        """
        return self.is_slow, self.is_large

    @property
    def is_slow(self) -> bool:
        """Whether a start feels its compiling."""
        return self.compile_s >= LONG_COMPILE_S

    @property
    def is_large(self) -> bool:
        """Whether its workspace takes room from the KV cache that is worth a word."""
        return (self.workspace_bytes or 0) >= LARGE_WORKSPACE_BYTES


_Who = TypeVar("_Who", bound=Hashable)


def start_costs(outcomes: Iterable[tuple[_Who, Outcome]]) -> Mapping[_Who, StartCost]:
    """(candidate, outcome) to a candidate -> its cost, for those with a time."""
    timed: dict[_Who, list[Timed]] = {}
    for who, outcome in outcomes:
        if isinstance(outcome, Timed):
            timed.setdefault(who, []).append(outcome)
    return {who: _start_cost(times) for who, times in timed.items()}


def _start_cost(timed: Sequence[Timed]) -> StartCost:
    counted = [each.workspace_bytes for each in timed if each.workspace_bytes is not None]
    return StartCost(
        compile_s=max(each.compile_s for each in timed),
        workspace_bytes=max(counted, default=None),
        plan_waits=any(each.plan_waits for each in timed),
    )
