"""What a tuning run will do, worked out before it starts: pure, and shown by `--dry-run`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from autotune.incumbents import default_order, rank
from autotune.models import ModelConfig, kinds
from autotune.records import Place
from autotune.wishes import Wishes
from kernels_bench.candidates import Answer, Survey
from kernels_bench.devices import FoundDevice
from kernels_bench.grid import Grid
from kernels_bench.messages import Task
from kernels_bench.race import rules_for
from kernels_bench.spec import AttentionSpec, Phase, Reason, Stack, Support
from kernels_bench.workload import Workload


@dataclass(frozen=True)
class Situation:
    """The model, the machine, and who says that it can run the one on the other."""

    model: ModelConfig
    found: FoundDevice
    stack: Stack
    survey: Survey

    def kind_of(self, spec: AttentionSpec) -> str:
        """The name of a kind of layer in this model."""
        return kinds(self.model)[self.model.specs.index(spec)]

    def place(self, answer: Answer) -> Place:
        """Where an answer's measurements belong."""
        return Place(
            self.found.device,
            answer.spec,
            answer.phase,
            answer.entrant,
            self.stack,
            self.model.max_model_len,
        )

    def packages(self) -> tuple[str, ...]:
        """Every package that the survey looked at."""
        return tuple({name for answer in self.survey.answers for name in answer.variant.packages})

    @property
    def can_run(self) -> bool:
        """Whether anybody can run anything."""
        return any(answer.support for answer in self.survey.answers)


@dataclass(frozen=True)
class Step:
    """One workload of one kind of layer, and everyone who can run it, the incumbent first."""

    kind: str
    spec: AttentionSpec
    workload: Workload
    answers: tuple[Answer, ...]

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.kind} {self.workload.text}"

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of its candidates, for people."""
        return tuple(answer.entrant.label for answer in self.answers)


@dataclass(frozen=True)
class Plan:
    """A situation and the steps that its measurement takes."""

    situation: Situation
    grid: Grid
    steps: tuple[Step, ...]

    @property
    def order(self) -> tuple[str, ...]:
        """The default's order of backends here."""
        return default_order(self.situation.found.device)

    def keys(self, step: Step) -> tuple[str, ...]:
        """The measurements that a step makes, in the order of its answers."""
        text = step.workload.text
        return tuple(self.situation.place(answer).key(text) for answer in step.answers)

    def missing(self, stored: Collection[str]) -> tuple[Step, ...]:
        """The steps with a measurement that is not stored. They are measured whole: a challenger
        is compared with the incumbent inside one race.
        """
        return tuple(
            step for step in self.steps if not all(key in stored for key in self.keys(step))
        )

    def task(self, step: Step) -> Task:
        """A step as the measuring process takes it."""
        found = self.situation.found
        return Task(
            device=found.device,
            torch_device=found.selector,
            spec=step.spec,
            workload=step.workload,
            max_model_len=self.situation.model.max_model_len,
            entrants=tuple(answer.entrant for answer in step.answers),
            rules=rules_for(found.device),
        )


def make_plan(situation: Situation, grid: Grid) -> Plan:
    """Every workload with every kind of layer; a step that nobody can run is none."""
    steps = []
    for workload in grid.workloads:
        for spec in situation.model.specs:
            answers = _entrants(situation, spec, workload.phase)
            if answers:
                steps.append(Step(situation.kind_of(spec), spec, workload, answers))
    return Plan(situation, grid, tuple(steps))


def restrict(survey: Survey, model: ModelConfig, wishes: Wishes) -> Survey:
    """Add the reasons that no backend can know: the model's, the engine's and the user's."""
    return replace(
        survey,
        answers=tuple(_restrict(answer, model.unsupported, wishes) for answer in survey.answers),
    )


def _restrict(answer: Answer, unsupported: tuple[Reason, ...], wishes: Wishes) -> Answer:
    own, wished = answer.support.reasons, wishes.refusals(answer.backend, answer.variant)
    return replace(answer, support=Support((*own, *unsupported, *wished)))


def _entrants(situation: Situation, spec: AttentionSpec, phase: Phase) -> tuple[Answer, ...]:
    able = [
        answer
        for answer in situation.survey.answers
        if answer.spec == spec and answer.phase is phase and answer.support
    ]
    # Stable: the variants of a backend stay in its own order, the default first.
    order = default_order(situation.found.device)
    return tuple(sorted(able, key=lambda answer: rank(order, answer.backend)))
