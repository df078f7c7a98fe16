"""What a tuning run found, decided for one engine after another, and remembered."""

from __future__ import annotations

from dataclasses import dataclass, replace

from autotune import records
from autotune._store import Store, StoredDecision, find_decisions
from autotune.costs import Evidence
from autotune.decision import Decision
from autotune.engines import engine_named
from autotune.incumbents import with_variants
from autotune.job import Job
from autotune.keys import Question, canonical, device_key, spec_keys_of, versions_of
from autotune.loadable import Site, defective
from autotune.plan import Plan
from autotune.policy import NoVerdict, Terms, decide
from autotune.ranking import Candidate
from autotune.replay import Record
from autotune.run import Observed
from autotune.verdicts import Setting, decision_of_verdict
from kernels_bench.grid import GridPoint
from kernels_bench.method import METHOD


@dataclass(frozen=True)
class Findings:
    """What is known after a run, and decisions made from it."""

    job: Job
    whole: Plan
    observed: tuple[Observed, ...]
    store: Store

    def decide_for(self, engine: str) -> tuple[Decision | None, str]:
        """Store what is new; a decision that stands as it was keeps its date."""
        question, device = self.job.question_for(engine), self.job.found.device
        evidence, terms = self._evidence(engine), self._terms(engine)
        verdict = decide(evidence, terms)
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
            uncovered=terms.uncovered,
        )
        decision = decision_of_verdict(verdict, evidence, setting)
        count = self._count(question, decision)
        standing = self._standing(question, decision)
        if standing is not None:
            before = records.decision_of(standing)
            if before is not None and before == replace(decision, measured_at=before.measured_at):
                # A start may have looked just before it was stored, and have noted a miss since.
                self.store.forget_misses(device_key(device), question.text)
                if standing.decision.evidence != count:
                    self.store.put_decision(replace(standing.decision, evidence=count))
                return before, before.why
        row = records.decision_row(question, device, decision, origin, count)
        self.store.put_decision(row)
        return decision, decision.why

    def _count(self, question: Question, decision: Decision) -> int:
        """How many measurements are stored that the decision may rest on."""
        device = self.job.found.device
        specs = spec_keys_of(question.model.fingerprint)
        record = Record(
            model=question.model,
            device=device,
            rows=self.store.measurements(device_key(device), specs),
            versions=decision.versions,
            method=decision.method,
            measured_at=decision.measured_at,
        )
        return len(record.current())

    def _terms(self, engine: str) -> Terms:
        situation, points = self.whole.situation, self._points()
        labels = (answer.entrant.label for answer in situation.survey.answers)
        standing = self._standing_decision(self.job.question_for(engine))
        split = None if standing is None else standing.split
        names = situation.default_order(engine)
        site = Site(situation.found.device, situation.model.specs, situation.stack)
        return Terms(
            weights=self.job.profile.weigh(points),
            order=with_variants(names, labels),
            defective=defective(site, names[:1]),
            engine=engine_named(engine, situation.stack, situation.model),
            uncovered=self.job.profile.uncovered(points),
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
