"""The field of a run: who is still in it, who is out, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from autotune.plan import Plan, Runner, Step, runner_of
from kernels_bench.bench import Bench, Readiness
from kernels_bench.candidates import Answer
from kernels_bench.child import OutOfTime
from kernels_bench.messages import (
    Finished,
    HarnessFailed,
    Passed,
    Rehearsed,
)
from kernels_bench.messages import Step as WorkerStep
from kernels_bench.spec import AttentionSpec, Failed, Outcome, Phase, Timed, Wrong

BANNING = frozenset({"crash", "hang", "compile"})
"""Failures that would cost every other workload as much as this one, or more."""


@dataclass(frozen=True)
class Measured:
    """A step's outcomes, one an answer that was in the field or is out for a reason."""

    answers: tuple[Answer, ...]
    outcomes: tuple[Outcome, ...]

    @property
    def by_label(self) -> Mapping[str, Outcome]:
        """For people."""
        return {
            answer.entrant.label: outcome
            for answer, outcome in zip(self.answers, self.outcomes, strict=True)
        }


OnDoing: TypeAlias = Callable[[str], None]
"""Hears what is going on, for people."""


@dataclass
class Field:
    """Rehearses, examines and measures the steps of a plan, and keeps out whoever failed."""

    plan: Plan
    bench: Bench
    out: dict[Runner, Failed] = field(default_factory=dict)
    """Banned from a kind of layer."""
    late: set[Runner] = field(default_factory=set)
    """Not compiled when the time for it was over: not measured this time, and not blamed."""
    _ready: dict[Runner, Rehearsed] = field(default_factory=dict)
    _examined: dict[tuple[AttentionSpec, Phase], dict[Runner, Passed | Wrong | Failed]] = field(
        default_factory=dict
    )

    def rehearse(self, steps: Sequence[Step], deadline: float | None, on_doing: OnDoing) -> None:
        """Compile whatever the steps will run."""
        runners = {
            runner_of(answer): answer
            for step in steps
            for answer in step.answers
            if runner_of(answer) not in self.out
        }
        rehearsals = [self.plan.rehearsal(answer, steps) for answer in runners.values()]
        waiting = [each.entrant.label for each in rehearsals]
        on_doing(f"compiling {len(rehearsals)} candidates")

        def on_ready(index: int, _: Readiness) -> None:
            label = rehearsals[index].entrant.label
            if label in waiting:
                waiting.remove(label)
                on_doing(f"compiling: {', '.join(waiting)}" if waiting else "loading")

        answers = self.bench.rehearse(rehearsals, deadline, on_ready)
        for runner, readiness in zip(runners, answers, strict=True):
            match readiness:
                case Rehearsed():
                    self._ready[runner] = readiness
                case Failed():
                    self.out[runner] = readiness
                case OutOfTime():
                    self.late.add(runner)

    def measure(
        self, step: Step, deadline: float | None, on_doing: OnDoing
    ) -> Measured | OutOfTime | HarnessFailed:
        """Examine where that was not done, then check and race who is left."""
        examined = self._examination(step, deadline, on_doing)
        if not isinstance(examined, dict):
            return examined
        answers = tuple(each for each in step.answers if runner_of(each) not in self.late)
        passed: dict[Runner, Passed] = {}
        outcomes: dict[Runner, Outcome] = {}
        for runner in map(runner_of, answers):
            match self.out.get(runner) or examined[runner]:
                case Passed() as verdict:
                    passed[runner] = verdict
                case refusal:
                    outcomes[runner] = refusal
        able = [each for each in answers if runner_of(each) in passed]
        if able:
            task = self.plan.task(step, tuple(each.entrant for each in able))
            match self.bench.measure(task, deadline, _telling(on_doing, able)):
                case Finished(found):
                    raced = dict(zip(map(runner_of, able), found, strict=True))
                    self._ban(raced, step.workload.text)
                    outcomes |= {
                        runner: self._with_costs(outcome, runner, passed[runner])
                        for runner, outcome in raced.items()
                    }
                case other:
                    return other
        return Measured(answers, tuple(outcomes[runner_of(each)] for each in answers))

    def _examination(
        self, step: Step, deadline: float | None, on_doing: OnDoing
    ) -> dict[Runner, Passed | Wrong | Failed] | OutOfTime | HarnessFailed:
        key = step.spec, step.workload.phase
        if key in self._examined:
            return self._examined[key]
        able = [each for each in step.answers if not self._is_out(each)]
        examination = self.plan.examination(step, tuple(answer.entrant for answer in able))
        answered = self.bench.examine(examination, deadline, _telling(on_doing, able))
        if isinstance(answered, (OutOfTime, HarnessFailed)):
            return answered
        results = {
            runner_of(answer): outcome
            for answer, outcome in zip(able, answered.outcomes, strict=True)
        }
        self._ban(results, f"the trial of {step.workload.phase.value}")
        self._examined[key] = results
        return results

    def _is_out(self, answer: Answer) -> bool:
        return runner_of(answer) in self.out or runner_of(answer) in self.late

    def _with_costs(self, outcome: Outcome, runner: Runner, passed: Passed) -> Outcome:
        """A time, with what the rehearsal and the trial found beside it."""
        if not isinstance(outcome, Timed):
            return outcome
        ready = self._ready.get(runner, _UNREHEARSED)
        return replace(
            outcome,
            plan_waits=passed.plan_waits,
            compile_s=ready.seconds,
            workspace_bytes=ready.workspace_bytes,
        )

    def _ban(self, outcomes: Mapping[Runner, Outcome | Passed], where: str) -> None:
        for runner, outcome in outcomes.items():
            if isinstance(outcome, Failed) and outcome.kind in BANNING:
                self.out[runner] = banned(outcome, where)


_SINCE = "not tried since "
_UNREHEARSED = Rehearsed(0.0, None)


def banned(failed: Failed, where: str) -> Failed:
    """What other workloads are told of a failure there."""
    if failed.message.startswith(_SINCE):
        return failed
    return replace(failed, message=f"{_SINCE}{where}: {failed.message}")


def _telling(on_doing: OnDoing, able: Iterable[Answer]) -> Callable[[WorkerStep], None]:
    labels = [answer.entrant.label for answer in able]

    def tell(step: WorkerStep) -> None:
        who = "inputs" if step.entrant is None else labels[step.entrant]
        on_doing(f"{step.doing} {who}")

    return tell
