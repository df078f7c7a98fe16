"""The tuning run: survey, measure what is missing, decide, remember."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from autotune import records
from autotune._store import Store
from autotune.decision import Decision
from autotune.elsewhere import Elsewhere, stack_under
from autotune.engines import NAMES
from autotune.findings import Findings
from autotune.job import Job
from autotune.keys import Question
from autotune.models import ModelConfig
from autotune.plan import Plan, Situation, make_plan, restrict
from autotune.profiles import Profile
from autotune.run import Allowance, Observed, OnProgress, Run
from autotune.surveyed import Surveyed
from autotune.wishes import Wishes
from kernels_bench.bench import Bench
from kernels_bench.devices import FoundDevice
from kernels_bench.grid import Effort, LeftOut, Limits, make_grid, standard
from kernels_bench.messages import AskAll
from kernels_bench.spec import Device, Phase, Timed

_HEAVY = 0.25
"""The share of a profile's weight from which on a workload is always measured."""


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


def ask_backends(
    model: ModelConfig, found: FoundDevice | Elsewhere, wishes: Wishes, bench: Bench
) -> Surveyed:
    """Survey the backends in the measuring process, which needs no device for it."""
    stack = stack_under(found)
    answered = bench.survey(AskAll(found.device, stack, model.specs, tuple(Phase)))
    return Surveyed(model, found, stack, restrict(answered, model, wishes))


def look_around(model: ModelConfig, found: FoundDevice, wishes: Wishes, bench: Bench) -> Situation:
    """As `ask_backends`, on a device of this machine. Measures nothing."""
    asked = ask_backends(model, found, wishes, bench)
    return Situation(model, found, asked.stack, asked.survey, wishes.engine, wishes.rocm)


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
    evidence = Findings(job, whole, observed, store)
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
    grid = make_grid(
        device, model.specs, Limits(model.max_model_len), effort, _also(device, job.profile)
    )
    return make_plan(situation, grid)


def _also(device: Device, profile: Profile) -> tuple[str, ...]:
    """What the profile asks for beyond a short grid: all of one's own, and of a built-in one what
    decides it, as others would stand in for that.
    """
    if profile.is_own:
        return tuple(profile.weights)
    known, total = standard(device, "full"), sum(profile.weights.values())
    heavy = (text for text, weight in profile.weights.items() if weight >= _HEAVY * total)
    return tuple(text for text in heavy if text in known)


def _others(job: Job, observed: Iterable[Observed]) -> tuple[str, ...]:
    """The engines whose own kernels were measured for an engine of one's own."""
    if job.wishes.engine != "any":
        return ()
    loadable = {name for item in observed for name in item.answer.variant.engine_options}
    return tuple(name for name in NAMES if name in loadable)
