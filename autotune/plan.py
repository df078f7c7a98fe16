"""What a tuning run will do, worked out before it starts: pure, and shown by `--dry-run`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from autotune.incumbents import default_order, with_variants
from autotune.models import ModelConfig
from autotune.records import Place
from autotune.settings import RocmFlags
from autotune.surveyed import Surveyed
from autotune.wishes import Wishes
from kernels_bench.candidates import Answer, Entrant, Survey
from kernels_bench.devices import FoundDevice
from kernels_bench.grid import Grid
from kernels_bench.messages import Examination, Rehearsal, Task
from kernels_bench.rules import rules_for
from kernels_bench.spec import (
    AttentionSpec,
    Outcome,
    Pages,
    Phase,
    Reason,
    Support,
    Timed,
)
from kernels_bench.workload import Workload

MOST_VARIANTS = 4

Runner: TypeAlias = tuple[AttentionSpec, str, Pages]
"""A candidate on one kind of layer."""


def runner_of(answer: Answer) -> Runner:
    """Who an answer speaks of, whatever the phase."""
    return answer.spec, answer.entrant.label, answer.pages


@dataclass(frozen=True)
class Situation(Surveyed):
    """A survey of a device of this machine, on which candidates can be measured."""

    found: FoundDevice
    engine: str = "any"
    """Whose default is the incumbent."""
    rocm: RocmFlags = field(default_factory=RocmFlags)
    """That engine's, on ROCm."""

    @property
    def order(self) -> tuple[str, ...]:
        """The default's order here: "backend:variant", each backend's in its own order."""
        names = self.default_order(self.engine)
        return with_variants(names, (answer.entrant.label for answer in self.survey.answers))

    def default_order(self, engine: str) -> tuple[str, ...]:
        """The backends alone, for this engine or another."""
        device, specs = self.found.device, self.model.specs
        return default_order(engine, device, specs, self.stack, self.rocm)

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
    """One workload of one kind of layer, and those who are to run it, the incumbent first."""

    kind: str
    spec: AttentionSpec
    workload: Workload
    answers: tuple[Answer, ...]
    anchor: str | None = None
    """The key of the first candidate's stored measurement, where it takes part as the yardstick of
    the others; None where all are measured."""

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
        """The default's order of candidates here."""
        return self.situation.order

    def keys(self, step: Step) -> tuple[str, ...]:
        """The measurements that a step makes, in the order of its answers."""
        text = step.workload.text
        return tuple(self.situation.place(answer).key(text) for answer in step.answers)

    def missing(self, stored: Collection[str]) -> tuple[Step, ...]:
        """The steps with a measurement that is not stored."""
        return tuple(
            step for step in self.steps if not all(key in stored for key in self.keys(step))
        )

    def due(self, stored: Mapping[str, Outcome]) -> tuple[Step, ...]:
        """What is to be measured: of each step those that are not stored, and with them one that
        is, the incumbent if possible. Whoever is new or has changed is compared inside one race
        with somebody whom all others were compared with.
        """
        return tuple(self._due(step, stored) for step in self.missing(stored))

    def _due(self, step: Step, stored: Mapping[str, Outcome]) -> Step:
        pairs = list(zip(step.answers, self.keys(step), strict=True))
        new = [answer for answer, key in pairs if key not in stored]
        timed = ((answer, key) for answer, key in pairs if isinstance(stored.get(key), Timed))
        for anchor, key in timed:
            return replace(step, answers=(anchor, *new), anchor=key)
        return step

    def without(self, runners: Collection[Runner]) -> Plan:
        """The same steps for everybody else."""
        steps = (
            replace(step, answers=tuple(a for a in step.answers if runner_of(a) not in runners))
            for step in self.steps
        )
        return replace(self, steps=tuple(step for step in steps if step.answers))

    def rehearsal(self, answer: Answer, steps: Iterable[Step]) -> Rehearsal:
        """Of a candidate, on all workloads of the steps that it runs."""
        found, runner = self.situation.found, runner_of(answer)
        own = (step.workload for step in steps if runner in map(runner_of, step.answers))
        return Rehearsal(
            found.device,
            found.selector,
            answer.spec,
            tuple(dict.fromkeys(own)),
            self.situation.model.max_model_len,
            answer.entrant,
        )

    def examination(self, step: Step, entrants: tuple[Entrant, ...]) -> Examination:
        """Of the phase and the kind of layer that a step belongs to."""
        found = self.situation.found
        return Examination(
            found.device,
            found.selector,
            step.spec,
            step.workload.phase,
            self.situation.model.max_model_len,
            entrants,
        )

    def task(self, step: Step, entrants: tuple[Entrant, ...]) -> Task:
        """A step as the measuring process takes it, with those who are left in the field."""
        found = self.situation.found
        return Task(
            device=found.device,
            torch_device=found.selector,
            spec=step.spec,
            workload=step.workload,
            max_model_len=self.situation.model.max_model_len,
            entrants=entrants,
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
    """Add the reasons that no backend can know: the model's, the engine's, the user's and ours."""
    answers = (_restrict(answer, model.unsupported, wishes) for answer in survey.answers)
    return replace(survey, answers=tuple(_bound(answers)))


def _restrict(answer: Answer, unsupported: tuple[Reason, ...], wishes: Wishes) -> Answer:
    own, wished = answer.support.reasons, wishes.refusals(answer.backend, answer.variant)
    return replace(answer, support=Support((*own, *unsupported, *wished)))


def _bound(answers: Iterable[Answer]) -> Iterator[Answer]:
    """At most so many variants of a backend in one race, the first in its own order: a knob with a
    hundred values must not outweigh everybody else's time.
    """
    raced: Counter[tuple[str, AttentionSpec, Phase]] = Counter()
    for answer in answers:
        if answer.support:
            place = answer.backend, answer.spec, answer.phase
            raced[place] += 1
            if raced[place] > MOST_VARIANTS:
                text = f"variants: {MOST_VARIANTS} others of {answer.backend} come before it"
                answer = replace(answer, support=Support((Reason("variants", text),)))
        yield answer


def _entrants(situation: Situation, spec: AttentionSpec, phase: Phase) -> tuple[Answer, ...]:
    able = [
        answer
        for answer in situation.survey.answers
        if answer.spec == spec and answer.phase is phase and answer.support
    ]
    order = situation.order
    return tuple(sorted(able, key=lambda answer: order.index(answer.entrant.label)))
