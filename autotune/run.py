"""A tuning run under way: measures what is missing and commits each workload when it is over."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from autotune import records
from autotune._store import Store
from autotune.keys import device_key
from autotune.models import spec_key
from autotune.plan import Plan, Step
from kernels_bench.bench import Bench, OutOfTime
from kernels_bench.candidates import Answer
from kernels_bench.grid import LeftOut
from kernels_bench.messages import Finished, HarnessFailed
from kernels_bench.messages import Step as WorkerStep
from kernels_bench.spec import Outcome, Rejected


@dataclass(frozen=True)
class Progress:
    """Something that a waiting person wants to see."""

    done: int
    total: int
    what: str
    outcomes: Mapping[str, Outcome] = field(default_factory=dict)
    """Label -> outcome, once a step is over."""


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
    """How long a run may take, and what it may take from the store."""

    deadline: float | None = None
    """A `time.monotonic` moment."""
    remeasure: bool = False
    """Measure again what is stored."""


@dataclass
class Run:
    """Counts what it does; everything else it leaves to the plan, the bench and the store."""

    plan: Plan
    store: Store
    bench: Bench
    on_progress: OnProgress
    measured: int = 0
    left_out: list[LeftOut] = field(default_factory=list)

    def measure(self, allowance: Allowance) -> None:
        """Every step that is missing, until time is out."""
        self._store_refusals()
        stored = frozenset[str]() if allowance.remeasure else frozenset(self._outcomes())
        steps = self.plan.missing(stored)
        for number, step in enumerate(steps):
            match self._measure(step, number, len(steps), allowance):
                case Finished(outcomes):
                    self._store(step, outcomes)
                    by_label = dict(zip(step.labels, outcomes, strict=True))
                    self.on_progress(Progress(number + 1, len(steps), step.name, by_label))
                case OutOfTime():
                    self._leave_out(steps[number:], "the time budget was spent")
                    return
                case HarnessFailed(message):
                    self._leave_out((step,), message)

    def observed(self, plan: Plan) -> tuple[Observed, ...]:
        """What the store holds of a plan's steps, those alone that everyone has run: a newcomer
        would otherwise be out for lack of a workload that only the others were given.
        """
        outcomes = self._outcomes()
        missing = plan.missing(outcomes)
        return tuple(
            Observed(answer, step.kind, step.workload.text, outcomes[key])
            for step in plan.steps
            if step not in missing
            for answer, key in zip(step.answers, plan.keys(step), strict=True)
        )

    def _measure(
        self, step: Step, number: int, total: int, allowance: Allowance
    ) -> Finished | OutOfTime | HarnessFailed:
        if allowance.deadline is not None and time.monotonic() >= allowance.deadline:
            return OutOfTime()
        labels = step.labels

        def tell(doing: WorkerStep) -> None:
            who = "inputs" if doing.entrant is None else labels[doing.entrant]
            self.on_progress(Progress(number, total, f"{step.name}: {doing.doing} {who}"))

        task = self.plan.task(step)
        return self.bench.measure(task, allowance.deadline, tell)

    def _leave_out(self, steps: tuple[Step, ...], why: str) -> None:
        self.left_out += [LeftOut(step.workload.text, why, step.kind) for step in steps]

    def _store(self, step: Step, outcomes: tuple[Outcome, ...]) -> None:
        origin, situation = records.provenance(), self.plan.situation
        text = step.workload.text
        self.store.put_measurements(
            records.measurement_row(situation.place(answer), text, outcome, origin)
            for answer, outcome in zip(step.answers, outcomes, strict=True)
        )
        self.measured += len(outcomes)

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
        found = {row.key: records.outcome_of(row) for row in rows}
        return {key: outcome for key, outcome in found.items() if outcome is not None}
