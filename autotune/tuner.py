"""The tuning run: survey, measure what is missing, decide, remember. Each workload is committed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from autotune import records
from autotune._store import Store, StoredDecision, find_decisions
from autotune.decision import Decision, one_backend_everywhere
from autotune.keys import Question, canonical, device_key, versions_of
from autotune.models import ModelConfig, spec_key
from autotune.plan import Plan, Situation, Step, Wishes, make_plan, restrict
from autotune.policy import Candidate, Evidence, NoVerdict, Verdict, decide
from autotune.profiles import Profile
from kernels_bench.bench import Bench, OutOfTime
from kernels_bench.candidates import Answer
from kernels_bench.devices import FoundDevice
from kernels_bench.grid import Effort, LeftOut, Limits, make_grid
from kernels_bench.messages import AskAll, Finished, HarnessFailed
from kernels_bench.messages import Step as WorkerStep
from kernels_bench.race import Rules
from kernels_bench.spec import Device, Outcome, Phase, Rejected
from kernels_bench.stack import full_stack


@dataclass(frozen=True)
class Order:
    """What to tune."""

    model: ModelConfig
    found: FoundDevice
    profile: Profile
    wishes: Wishes
    effort: Effort = "quick"
    budget_s: float | None = None
    """None: until everything is measured."""
    force: bool = False
    """Measure again what is stored."""

    @property
    def question(self) -> Question:
        """What the decision will answer."""
        return Question(self.model, self.wishes.engine, self.profile.name)


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
    """One outcome of this run or an earlier one, for the report."""

    answer: Answer
    kind: str
    workload: str
    outcome: Outcome


@dataclass(frozen=True)
class Report:
    """What a run did."""

    plan: Plan
    question: Question
    decision: Decision | None
    """None: `why` says why nobody was chosen, and the default stays."""
    why: str
    measured: int
    """Outcomes of this run, stored or not."""
    observed: tuple[Observed, ...]
    """The evidence behind the decision, earlier runs included."""
    left_out: tuple[LeftOut, ...]
    elapsed_s: float


def look_around(order: Order, bench: Bench) -> Plan:
    """Survey the backends in the measuring process and plan. Measures nothing."""
    stack = full_stack(order.found)
    request = AskAll(order.found.device, stack, order.model.specs, tuple(Phase))
    survey = restrict(bench.survey(request), order.model, order.wishes)
    limits = Limits(order.model.max_model_len)
    grid = make_grid(order.found.device, order.model.specs, limits, order.effort)
    return make_plan(Situation(order.model, order.found, stack, survey), grid)


def warm(
    order: Order, store: Store, bench: Bench, on_progress: OnProgress = lambda _: None
) -> Report:
    """Measure what the store lacks, decide, and store the decision.

    An interruption keeps every workload that was finished; the next run goes on from there.
    """
    started = time.monotonic()
    plan = look_around(order, bench)
    run = _Run(order, plan, store, bench, on_progress, started)
    run.measure()
    observed = run.observed()
    verdict = decide(
        _evidence(plan, observed), order.profile.weigh(plan.grid.points), plan.situation.order
    )
    decision, why = run.conclude(verdict)
    return Report(
        plan=plan,
        question=order.question,
        decision=decision,
        why=why,
        measured=run.measured,
        observed=observed,
        left_out=(*plan.grid.left_out, *run.left_out),
        elapsed_s=time.monotonic() - started,
    )


@dataclass
class _Run:
    """A run under way."""

    order: Order
    plan: Plan
    store: Store
    bench: Bench
    on_progress: OnProgress
    started: float
    measured: int = 0
    left_out: list[LeftOut] = field(default_factory=list)

    def measure(self) -> None:
        """Every step that is missing, until the budget is spent."""
        self.store.put_device(records.device_row(self.plan.situation.found.device))
        self.store.put_model(records.model_row(self.order.model))
        self._store_refusals()
        stored = frozenset[str]() if self.order.force else frozenset(self._outcomes())
        steps = self.plan.missing(stored)
        for number, step in enumerate(steps):
            match self._measure(step, number, len(steps)):
                case Finished(outcomes):
                    self._store(step, outcomes)
                    by_label = dict(zip(_labels(step), outcomes, strict=True))
                    self._tell(
                        number + 1, len(steps), f"{step.kind} {step.workload.text}", by_label
                    )
                case OutOfTime():
                    why = f"the budget of {self.order.budget_s:g} s was spent"
                    self._leave_out(steps[number:], why)
                    return
                case HarnessFailed(message):
                    self._leave_out((step,), message)

    def observed(self) -> tuple[Observed, ...]:
        """All evidence of the plan that the store now holds."""
        outcomes = self._outcomes()
        return tuple(
            Observed(answer, step.kind, step.workload.text, outcomes[key])
            for step in self.plan.steps
            for answer, key in zip(step.answers, self.plan.keys(step), strict=True)
            if key in outcomes
        )

    def conclude(self, verdict: Verdict | NoVerdict) -> tuple[Decision | None, str]:
        """Store a new decision, or keep the one that stands."""
        standing = self._standing()
        if standing is not None and not self.measured and not self.left_out:
            return records.decision_of(standing), standing.decision.why
        if isinstance(verdict, NoVerdict):
            return None, verdict.why
        origin = records.provenance()
        decision = self._decision(verdict, origin.created_at)
        row = records.decision_row(self.order.question, self._device, decision, origin)
        self.store.put_decision(row)
        return decision, decision.why

    @property
    def _device(self) -> Device:
        return self.plan.situation.found.device

    def _measure(self, step: Step, number: int, total: int) -> Finished | OutOfTime | HarnessFailed:
        deadline = None
        if self.order.budget_s is not None:
            deadline = self.started + self.order.budget_s
            if time.monotonic() >= deadline:
                return OutOfTime()
        labels = _labels(step)

        def tell(doing: WorkerStep) -> None:
            who = "inputs" if doing.entrant is None else labels[doing.entrant]
            self._tell(number, total, f"{step.kind} {step.workload.text}: {doing.doing} {who}")

        return self.bench.measure(self.plan.task(step, Rules()), deadline, tell)

    def _tell(
        self, done: int, total: int, what: str, outcomes: Mapping[str, Outcome] | None = None
    ) -> None:
        self.on_progress(Progress(done, total, what, outcomes or {}))

    def _leave_out(self, steps: tuple[Step, ...], why: str) -> None:
        self.left_out += [LeftOut(f"{step.kind} {step.workload.text}", why) for step in steps]

    def _store(self, step: Step, outcomes: tuple[Outcome, ...]) -> None:
        origin = records.provenance()
        self.store.put_measurements(
            [
                records.measurement_row(
                    self.plan.situation.place(answer), step.workload.text, outcome, origin
                )
                for answer, outcome in zip(step.answers, outcomes, strict=True)
            ]
        )
        self.measured += len(outcomes)

    def _store_refusals(self) -> None:
        """Refusals cost nothing to ask again, but they are evidence: why was it not measured?"""
        origin, situation = records.provenance(), self.plan.situation
        self.store.put_measurements(
            [
                records.measurement_row(
                    situation.place(answer), None, Rejected(answer.support.reasons), origin
                )
                for answer in situation.survey.answers
                if not answer.support
            ]
        )

    def _outcomes(self) -> dict[str, Outcome]:
        """Stored outcomes of this device and model, by key."""
        spec_keys = [spec_key(spec) for spec in self.order.model.specs]
        rows = self.store.measurements(device_key(self._device), spec_keys)
        found = {row.key: records.outcome_of(row) for row in rows}
        return {key: outcome for key, outcome in found.items() if outcome is not None}

    def _standing(self) -> StoredDecision | None:
        """The decision that was stored for this very device and stack."""
        versions = canonical(self._versions())
        for stored in find_decisions(self.store.path, self.order.question.text):
            row = stored.decision
            if row.device_key == device_key(self._device) and row.versions == versions:
                return stored
        return None

    def _versions(self) -> Mapping[str, str | None]:
        return versions_of(self.plan.situation.packages(), self.plan.situation.stack)

    def _decision(self, verdict: Verdict, measured_at: str) -> Decision:
        winner = verdict.winner.candidate
        phases = tuple(dict.fromkeys(step.workload.phase for step in self.plan.steps))
        kinds = tuple(dict.fromkeys(step.kind for step in self.plan.steps))
        return Decision(
            winner=winner,
            default=verdict.incumbent.label,
            per_kind=one_backend_everywhere(winner.backend, kinds, phases),
            speedup_vs_default=verdict.speedup_vs_default,
            tie=verdict.tie,
            why=verdict.why,
            runners_up=verdict.ranking[1:],
            versions=self._versions(),
            power_limit_w=self._device.power_limit_w,
            measured_at=measured_at,
        )


def _labels(step: Step) -> tuple[str, ...]:
    return tuple(f"{answer.backend}:{answer.variant.name}" for answer in step.answers)


def _evidence(plan: Plan, observed: tuple[Observed, ...]) -> tuple[Evidence, ...]:
    layers = {plan.situation.kind_of(spec): spec.num_layers for spec in plan.situation.model.specs}
    return tuple(
        Evidence(
            item.kind,
            layers[item.kind],
            item.workload,
            Candidate(item.answer.backend, item.answer.variant.name, item.answer.pages),
            item.outcome,
        )
        for item in observed
    )
