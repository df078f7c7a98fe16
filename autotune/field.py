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
    Examination,
    Finished,
    HarnessFailed,
    Passed,
    Rehearsal,
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
        rehearsals = [self._rehearsal(answer, steps) for answer in runners.values()]
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
        able = [each for each in answers if isinstance(self._verdict(each, examined), Passed)]
        outcomes: dict[Runner, Outcome] = {}
        if able:
            task = self.plan.task(step, tuple(each.entrant for each in able))
            match self.bench.measure(task, deadline, _telling(on_doing, able)):
                case Finished(found):
                    pairs = zip(able, found, strict=True)
                    outcomes = {runner_of(each): outcome for each, outcome in pairs}
                case other:
                    return other
        self._ban(outcomes, step.workload.text)
        return Measured(
            answers,
            tuple(
                self._complete(each, examined, outcomes.get(runner_of(each))) for each in answers
            ),
        )

    def _rehearsal(self, answer: Answer, steps: Sequence[Step]) -> Rehearsal:
        found, model = self.plan.situation.found, self.plan.situation.model
        own = (step.workload for step in steps if _runs(answer, step))
        return Rehearsal(
            found.device,
            found.selector,
            answer.spec,
            tuple(dict.fromkeys(own)),
            model.max_model_len,
            answer.entrant,
        )

    def _examination(
        self, step: Step, deadline: float | None, on_doing: OnDoing
    ) -> dict[Runner, Passed | Wrong | Failed] | OutOfTime | HarnessFailed:
        key = step.spec, step.workload.phase
        if key in self._examined:
            return self._examined[key]
        able = [each for each in step.answers if not self._is_out(each)]
        found, model = self.plan.situation.found, self.plan.situation.model
        examination = Examination(
            found.device,
            found.selector,
            step.spec,
            step.workload.phase,
            model.max_model_len,
            tuple(answer.entrant for answer in able),
        )
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

    def _verdict(
        self, answer: Answer, examined: Mapping[Runner, Passed | Wrong | Failed]
    ) -> Passed | Wrong | Failed:
        runner = runner_of(answer)
        return self.out.get(runner) or examined[runner]

    def _complete(
        self,
        answer: Answer,
        examined: Mapping[Runner, Passed | Wrong | Failed],
        outcome: Outcome | None,
    ) -> Outcome:
        """What was measured, with what is known of the candidate beside it; or why it was not."""
        verdict = (
            self._verdict(answer, examined) if outcome is None else examined[runner_of(answer)]
        )
        match outcome, verdict:
            case Timed(), Passed(plan_waits):
                ready = self._ready.get(runner_of(answer), _UNREHEARSED)
                return replace(
                    outcome,
                    plan_waits=plan_waits,
                    compile_s=ready.seconds,
                    workspace_bytes=ready.workspace_bytes,
                )
            case None, (Wrong() | Failed()) as refusal:
                return refusal
            case None, _:
                raise AssertionError(f"{answer.entrant.label} passed and was not measured")
            case other, _:
                return other

    def _ban(self, outcomes: Mapping[Runner, Outcome | Passed], where: str) -> None:
        for runner, outcome in outcomes.items():
            if isinstance(outcome, Failed) and outcome.kind in BANNING:
                self.out[runner] = banned(outcome, where)


_SINCE = "not tried since "
_UNREHEARSED = Rehearsed(0.0, None)


def banned(failed: Failed, where: str) -> Failed:
    """What other workloads are told of a failure there."""
    told = failed.message if failed.message.startswith(_SINCE) else f"{where}: {failed.message}"
    return replace(failed, message=_SINCE + told.removeprefix(_SINCE))


def _runs(answer: Answer, step: Step) -> bool:
    return any(runner_of(each) == runner_of(answer) for each in step.answers)


def _telling(on_doing: OnDoing, able: Iterable[Answer]) -> Callable[[WorkerStep], None]:
    labels = [answer.entrant.label for answer in able]

    def tell(step: WorkerStep) -> None:
        who = "inputs" if step.entrant is None else labels[step.entrant]
        on_doing(f"{step.doing} {who}")

    return tell
