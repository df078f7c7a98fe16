"""What attention costs a step, by candidate, kind of layer and workload.

J = L * time of a layer + share * time of a plan, where a layer that no graph replays takes as long
as the slower of device and host. An engine that plans ahead hides the plan of a long step. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from autotune.ranking import Candidate
from autotune.start_costs import StartCost, start_costs
from kernels_bench.clock import Lap
from kernels_bench.spec import Outcome, Phase, Timed, Wrong
from kernels_bench.standings import CONFIDENCE, MEDIAN_ERROR, t_quantile

Z_99 = 2.33
"""One-sided 99 % bound of a normal."""
_MIN_DEGREES = 4
"""A race pools the spread of everybody's rounds, and has five at least. Whoever was sent home after
a sample or two knows that spread as well as the others, so that Student's 31.8 for one degree would
charge for an ignorance that is not there; what few samples lack, their square root charges."""

HIDING_STEP_US = 4_000.0
"""An engine that plans ahead hides a plan in a step whose attention alone takes so long.

vLLM's host was busy for 10 ms at most of a step of 256 requests, and attention was a third or less
of a step of models of 8 to 9B, so that such a step outlasts the host: engine-proof-h100.md. In a
shorter one the device may wait for the host, and the plan counts.
"""


@dataclass(frozen=True)
class Evidence:
    """One outcome on one workload of one kind of layer."""

    kind: str
    num_layers: int
    workload: str
    phase: Phase
    candidate: Candidate
    outcome: Outcome


@dataclass(frozen=True)
class Cell:
    """One workload of one kind of layer."""

    kind: str
    workload: str
    phase: Phase


@dataclass(frozen=True)
class Cost:
    """Of a step."""

    us: float
    error_us: float
    """Standard error, wider by what few samples lack."""

    @property
    def relative_error(self) -> float:
        """Of `us`."""
        return self.error_us / self.us

    def plus(self, other: Cost) -> Cost:
        """Of two kinds of layers that one step runs."""
        return Cost(self.us + other.us, math.hypot(self.error_us, other.error_us))


@dataclass(frozen=True)
class Costs:
    """Everyone's, wherever they were right and timed."""

    cells: tuple[Cell, ...]
    """All that was measured, in no order that depends on that of the evidence."""
    of: Mapping[Candidate, Mapping[Cell, Cost]]
    """Without the kinds of layer on which a candidate was wrong anywhere."""
    captured: Mapping[Candidate, frozenset[Phase]]
    """The phases in which a graph held a candidate's calls."""
    starts: Mapping[Candidate, StartCost]

    @cached_property
    def everywhere(self) -> tuple[Candidate, ...]:
        """Who is right and timed in every cell."""
        return tuple(who for who, own in self.of.items() if len(own) == len(self.cells))

    @cached_property
    def workloads(self) -> tuple[str, ...]:
        """Each once."""
        return tuple(dict.fromkeys(cell.workload for cell in self.cells))

    @cached_property
    def best_us(self) -> Mapping[str, float]:
        """Workload -> what it would cost if each were run by whoever is best at it."""
        best = dict.fromkeys(self.workloads, 0.0)
        for cell in self.cells:
            times = [own[cell].us for own in self.of.values() if cell in own]
            best[cell.workload] += min(times, default=0.0)
        return best

    def step(self, assignment: Mapping[Cell, Candidate]) -> dict[str, Cost]:
        """Workload -> cost, each cell run by its candidate."""
        sums: dict[str, Cost] = {}
        for cell in self.cells:
            own = self.of[assignment[cell]][cell]
            before = sums.get(cell.workload)
            sums[cell.workload] = own if before is None else before.plus(own)
        return sums

    def by_one(self, candidate: Candidate) -> dict[str, Cost]:
        """Workload -> cost, all of it run by one candidate."""
        return self.step(dict.fromkeys(self.cells, candidate))


def costs_of(
    evidence: Sequence[Evidence], plan_share: float = 1.0, plans_ahead: bool = False
) -> Costs:
    """Sort evidence by candidate and cell."""
    cells = sorted({_cell(item) for item in evidence}, key=lambda c: (c.kind, c.workload))
    wrong = {(i.candidate, i.kind) for i in evidence if isinstance(i.outcome, Wrong)}
    timed = [(item, item.outcome) for item in evidence if isinstance(item.outcome, Timed)]
    hiding = _hiding_steps(timed) if plans_ahead else frozenset()
    of: dict[Candidate, dict[Cell, Cost]] = {}
    captured: dict[Candidate, set[Phase]] = {}
    for item, outcome in timed:
        if (item.candidate, item.kind) in wrong:
            continue
        is_hidden = (item.candidate, item.workload) in hiding and not outcome.plan_waits
        share = 0.0 if is_hidden else plan_share
        of.setdefault(item.candidate, {})[_cell(item)] = _cost(item, outcome, share)
        phases = captured.setdefault(item.candidate, set())
        if outcome.is_captured:
            phases.add(item.phase)
    return Costs(
        tuple(cells),
        {who: of[who] for who in sorted(of, key=_place)},
        {who: frozenset(phases) for who, phases in captured.items()},
        start_costs((item.candidate, item.outcome) for item in evidence),
    )


def _hiding_steps(timed: Iterable[tuple[Evidence, Timed]]) -> frozenset[tuple[Candidate, str]]:
    """Candidates and workloads: where the layers of a step, of all kinds, take long enough."""
    steps_us: dict[tuple[Candidate, str], float] = {}
    for item, outcome in timed:
        step = (item.candidate, item.workload)
        steps_us[step] = steps_us.get(step, 0.0) + item.num_layers * layer_us(outcome)
    return frozenset(step for step, us in steps_us.items() if us >= HIDING_STEP_US)


def _place(candidate: Candidate) -> tuple[str, str, int, str]:
    pages = candidate.pages
    return candidate.backend, candidate.variant, pages.size, pages.layout


def _cell(item: Evidence) -> Cell:
    return Cell(item.kind, item.workload, item.phase)


def _cost(item: Evidence, timed: Timed, plan_share: float) -> Cost:
    us = item.num_layers * layer_us(timed) + plan_share * timed.plan_us
    return Cost(us, us * _relative_error(timed))


def layer_us(timed: Timed) -> float:
    """Of a layer as an engine runs it, which is what was raced."""
    return Lap(timed.gpu_us, None if timed.is_captured else timed.call_us).us


def _relative_error(timed: Timed) -> float:
    """Standard error of a median paired ratio, such that the bound of a normal is that of Student's
    t; taken for the host's time too, where that sets the pace.
    """
    degrees = max(timed.samples - 1, _MIN_DEGREES)
    widening = t_quantile(CONFIDENCE, degrees) / Z_99
    return widening * MEDIAN_ERROR * timed.noise / math.sqrt(timed.samples)
