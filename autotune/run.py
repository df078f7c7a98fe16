"""A tuning run under way: measures what is missing and commits each workload when it is over."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from autotune import records
from autotune._store import Store
from autotune.costs import layer_us
from autotune.estimate import estimate_s
from autotune.field import BANNING, Field, Measured, banned
from autotune.keys import device_key
from autotune.models import spec_key
from autotune.outcome_columns import outcomes_of
from autotune.plan import Plan, Runner, Step, runner_of
from autotune.records import Anchor
from kernels_bench.bench import Bench
from kernels_bench.candidates import Answer
from kernels_bench.child import OutOfTime
from kernels_bench.grid import LeftOut
from kernels_bench.messages import HarnessFailed
from kernels_bench.spec import Failed, Outcome, Rejected, Timed

EVERY = "every workload"
SPENT = "the time budget was spent"


@dataclass(frozen=True)
class Progress:
    """Something that a waiting person wants to see."""

    done: int
    total: int
    what: str
    outcomes: Mapping[str, Outcome] = field(default_factory=dict)
    """Label -> outcome, once a step is over."""
    is_news: bool = False
    """Worth a line of its own, and not only a moment's."""


OnProgress: TypeAlias = Callable[[Progress], None]


@dataclass(frozen=True)
class Observed:
    """One outcome of this run or an earlier one."""

    answer: Answer
    kind: str
    workload: str
    outcome: Outcome


@dataclass(frozen=True)
class Allowance:
    """How long a run may take, what matters most to it, and what it may take from the store."""

    deadline: float | None = None
    """A `time.monotonic` moment."""
    remeasure: bool = False
    """Measure again what is stored."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """Workload -> weight: the heaviest are measured first."""


@dataclass
class Run:
    """Counts what it does; everything else it leaves to the plan, the field and the store."""

    plan: Plan
    store: Store
    bench: Bench
    on_progress: OnProgress
    measured: int = 0
    left_out: list[LeftOut] = field(default_factory=list)
    late: frozenset[Runner] = frozenset()
    """Who could not be compiled in time."""

    def measure(self, allowance: Allowance) -> None:
        """Every step that is missing, until time is out."""
        self._store_refusals()
        stored = {} if allowance.remeasure else self._outcomes()
        steps = self.plan.due(stored)
        if not steps:
            return
        steps = tuple(sorted(steps, key=lambda step: -allowance.weights.get(step.workload.text, 0)))
        if _is_over(allowance.deadline):
            self._leave_out(steps, SPENT)
            return
        course = Field(self.plan, self.bench, self._banned(stored))
        self._rehearse(course, steps, allowance.deadline)
        for number, step in enumerate(steps):
            match self._measure(course, step, number, len(steps), allowance.deadline):
                case Measured() as found:
                    self._store(step, found)
                    self.on_progress(Progress(number + 1, len(steps), step.name, found.by_label))
                case OutOfTime():
                    self._leave_out(steps[number:], SPENT)
                    return
                case HarnessFailed(message):
                    self._leave_out((step,), message)

    def observed(self, plan: Plan) -> tuple[Observed, ...]:
        """What the store holds of a plan's steps, those alone that everyone has run: a newcomer
        would otherwise be out for lack of a workload that only the others were given.
        """
        outcomes = self._outcomes()
        here = plan.without(self.late)
        missing = here.missing(outcomes)
        return tuple(
            Observed(answer, step.kind, step.workload.text, outcomes[key])
            for step in here.steps
            if step not in missing
            for answer, key in zip(step.answers, here.keys(step), strict=True)
        )

    def _rehearse(self, course: Field, steps: tuple[Step, ...], deadline: float | None) -> None:
        """An answer without the slowest to compile is better than none: of a budget measuring keeps
        half, or twice what it is thought to take, if that is less.
        """
        total = len(steps)
        seconds = estimate_s(self.plan.situation.found.device, steps)
        news = f"{total} workloads: about {seconds:.0f} s, and before it whatever compiles"
        self.on_progress(Progress(0, total, news, is_news=True))
        until = None
        if deadline is not None:
            until = deadline - min(2 * seconds, (deadline - time.monotonic()) / 2)
        course.rehearse(steps, until, lambda doing: self.on_progress(Progress(0, total, doing)))
        self.late = frozenset(course.late)
        for spec, label, _ in course.late:
            why = f"{label} was not compiled in time to be measured within the budget"
            self.left_out.append(LeftOut(EVERY, why, self.plan.situation.kind_of(spec)))

    def _measure(
        self, course: Field, step: Step, number: int, total: int, deadline: float | None
    ) -> Measured | OutOfTime | HarnessFailed:
        if _is_over(deadline):
            return OutOfTime()

        def tell(doing: str) -> None:
            self.on_progress(Progress(number, total, f"{step.name}: {doing}"))

        return course.measure(step, deadline, tell)

    def _banned(self, stored: Mapping[str, Outcome]) -> dict[Runner, Failed]:
        """Whom an earlier run saw crash, hang or not compile on a kind of layer, under the same
        versions, since those are in the keys.
        """
        out: dict[Runner, Failed] = {}
        for step in self.plan.steps:
            for answer, key in zip(step.answers, self.plan.keys(step), strict=True):
                match stored.get(key):
                    case Failed(kind) as failed if kind in BANNING:
                        out.setdefault(runner_of(answer), banned(failed, step.workload.text))
        return out

    def _leave_out(self, steps: tuple[Step, ...], why: str) -> None:
        self.left_out += [LeftOut(step.workload.text, why, step.kind) for step in steps]

    def _store(self, step: Step, found: Measured) -> None:
        origin, situation = records.provenance(), self.plan.situation
        anchor = _anchor(step, found)
        text = step.workload.text
        rows = [
            records.measurement_row(situation.place(answer), text, outcome, origin, anchor)
            for answer, outcome in zip(found.answers, found.outcomes, strict=True)
        ]
        if anchor is not None:  # its own row stays what all others were compared with
            rows = [row for row in rows if row.key != anchor.key]
        self.store.put_measurements(rows)
        self.measured += len(rows)

    def _store_refusals(self) -> None:
        """Refusals cost nothing to ask again, but they are evidence: why was it not measured?"""
        origin, situation = records.provenance(), self.plan.situation
        self.store.put_measurements(
            records.measurement_row(
                situation.place(answer), None, Rejected(answer.support.reasons), origin
            )
            for answer in situation.survey.answers
            if not answer.support
        )

    def _outcomes(self) -> dict[str, Outcome]:
        """Stored outcomes of this device and model, by key."""
        situation = self.plan.situation
        spec_keys = [spec_key(spec) for spec in situation.model.specs]
        rows = self.store.measurements(device_key(situation.found.device), spec_keys)
        return outcomes_of(rows)


def _anchor(step: Step, found: Measured) -> Anchor | None:
    """The yardstick of a step and its time beside the others; None where it has none any more: its
    new outcome takes the place of the stored one.
    """
    if step.anchor is None or not found.answers or found.answers[0] != step.answers[0]:
        return None
    outcome = found.outcomes[0]
    return Anchor(step.anchor, layer_us(outcome)) if isinstance(outcome, Timed) else None


def _is_over(deadline: float | None) -> bool:
    return deadline is not None and time.monotonic() >= deadline
