"""The tuning run: survey, measure what is missing, decide, remember."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

from autotune import records
from autotune._store import Store, StoredDecision, find_decisions
from autotune.costs import Candidate, Evidence
from autotune.decision import Decision
from autotune.engines import NAMES, engine_named
from autotune.incumbents import default_order, with_variants
from autotune.keys import Question, canonical, device_key, versions_of
from autotune.models import ModelConfig
from autotune.plan import Plan, Situation, make_plan, restrict
from autotune.policy import NoVerdict, Terms, decide
from autotune.profiles import Profile
from autotune.run import Allowance, Observed, OnProgress, Run
from autotune.verdicts import Setting, decision_of_verdict
from autotune.wishes import Wishes
from kernels_bench.bench import Bench
from kernels_bench.devices import FoundDevice
from kernels_bench.grid import Effort, GridPoint, LeftOut, Limits, make_grid
from kernels_bench.messages import AskAll
from kernels_bench.method import METHOD
from kernels_bench.spec import Phase, Timed
from kernels_bench.stack import full_stack


@dataclass(frozen=True)
class Job:
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
        return self.question_for(self.wishes.engine)

    def question_for(self, engine: str) -> Question:
        """The same for another engine."""
        return Question(self.model, engine, self.profile.key)


@dataclass(frozen=True)
class Report:
    """What a run did."""

    plan: Plan
    question: Question
    decision: Decision | None
    """None: `why` says why nobody was chosen, and the default stays."""
    why: str
    measured: int
    """Outcomes of this run."""
    observed: tuple[Observed, ...]
    """The evidence behind the decision, earlier runs included."""
    left_out: tuple[LeftOut, ...]
    elapsed_s: float
    also: tuple[Question, ...] = ()
    """Questions of other engines that the same evidence answered."""

    @property
    def is_nobody_left(self) -> bool:
        """Whether everybody who could run was wrong or failed wherever they were measured."""
        timed = (isinstance(item.outcome, Timed) for item in self.observed)
        return bool(self.observed) and not any(timed)


def look_around(model: ModelConfig, found: FoundDevice, wishes: Wishes, bench: Bench) -> Situation:
    """Survey the backends in the measuring process. Measures nothing."""
    stack = full_stack(found)
    answered = bench.survey(AskAll(found.device, stack, model.specs, tuple(Phase)))
    return Situation(model, found, stack, restrict(answered, model, wishes), wishes.engine)


def plan_job(job: Job, bench: Bench) -> Plan:
    """What `warm` would do, were nothing stored."""
    return _plan(look_around(job.model, job.found, job.wishes, bench), job, job.effort)


def warm(job: Job, store: Store, bench: Bench, on_progress: OnProgress = lambda _: None) -> Report:
    """Measure what the store lacks, decide, and store the decision.

    An interruption keeps every workload that was finished; the next run goes on from there.
    """
    started = time.monotonic()
    plan = plan_job(job, bench)
    store.put_device(records.device_row(job.found.device))
    store.put_model(records.model_row(job.model))
    deadline = None if job.budget_s is None else started + job.budget_s
    run = Run(plan, store, bench, on_progress)
    run.measure(Allowance(deadline, job.force, job.profile.weigh(plan.grid.points)))
    # A quick run after a full one decides on all that is known, not on less than before.
    whole = _plan(plan.situation, job, "full")
    observed = run.observed(whole)
    evidence = _Findings(job, whole, observed, store)
    decision, why = evidence.decide_for(job.wishes.engine)
    others = [name for name in _others(job, observed) if evidence.decide_for(name)[0] is not None]
    return Report(
        plan=plan,
        question=job.question,
        decision=decision,
        why=why,
        measured=run.measured,
        observed=observed,
        left_out=(*plan.grid.left_out, *run.left_out),
        elapsed_s=time.monotonic() - started,
        also=tuple(job.question_for(name) for name in others),
    )


def _plan(situation: Situation, job: Job, effort: Effort) -> Plan:
    model, device = situation.model, situation.found.device
    also = tuple(job.profile.weights) if job.profile.is_own else ()
    grid = make_grid(device, model.specs, Limits(model.max_model_len), effort, also)
    return make_plan(situation, grid)


def _others(job: Job, observed: Iterable[Observed]) -> tuple[str, ...]:
    """The engines whose own kernels were measured for an engine of one's own."""
    if job.wishes.engine != "any":
        return ()
    loadable = {name for item in observed for name in item.answer.variant.engine_options}
    return tuple(name for name in NAMES if name in loadable)


