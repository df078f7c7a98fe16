"""Decides stored measurements again: for another profile, engine, or other criteria. Measures
nothing, and needs neither the device nor the packages that were measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from autotune import records
from autotune._store import MeasurementRow, StoredDecision, read_measurements
from autotune.costs import Evidence
from autotune.criteria import Criteria
from autotune.decision import Decision
from autotune.engines import engine_named
from autotune.incumbents import default_order, with_variants
from autotune.keys import spec_keys_of
from autotune.loadable import Loads, Site, defective, variants_of
from autotune.models import ModelConfig, kinds, spec_key
from autotune.outcome_columns import captured_len_of, outcomes_of
from autotune.policy import NoVerdict, Terms, decide
from autotune.profiles import Profile
from autotune.ranking import Candidate
from autotune.scale import Scale, place_in
from autotune.settings import RocmFlags
from autotune.stored_json import read_pages, read_versions
from autotune.stored_model import stored_model
from autotune.verdicts import Setting, decision_of_verdict
from autotune.wishes import Wishes
from kernels_bench.grid import GridPoint, Limits, make_grid
from kernels_bench.spec import Device, Phase, Stack


@dataclass(frozen=True)
class Record:
    """What is stored of a model on a device, and the versions and the method that are meant."""

    model: ModelConfig
    device: Device
    """With the power limit of the measurement."""
    rows: tuple[MeasurementRow, ...]
    versions: Mapping[str, str | None]
    method: int
    measured_at: str

    @property
    def stack(self) -> Stack:
        """The versions of what was installed."""
        return {name: text for name, text in self.versions.items() if text is not None}

    @property
    def site(self) -> Site:
        """Where its candidates would be loaded."""
        return Site(self.device, self.model.specs, self.stack)

    def current(self) -> tuple[MeasurementRow, ...]:
        """The rows of this method, these versions and this longest context."""
        return tuple(row for row in self.rows if self._is_current(row))

    def _is_current(self, row: MeasurementRow) -> bool:
        try:
            versions = read_versions(row.versions)
        except ValueError:
            return False
        return (
            row.method == self.method
            and versions.items() <= self.versions.items()
            # Only what ran inside a graph knows the engine's maximum.
            and captured_len_of(row) in (None, self.model.max_model_len)
        )


@dataclass(frozen=True)
class Rules:
    """For whom is decided, and how."""

    engine: str
    profile: Profile
    disabled: frozenset[str] = frozenset()
    criteria: Criteria = field(default_factory=Criteria)
    standing: Decision | None = None
    rocm: RocmFlags = field(default_factory=RocmFlags)
    """Of today: what they were when it was measured is not stored."""

    @property
    def wishes(self) -> Wishes:
        """Whom nobody loads."""
        return Wishes(self.engine, self.disabled, rocm=self.rocm)


@dataclass(frozen=True)
class Case:
    """Evidence and terms: what `decide` takes."""

    evidence: tuple[Evidence, ...]
    terms: Terms

    @property
    def scale(self) -> Scale | None:
        """What everyone costs, by the first of the default's order that is legal; None where nobody
        is, or where nothing that was measured weighs.
        """
        costs = self.terms.costs_of(self.evidence)
        legal = sorted(costs.everywhere, key=lambda who: place_in(self.terms.order, who))
        if not legal:
            return None
        scale = self.terms.scale_of(costs, legal[0])
        return scale if scale.is_weighing else None


def record_of(stored: StoredDecision, question: str | None = None) -> Record | None:
    """What a cache holds behind a decision, for its own question or another of the same layers;
    None where the row is damaged.
    """
    decision = records.decision_of(stored)
    if decision is None:
        return None
    specs = spec_keys_of(stored.model.fingerprint)
    rows = read_measurements(stored.file, stored.device.key, specs, is_ours=stored.is_ours).rows
    return record_with(stored, decision, rows, question)


def record_with(
    stored: StoredDecision,
    decision: Decision,
    rows: Iterable[MeasurementRow],
    question: str | None = None,
) -> Record | None:
    """As `record_of`, where both were read before."""
    try:
        model = stored_model(stored.model, question or stored.decision.question)
    except ValueError:
        return None
    return Record(
        model=model,
        device=records.measured_device(stored),
        rows=tuple(rows),
        versions=decision.versions,
        method=decision.method,
        measured_at=decision.measured_at,
    )


def case_of(record: Record, rules: Rules) -> Case:
    """Put together what is to be decided."""
    evidence = evidence_of(record, rules)
    seen = {item.workload for item in evidence}
    every = _grid_points(record, rules.profile)
    points = tuple(point for point in every if point.workload.text in seen)
    standing = rules.standing
    split = None if standing is None else standing.split
    terms = Terms(
        weights=rules.profile.weigh(points),
        order=_order(record, rules),
        defective=defective(record.site, _default_names(record, rules)[:1]),
        engine=engine_named(rules.engine, record.stack, record.model),
        uncovered=rules.profile.uncovered(points),
        criteria=rules.criteria,
        standing=None if standing is None else standing.winner,
        standing_split=None if split is None else split.seats,
    )
    return Case(evidence, terms)


def redecide(record: Record, rules: Rules) -> Decision | NoVerdict:
    """As `warm` would decide if it found all of this measured."""
    case = case_of(record, rules)
    verdict = decide(case.evidence, case.terms)
    if isinstance(verdict, NoVerdict):
        return verdict
    setting = Setting(
        versions=record.versions,
        method=record.method,
        power_limit_w=record.device.power_limit_w,
        measured_at=record.measured_at,
        profile=rules.profile,
        uncovered=case.terms.uncovered,
    )
    return decision_of_verdict(verdict, case.evidence, setting)


def evidence_of(record: Record, rules: Rules) -> tuple[Evidence, ...]:
    """The outcomes of whoever the engine can load, on the standard workloads and the profile's own,
    where all of them have run.
    """
    texts = {point.workload.text for point in _grid_points(record, rules.profile)}
    names = dict(zip(map(spec_key, record.model.specs), kinds(record.model), strict=True))
    layers = {spec_key(spec): spec.num_layers for spec in record.model.specs}
    rows = [row for row in record.current() if row.spec_key in names]
    outcomes = outcomes_of(rows)
    loads = Loads(record.site, rules.wishes)
    found = [
        Evidence(
            kind=names[row.spec_key],
            num_layers=layers[row.spec_key],
            workload=row.workload,
            phase=Phase(row.phase),
            candidate=candidate_of(row),
            outcome=outcomes[row.key],
        )
        for row in rows
        if row.workload in texts and row.key in outcomes and not loads.refusals(candidate_of(row))
    ]
    return tuple(_where_all_ran(found))


def candidate_of(row: MeasurementRow) -> Candidate:
    """Whom a row is about."""
    return Candidate(row.backend, row.variant, read_pages(row.page_size, row.page_layout))


def _grid_points(record: Record, profile: Profile) -> tuple[GridPoint, ...]:
    """The standard workloads, and a profile's own."""
    limits = Limits(record.model.max_model_len)
    also = tuple(profile.weights) if profile.is_own else ()
    return make_grid(record.device, record.model.specs, limits, "full", also).points


def _where_all_ran(evidence: Sequence[Evidence]) -> Iterable[Evidence]:
    """Without the workloads that somebody was not given, who was given others of the phase: a run
    that was interrupted would otherwise put a newcomer out of the race.
    """
    runners: dict[tuple[str, Phase], set[Candidate]] = {}
    seen: dict[tuple[str, str], set[Candidate]] = {}
    for item in evidence:
        runners.setdefault((item.kind, item.phase), set()).add(item.candidate)
        seen.setdefault((item.kind, item.workload), set()).add(item.candidate)
    return (
        item
        for item in evidence
        if seen[item.kind, item.workload] == runners[item.kind, item.phase]
    )


def _default_names(record: Record, rules: Rules) -> tuple[str, ...]:
    specs = record.model.specs
    return default_order(rules.engine, record.device, specs, record.stack, rules.rocm)


def _order(record: Record, rules: Rules) -> tuple[str, ...]:
    """The default's, each backend's variants as it lists them itself."""
    names = _default_names(record, rules)
    backends = dict.fromkeys(row.backend for row in record.rows)
    labels = (f"{name}:{each.name}" for name in backends for each in variants_of(record.site, name))
    return with_variants(names, labels)
