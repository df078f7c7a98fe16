"""What a clock times: candidates that are bound to batches. The two clocks are in `host_clock.py`
and `cuda_clock.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

from kernels_bench.rules import Rules

if TYPE_CHECKING:
    from kernels_bench.backends.base import Launch
    from kernels_bench.batch import Batch


@dataclass(frozen=True)
class Contestant:
    """A candidate, bound once to every page set."""

    launches: tuple[Launch, ...]
    batches: tuple[Batch, ...]
    """What each launch reads."""
    captured: bool
    """Whether an engine would replay it from a CUDA graph in this phase."""
    is_cold: bool = True
    """Whether the page sets fill the last-level cache often enough to find it cold."""

    def plan(self) -> None:
        """Every launch, for the lengths as they are now."""
        for launch in self.launches:
            launch.plan()


@dataclass(frozen=True)
class Probe:
    """A first look at a contestant."""

    run_us: float
    """Of a call; once, where it is long."""
    call_us: float | None
    """What handing a call over took the host; None where a call returns when its work is done."""
    plan_us: float
    """Host time of a plan."""


@dataclass(frozen=True)
class Lap:
    """A call in one block, on average."""

    device_us: float
    host_us: float | None = None
    """What handing it over took; None where nobody waits for that: a graph replays it, or it
    returns when its work is done.
    """

    @property
    def us(self) -> float:
        """As an engine waits for it: the slower side sets the pace."""
        return self.device_us if self.host_us is None else max(self.device_us, self.host_us)


class Timer(Protocol):
    """A contestant that is planned, warmed up and ready to be timed."""

    def rerun(self) -> None:
        """Once more what was timed, so that its output can be checked."""


OnTurn: TypeAlias = Callable[["int | None"], None]
"""Hears who is about to run; None: several, and nobody alone is to blame."""


TimerT = TypeVar("TimerT", bound=Timer)


class Clock(Protocol[TimerT]):
    """Times contestants on one kind of device. What a candidate raises goes through, unless said
    otherwise.
    """

    def probe(self, contestant: Contestant) -> Probe:
        """Plan the first launch, run it, and read the times of a call and of a plan, coarsely. What
        the last run wrote is in the output.
        """

    def plan_us(self, contestant: Contestant) -> float:
        """Host time of the first launch's plan: the median of a few."""

    def ready(self, contestant: Contestant, probe: Probe, rules: Rules) -> TimerT:
        """Size a block from the probe of this contestant, and prepare it."""

    def round(
        self, timers: Sequence[TimerT], order: Sequence[int], on_turn: OnTurn
    ) -> dict[int, Lap]:
        """One block of each in `order`, and of nobody else, in this order.

        Raises ContestantError where it is known who failed.
        """

    def deployed(self, contestant: Contestant) -> Callable[[], object]:
        """The first launch's call as an engine makes it."""

    def waits(self, plan: Callable[[], object]) -> bool:
        """Whether a plan waits for the device."""

    def best_us(self, call: Callable[[], object]) -> float:
        """The shortest of a few runs of something that is no contestant."""


class ContestantError(Exception):
    """A contestant raised while it was timed."""

    def __init__(self, index: int, error: Exception) -> None:
        super().__init__(f"contestant {index}: {error}")
        self.index, self.error = index, error