@dataclass(frozen=True)
class _Findings:
    """What is known after a run, and decisions made from it."""

    job: Job
    whole: Plan
    observed: tuple[Observed, ...]
    store: Store

    def decide_for(self, engine: str) -> tuple[Decision | None, str]:
        """Store what is new; a decision that stands as it was keeps its date."""
        question, device = self.job.question_for(engine), self.job.found.device
        evidence, points = self._evidence(engine), self._points()
        verdict = decide(evidence, self._terms(engine, points))
        if isinstance(verdict, NoVerdict):
            return None, verdict.why
        origin = records.provenance()
        situation = self.whole.situation
        setting = Setting(
            versions=versions_of(situation.packages(), situation.stack),
            method=METHOD,
            power_limit_w=device.power_limit_w,
            measured_at=origin.created_at,
            profile=self.job.profile,
            uncovered=self.job.profile.uncovered(points),
        )
        decision = decision_of_verdict(verdict, evidence, setting)
        standing = self._standing(question, decision)
        if standing is not None:
            before = records.decision_of(standing)
            if before is not None and before == replace(decision, measured_at=before.measured_at):
                return before, before.why
        self.store.put_decision(records.decision_row(question, device, decision, origin))
        return decision, decision.why

    def _terms(self, engine: str, points: tuple[GridPoint, ...]) -> Terms:
        situation = self.whole.situation
        names = default_order(engine, situation.found.device, situation.model.specs)
        labels = (answer.entrant.label for answer in situation.survey.answers)
        standing = self._standing_decision(self.job.question_for(engine))
        split = None if standing is None else standing.split
        return Terms(
            weights=self.job.profile.weigh(points),
            order=with_variants(names, labels),
            engine=engine_named(engine, situation.stack),
            standing=None if standing is None else standing.winner,
            standing_split=None if split is None else split.seats,
        )

    def _evidence(self, engine: str) -> tuple[Evidence, ...]:
        situation = self.whole.situation
        layers = {situation.kind_of(spec): spec.num_layers for spec in situation.model.specs}
        return tuple(
            Evidence(
                item.kind,
                layers[item.kind],
                item.workload,
                item.answer.phase,
                Candidate(item.answer.backend, item.answer.variant.name, item.answer.pages),
                item.outcome,
            )
            for item in self.observed
            if engine == "any" or engine in item.answer.variant.engine_options
        )

    def _points(self) -> tuple[GridPoint, ...]:
        """The workloads that were measured: what was left out must not dilute its phase."""
        seen = {item.workload for item in self.observed}
        return tuple(p for p in self.whole.grid.points if p.workload.text in seen)

    def _standing(self, question: Question, decision: Decision) -> StoredDecision | None:
        """The decision that is stored for this very device and stack."""
        versions, answers = canonical(decision.versions), self._answers(question)
        return next((s for s in answers if s.decision.versions == versions), None)

    def _standing_decision(self, question: Question) -> Decision | None:
        """The newest for this device, whatever its stack. One of another method has no say: its
        numbers meant something else.
        """
        decisions = map(records.decision_of, self._answers(question))
        return next((d for d in decisions if d is not None and d.method == METHOD), None)

    def _answers(self, question: Question) -> tuple[StoredDecision, ...]:
        """What is stored for a question and this device, newest first."""
        key = device_key(self.job.found.device)
        found = find_decisions(self.store.path, question.text)
        return tuple(stored for stored in found if stored.decision.device_key == key)
