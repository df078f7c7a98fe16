"""Between our types and the cache's rows: the only module that knows both."""

from __future__ import annotations

import dataclasses
import json
import platform
from datetime import datetime, timezone
from importlib import metadata
from typing import get_args

from autotune._store import (
    DecisionRow,
    DeviceRow,
    MeasurementRow,
    ModelRow,
    Provenance,
    StoredDecision,
)
from autotune.decision import Decision
from autotune.keys import Question, canonical, device_key, measurement_key, versions_of
from autotune.models import ModelConfig, spec_key
from autotune.policy import Candidate
from autotune.stored_json import (
    read_pages,
    read_per_kind,
    read_reasons,
    read_runners_up,
    read_versions,
)
from kernels_bench.candidates import Entrant
from kernels_bench.capture import is_captured
from kernels_bench.method import METHOD
from kernels_bench.spec import (
    AttentionSpec,
    Device,
    Failed,
    FailureKind,
    Health,
    Outcome,
    Phase,
    Reason,
    Rejected,
    Stack,
    Timed,
    Wrong,
)


def provenance() -> Provenance:
    """Here and now."""
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return Provenance(now, platform.node(), tool_version())


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


def measurement_row(
    place: Place, workload: str | None, outcome: Outcome, origin: Provenance
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
    )
    match outcome:
        case Timed():
            return _with_times(row, outcome)
        case Rejected(reasons):
            return dataclasses.replace(row, reasons=reasons_json(reasons))
        case Wrong(check, error, allowed):
            return dataclasses.replace(row, failed_check=check, error=error, allowed=allowed)
        case Failed(kind, message):
            return dataclasses.replace(row, failure=kind, message=message)


def _with_times(row: MeasurementRow, timed: Timed) -> MeasurementRow:
    health = timed.health
    return dataclasses.replace(
        row,
        gpu_us=timed.gpu_us,
        call_us=timed.call_us,
        plan_us=timed.plan_us,
        noise=timed.noise,
        samples=timed.samples,
        floor_fraction=timed.floor_fraction,
        captured=timed.is_captured,
        plan_waits=timed.plan_waits,
        compile_s=timed.compile_s,
        workspace_bytes=timed.workspace_bytes,
        rounds_us=json.dumps(timed.rounds_us),
        voided_rounds=health.voided_rounds,
        clock_mhz=health.clock_mhz,
        temperature_c=health.temperature_c,
        warnings=json.dumps(health.warnings),
    )


def captured_len_of(row: MeasurementRow) -> int | None:
    """The longest context of the graph that held the call, which in a row of schema 1 the key alone
    remembers; None where the call was no part of a graph, or the key cannot be read.
    """
    if row.captured_len is not None:
        return row.captured_len
    try:
        found = json.loads(row.key).get("captured_len")
    except (ValueError, AttributeError):
        return None
    return found if isinstance(found, int) else None


def outcome_of(row: MeasurementRow) -> Outcome | None:
    """A stored outcome; None where the row is damaged, or no outcome that this version knows."""
    try:
        return _outcome(row)
    except ValueError:
        return None


def _outcome(row: MeasurementRow) -> Outcome | None:
    match row.outcome:
        case "timed":
            return _timed(row)
        case "rejected" if row.reasons is not None:
            return Rejected(read_reasons(row.reasons))
        case "wrong":
            return _wrong(row)
        case "failed" if row.message is not None:
            failures: tuple[FailureKind, ...] = get_args(FailureKind)
            return next((Failed(f, row.message) for f in failures if f == row.failure), None)
        case _:
            return None


def _timed(row: MeasurementRow) -> Timed | None:
    if (
        row.gpu_us is None
        or row.call_us is None
        or row.plan_us is None
        or row.noise is None
        or row.samples is None
        or row.floor_fraction is None
    ):
        return None
    return Timed(
        gpu_us=row.gpu_us,
        call_us=row.call_us,
        plan_us=row.plan_us,
        noise=row.noise,
        samples=row.samples,
        floor_fraction=row.floor_fraction,
        # What schema 1 did not record is as the fields' defaults have it, except this.
        is_captured=captured_len_of(row) is not None if row.captured is None else row.captured,
        plan_waits=bool(row.plan_waits),
        compile_s=row.compile_s or 0.0,
        workspace_bytes=row.workspace_bytes,
        rounds_us=_rounds(row.rounds_us),
        health=_health(row),
    )


def _rounds(text: str | None) -> tuple[float, ...]:
    """None where they cannot be read: they are evidence, and no decision needs them."""
    try:
        values: object = json.loads(text or "[]")
    except ValueError:
        return ()
    if not isinstance(values, list) or any(type(each) not in (int, float) for each in values):
        return ()
    return tuple(float(each) for each in values)


def _health(row: MeasurementRow) -> Health:
    """Raises ValueError where the warnings cannot be read: numbers that somebody warned of would
    pass for sound ones, and measuring again costs less.
    """
    warnings: object = json.loads(row.warnings or "[]")
    if not isinstance(warnings, list) or not all(isinstance(each, str) for each in warnings):
        raise ValueError(f"not a list of texts: {row.warnings}")
    return Health(tuple(warnings), row.voided_rounds or 0, row.clock_mhz, row.temperature_c)


def _wrong(row: MeasurementRow) -> Wrong | None:
    if row.failed_check is None or row.error is None or row.allowed is None:
        return None
    return Wrong(row.failed_check, row.error, row.allowed)


def decision_row(
    question: Question, device: Device, decision: Decision, origin: Provenance
) -> DecisionRow:
    """A decision as it is stored."""
    winner = decision.winner
    return DecisionRow(
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


def reasons_json(reasons: tuple[Reason, ...]) -> str:
    """A list of {field, text}."""
    return json.dumps([dataclasses.asdict(reason) for reason in reasons])


def _without_none(spec: AttentionSpec) -> dict[str, object]:
    return {name: value for name, value in dataclasses.asdict(spec).items() if value is not None}
