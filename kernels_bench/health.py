"""Can a measurement be trusted: what a watch reads between rounds, and what follows from it. Pure.

No threshold is absolute: a GPU that always runs at 60 % of its highest clock measures well (nvbench
threw away every sample of one, its issue 231). And nothing here sets a clock or sleeps, because the
numbers are for the GPU as an engine will find it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import PurePath
from statistics import median
from typing import Protocol, TypeAlias

from kernels_bench.spec import Health

_CLOCK_MOVED = 0.05
"""Of the higher of two clocks."""
_CPU_TAKEN = 0.10
"""Of the time in which threads could have run.

Two threads of torch on two otherwise idle cores wait for less than this in 98 to 99 % of rounds of
4 and 18 ms; with one busy process beside them, in 5 and 0 % (Linux 6.18). The number of involuntary
context switches tells them apart by a factor of 4 alone, which moves with the scheduler's slice.
"""
_GIB = 1 << 30


@dataclass(frozen=True)
class GpuReading:
    """One look at a GPU; None where it does not tell."""

    clock_mhz: int | None
    """Of the multiprocessors."""
    temperature_c: int | None
    slowed_by: tuple[str, ...] = ()
    """Why it slows itself down, now or since the last look: "HW thermal". Its power cap is not
    among them, because big kernels run at the cap, for an engine too.
    """


@dataclass(frozen=True)
class CpuReading:
    """What the scheduler gave this process's threads since they began, summed over them."""

    ran_s: float
    waited_s: float
    """They could have run, and something else had the core."""


@dataclass(frozen=True)
class NoReading:
    """Nobody tells."""

    why: str = ""
    """For people; empty where nothing is lost that could be had."""


Reading: TypeAlias = GpuReading | CpuReading | NoReading


@dataclass(frozen=True)
class Neighbour:
    """Another process that uses the device."""

    pid: int
    used_bytes: int | None
    """Of the device's memory; None where the driver does not say."""
    name: str
    """Empty where nobody says: its owner is another user, or it is outside the container."""


class Watch(Protocol):
    """Reads a device, in the process that measures on it. Raises nothing."""

    def read(self) -> Reading:
        """One look, at most a few milliseconds, without waiting for the device."""

    def others(self) -> tuple[Neighbour, ...]:
        """Who uses the device now, this process and its parent left out.

        To be asked before this process uses it: in a container the driver names processes as the
        host numbers them, and our own would look like another.
        """

    def close(self) -> None:
        """Let go of the driver's library."""


@dataclass(frozen=True)
class Unwatched:
    """The watch of a device that nobody can read."""

    why: str = ""

    def read(self) -> Reading:
        """Always nothing."""
        return NoReading(self.why)

    def others(self) -> tuple[Neighbour, ...]:
        """Nobody is known."""
        return ()

    def close(self) -> None:
        """Nothing to let go of."""


NO_WATCH = Unwatched()


def disturbed(before: Reading, after: Reading) -> str | None:
    """Why the round between two readings must be thrown away; None: it counts."""
    match before, after:
        case GpuReading(), GpuReading(slowed_by=slowed_by) if slowed_by:
            return f"the GPU slowed itself down ({', '.join(slowed_by)})"
        case GpuReading(clock_mhz=int(first)), GpuReading(clock_mhz=int(last)):
            moved = abs(last - first) > _CLOCK_MOVED * max(first, last)
            return f"the clock moved from {first} to {last} MHz" if moved else None
        case CpuReading(), CpuReading():
            taken = _cpu_taken(before, after)
            return _cpu_taken_text(taken) if taken > _CPU_TAKEN else None
        case _:
            return None


def idle(reading: Reading) -> Reading:
    """As of a device without work, whose clock says nothing of a round to come."""
    return replace(reading, clock_mhz=None) if isinstance(reading, GpuReading) else reading


def verdict(readings: Sequence[Reading], voided_rounds: int, others: Sequence[Neighbour]) -> Health:
    """What to tell of a race. `readings` are those before and after its rounds, as they came."""
    gpu = [reading for reading in readings if isinstance(reading, GpuReading)]
    clocks = [reading.clock_mhz for reading in gpu if reading.clock_mhz is not None]
    temperatures = [reading.temperature_c for reading in gpu if reading.temperature_c is not None]
    return Health(
        warnings=(
            *_unread(readings),
            *(_neighbour_text(other) for other in others),
            *_slowed(gpu, temperatures),
            *_cpu(readings),
            *_thrown_away(readings, voided_rounds),
        ),
        voided_rounds=voided_rounds,
        clock_mhz=round(median(clocks)) if clocks else None,
        temperature_c=max(temperatures, default=None),
    )


def _unread(readings: Sequence[Reading]) -> list[str]:
    whys = dict.fromkeys(each.why for each in readings if isinstance(each, NoReading) and each.why)
    return [f"clocks and other processes cannot be read: {why}" for why in whys]


def _neighbour_text(other: Neighbour) -> str:
    name = f" ({PurePath(other.name).name})" if other.name else ""
    # A context that has not allocated yet, or one whose memory is kept from us.
    memory = f"{other.used_bytes / _GIB:.1f} GiB of " if other.used_bytes else ""
    return f"pid {other.pid}{name} uses {memory}the GPU"


def _slowed(readings: Sequence[GpuReading], temperatures: Sequence[int]) -> list[str]:
    slowed = [reading for reading in readings if reading.slowed_by]
    if not slowed:
        return []
    reasons = ", ".join(dict.fromkeys(name for each in slowed for name in each.slowed_by))
    heat = f", up to {max(temperatures)} C" if temperatures else ""
    return [
        f"the GPU slowed itself down ({reasons}) in {len(slowed)} of {len(readings)} looks{heat}"
    ]


def _cpu(readings: Sequence[Reading]) -> list[str]:
    seen = [reading for reading in readings if isinstance(reading, CpuReading)]
    taken = _cpu_taken(seen[0], seen[-1]) if seen else 0.0
    return [_cpu_taken_text(taken)] if taken > _CPU_TAKEN else []


def _cpu_taken(before: CpuReading, after: CpuReading) -> float:
    """Of the time in which threads could have run. Those that ended take their sums with them."""
    waited_s = max(0.0, after.waited_s - before.waited_s)
    ran_s = max(0.0, after.ran_s - before.ran_s)
    return waited_s / (waited_s + ran_s) if waited_s else 0.0


def _cpu_taken_text(taken: float) -> str:
    return f"others, or a quota, took the CPU away {taken:.0%} of the time".replace("%", " %")


def _thrown_away(readings: Sequence[Reading], voided_rounds: int) -> list[str]:
    """Rounds that were disturbed and count all the same, since too many were, are told of too."""
    whys = [why for pair in pairwise(readings) if (why := disturbed(*pair)) is not None]
    if not voided_rounds:
        return []
    rounds = "1 round was" if voided_rounds == 1 else f"{voided_rounds} rounds were"
    left = len(whys) - voided_rounds
    kept = f", {left} more count although they were disturbed" if left > 0 else ""
    return [f"{rounds} thrown away{kept}: {whys[0]}" if whys else f"{rounds} thrown away"]
