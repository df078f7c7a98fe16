"""Between our types and the cache's rows; `outcome_columns.py` does it for outcomes."""

from __future__ import annotations

import dataclasses
import getpass
import json
import os
import platform
from datetime import datetime, timezone
from importlib import metadata

from autotune._store import (
    DecisionRow,
    DeviceRow,
    MeasurementRow,
    ModelRow,
    Provenance,
    StoredDecision,
)
from autotune.decision import Assessment, Decision
from autotune.keys import Question, canonical, device_key, measurement_key, versions_of
from autotune.models import ModelConfig, spec_key
from autotune.outcome_columns import with_outcome
from autotune.ranking import Candidate
from autotune.stored_json import (
    read_crossovers,
    read_ground,
    read_pages,
    read_per_kind,
    read_runners_up,
    read_shares,
    read_split,
    read_versions,
)
from kernels_bench.candidates import Entrant
from kernels_bench.capture import is_captured
from kernels_bench.method import METHOD
from kernels_bench.spec import (
    AttentionSpec,
    Device,
    Outcome,
    Phase,
    Stack,
)


def provenance() -> Provenance:
    """Here and now."""
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return Provenance(now, platform.node(), tool_version(), _user())


def _user() -> str:
    """By name; a container's arbitrary uid has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # KeyError before Python 3.13
        return f"uid {os.getuid()}"


def tool_version() -> str:
    """Of the installed distribution; "unknown" from a bare checkout."""
    try:
        return metadata.version("attn-autotune")
    except metadata.PackageNotFoundError:
        return "unknown"


def device_row(device: Device) -> DeviceRow:
    """A device without its power limit, which is a fact of the decision."""
    fields = dataclasses.asdict(device)
    del fields["power_limit_w"]
    return DeviceRow(key=device_key(device), **fields)


def model_row(model: ModelConfig) -> ModelRow:
    """A model by its fingerprint; its name is an alias."""
    specs = json.dumps([_without_none(spec) for spec in model.specs])
    return ModelRow(model.fingerprint, model.name, model.model_type, model.tensor_parallel, specs)


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a measurement belongs, the workload and the outcome apart."""

    device: Device
    spec: AttentionSpec
    phase: Phase
    entrant: Entrant
    stack: Stack
    max_model_len: int

    def key(self, workload: str | None) -> str:
        """Unique text; a refusal is one for the whole phase."""
        what = workload if workload is not None else f"phase {self.phase.value}"
        return measurement_key(
            self.device, self.spec, what, self.entrant, self.stack, self.captured_len
        )

    @property
    def captured_len(self) -> int | None:
        """A graph is frozen for the engine's longest context; an eager call knows nothing of it."""
        captured = is_captured(self.device, self.entrant.variant, self.phase)
        return self.max_model_len if captured else None


@dataclasses.dataclass(frozen=True)
class Anchor:
    """Who took part in a race as a yardstick, though its own measurement was stored before."""

    key: str
    """Of that measurement."""
    us: float
    """What a layer cost it in this race: the slower of device and host, where no graph replays."""


def measurement_row(
    place: Place,
    workload: str | None,
    outcome: Outcome,
    origin: Provenance,
    anchor: Anchor | None = None,
) -> MeasurementRow:
    """One outcome; columns of the other cases stay NULL."""
    entrant = place.entrant
    row = MeasurementRow(
        key=place.key(workload),
        device_key=device_key(place.device),
        spec_key=spec_key(place.spec),
        phase=place.phase.value,
        workload=workload,
        backend=entrant.backend,
        variant=entrant.variant.name,
        page_size=entrant.pages.size,
        page_layout=entrant.pages.layout,
        versions=canonical(versions_of(entrant.variant.packages, place.stack)),
        method=METHOD,
        outcome=type(outcome).__name__.lower(),
        provenance=origin,
        captured_len=place.captured_len,
        anchor_key=None if anchor is None else anchor.key,
        anchor_us=None if anchor is None else anchor.us,
    )
    return with_outcome(row, outcome)


def decision_row(
    question: Question,
    device: Device,
    decision: Decision,
    origin: Provenance,
    evidence: int | None = None,
) -> DecisionRow:
    """A decision as it is stored; `evidence` is how many measurements it rests on."""
    winner = decision.winner
    row = DecisionRow(
        device_key=device_key(device),
        question=question.text,
        versions=canonical(decision.versions),
        model_fingerprint=question.model.fingerprint,
        engine=question.engine,
        profile=question.profile,
        backend=winner.backend,
        variant=winner.variant,
        page_size=winner.pages.size,
        page_layout=winner.pages.layout,
        default_backend=decision.default,
        per_kind=json.dumps(decision.per_kind),
        speedup_vs_default=decision.speedup_vs_default,
        tie=decision.tie,
        why=decision.why,
        runners_up=json.dumps([dataclasses.asdict(each) for each in decision.runners_up]),
        method=decision.method,
        power_limit_w=decision.power_limit_w,
        provenance=origin,
        evidence=evidence,
    )
    if decision.split is not None:
        split = json.dumps(dataclasses.asdict(decision.split))
        row = dataclasses.replace(row, split=split)
    return row if decision.assessment is None else _with_assessment(row, decision.assessment)


def _with_assessment(row: DecisionRow, assessment: Assessment) -> DecisionRow:
    return dataclasses.replace(
        row,
        bound=assessment.bound,
        regret=assessment.regret,
        ground=assessment.ground,
        crossovers=json.dumps([dataclasses.asdict(each) for each in assessment.crossovers]),
        profile_weights=canonical(assessment.profile_weights),
        uncovered=canonical(assessment.uncovered),
    )


def decision_of(stored: StoredDecision) -> Decision | None:
    """A stored decision as it was made; None where the row is damaged."""
    try:
        return _decision(stored.decision)
    except ValueError:
        return None


def _decision(row: DecisionRow) -> Decision:
    return Decision(
        winner=Candidate(row.backend, row.variant, read_pages(row.page_size, row.page_layout)),
        default=row.default_backend,
        per_kind=read_per_kind(row.per_kind),
        speedup_vs_default=row.speedup_vs_default,
        tie=row.tie,
        why=row.why,
        runners_up=read_runners_up(row.runners_up),
        versions=read_versions(row.versions),
        method=row.method,
        power_limit_w=row.power_limit_w,
        measured_at=row.provenance.created_at,
        split=None if row.split is None else read_split(row.split),
        assessment=_assessment(row),
    )


def _assessment(row: DecisionRow) -> Assessment | None:
    """None where an older schema wrote the row; raises ValueError where it is damaged."""
    if row.bound is None or row.regret is None or row.ground is None:
        return None
    return Assessment(
        bound=row.bound,
        regret=row.regret,
        ground=read_ground(row.ground),
        crossovers=read_crossovers(row.crossovers or "[]"),
        profile_weights=read_shares(row.profile_weights or "{}"),
        uncovered=read_shares(row.uncovered or "{}"),
    )


def device_of(row: DeviceRow) -> Device:
    """A stored device; its power limit is not part of the row."""
    fields = dataclasses.asdict(row)
    del fields["key"]
    return Device(**fields)


def measured_device(stored: StoredDecision) -> Device:
    """The device of a decision as it was measured, its power limit included."""
    limit_w = stored.decision.power_limit_w
    return dataclasses.replace(device_of(stored.device), power_limit_w=limit_w)


def _without_none(spec: AttentionSpec) -> dict[str, object]:
    return {name: value for name, value in dataclasses.asdict(spec).items() if value is not None}
