"""The tuning run: survey, measure what is missing, decide, remember."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from autotune import records
from autotune._store import Store, StoredDecision, find_decisions
from autotune.decision import Decision, one_backend_everywhere
from autotune.keys import Question, canonical, device_key, versions_of
from autotune.models import ModelConfig
from autotune.plan import Plan, Situation, make_plan, restrict
from autotune.policy import Candidate, Evidence, NoVerdict, Verdict, decide
from autotune.profiles import Profile
from autotune.run import Allowance, Observed, OnProgress, Run
from autotune.wishes import Wishes
from kernels_bench.bench import Bench
from kernels_bench.devices import FoundDevice
from kernels_bench.grid import Effort, LeftOut, Limits, make_grid
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
        return Question(self.model, self.wishes.engine, self.profile.name)


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

    @property
    def is_nobody_left(self) -> bool:
        """Whether everybody who could run was wrong or failed wherever they were measured."""
        timed = (isinstance(item.outcome, Timed) for item in self.observed)
        return bool(self.observed) and not any(timed)


def look_around(model: ModelConfig, found: FoundDevice, wishes: Wishes, bench: Bench) -> Situation:
    """Survey the backends in the measuring process. Measures nothing."""
    stack = full_stack(found)
    answered = bench.survey(AskAll(found.device, stack, model.specs, tuple(Phase)))
    return Situation(model, found, stack, restrict(answered, model, wishes))


def plan_job(job: Job, bench: Bench) -> Plan:
    """What `warm` would do, were nothing stored."""
    return _plan(look_around(job.model, job.found, job.wishes, bench), job.effort)


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
    whole = _plan(plan.situation, "full")
    observed = run.observed(whole)
    evidence, weights = _evidence(plan, observed), _weights(job, whole, observed)
    verdict = decide(evidence, weights, plan.order, _standing_winner(job, store))
    decision, why = _conclude(job, _restricted(whole, observed), verdict, store)
    return Report(
        plan=plan,
        question=job.question,
        decision=decision,
        why=why,
        measured=run.measured,
        observed=observed,
        left_out=(*plan.grid.left_out, *run.left_out),
        elapsed_s=time.monotonic() - started,
    )


def _plan(situation: Situation, effort: Effort) -> Plan:
    model, device = situation.model, situation.found.device
    return make_plan(situation, make_grid(device, model.specs, Limits(model.max_model_len), effort))


def _restricted(plan: Plan, observed: tuple[Observed, ...]) -> Plan:
    """The steps that were measured: a decision speaks of no other phase."""
    seen = {(item.kind, item.workload) for item in observed}
    steps = (step for step in plan.steps if (step.kind, step.workload.text) in seen)
    return replace(plan, steps=tuple(steps))


def _evidence(plan: Plan, observed: tuple[Observed, ...]) -> tuple[Evidence, ...]:
    situation = plan.situation
    layers = {situation.kind_of(spec): spec.num_layers for spec in situation.model.specs}
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


def _weights(job: Job, whole: Plan, observed: tuple[Observed, ...]) -> dict[str, float]:
    """Of the workloads that were measured: what was left out must not dilute its phase."""
    seen = {item.workload for item in observed}
    points = tuple(point for point in whole.grid.points if point.workload.text in seen)
    return job.profile.weigh(points)


def _conclude(
    job: Job, plan: Plan, verdict: Verdict | NoVerdict, store: Store
) -> tuple[Decision | None, str]:
    """Store what is new; a decision that stands as it was keeps its date."""
    if isinstance(verdict, NoVerdict):
        return None, verdict.why
    origin = records.provenance()
    decision = _decision(plan, verdict, origin.created_at)
    standing = _standing(job, decision, store)
    if standing is not None:
        before = records.decision_of(standing)
        if before is not None and before == replace(decision, measured_at=before.measured_at):
            return before, before.why
    store.put_decision(records.decision_row(job.question, job.found.device, decision, origin))
    return decision, decision.why


def _standing(job: Job, decision: Decision, store: Store) -> StoredDecision | None:
    """The decision that is stored for this very device and stack."""
    versions = canonical(decision.versions)
    return next((s for s in _answers(job, store) if s.decision.versions == versions), None)


def _standing_winner(job: Job, store: Store) -> Candidate | None:
    """Of the newest decision for this device, whatever its stack. A winner of another method has no
    say: its numbers meant something else.
    """
    decisions = map(records.decision_of, _answers(job, store))
    return next((d.winner for d in decisions if d is not None and d.method == METHOD), None)


def _answers(job: Job, store: Store) -> tuple[StoredDecision, ...]:
    """What is stored for this question and device, newest first."""
    key = device_key(job.found.device)
    found = find_decisions(store.path, job.question.text)
    return tuple(stored for stored in found if stored.decision.device_key == key)


def _decision(plan: Plan, verdict: Verdict, measured_at: str) -> Decision:
    situation, winner = plan.situation, verdict.winner.candidate
    phases = tuple(dict.fromkeys(step.workload.phase for step in plan.steps))
    kinds = tuple(dict.fromkeys(step.kind for step in plan.steps))
    return Decision(
        winner=winner,
        default=verdict.incumbent.label,
        per_kind=one_backend_everywhere(winner.backend, kinds, phases),
        speedup_vs_default=verdict.speedup_vs_default,
        tie=verdict.tie,
        why=verdict.why,
        runners_up=verdict.ranking[1:],
        versions=versions_of(situation.packages(), situation.stack),
        method=METHOD,
        power_limit_w=situation.found.device.power_limit_w,
        measured_at=measured_at,
    )
