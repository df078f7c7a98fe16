"""Stored answers as JSON. The names are a contract with scripts: schema 1 until one changes."""

from __future__ import annotations

import dataclasses
import json
from typing import TypeAlias

from autotune import records
from autotune._store import MeasurementRow, StoredDecision
from autotune.decision import Assessment, Choice, Decision
from autotune.outcome_columns import captured_len_of
from kernels_bench.spec import Device, Health, Pages, Reason, Timed

SCHEMA = 1
Json: TypeAlias = dict[str, object]
_HEALTH = tuple(field.name for field in dataclasses.fields(Health))


def choice_payload(choice: Choice) -> Json:
    """`autotune choose --json`, and one of `warm`'s decisions."""
    decision = choice.decision
    pages = None if choice.candidate is None else pages_payload(choice.candidate.pages)
    payload: Json = {
        "schema": SCHEMA,
        "state": choice.state,
        "backend": choice.backend,
        "variant": None if choice.candidate is None else choice.candidate.variant,
        "pages": pages,
        "engine": choice.engine,
        "engine_args": {} if choice.is_observed else dict(choice.engine_options or {}),
        "profile": choice.profile,
        "speedup_vs_default": None if decision is None else decision.speedup_vs_default,
        "tie": False if decision is None else decision.tie,
        "why": choice.why,
        "runners_up": [] if decision is None else runners_up_payload(decision),
        "device": device_payload(choice.device),
        "model": choice.model,
        "measured_at": None if decision is None else decision.measured_at,
        "source": choice.source,
        "observed": choice.is_observed,
        "cache": None if choice.file is None else str(choice.file),
        "warnings": list(choice.warnings),
    }
    if decision is None:
        return payload | {"per_phase": {}, "split": None} | assessment_payload(None)
    return payload | split_payload(decision) | assessment_payload(decision.assessment)


def assessment_payload(found: Assessment | None) -> Json:
    """How sure a decision is; null throughout where nobody stored it."""
    if found is None:
        return dict.fromkeys(("bound", "regret", "ground", "crossovers", "uncovered"))
    return {
        "bound": found.bound,
        "regret": found.regret,
        "ground": found.ground,
        "crossovers": [dataclasses.asdict(each) for each in found.crossovers],
        "uncovered": dict(found.uncovered),
    }


def split_payload(decision: Decision) -> Json:
    """`per_phase` for a model of one kind of layer, `per_kind` for others: of the split where there
    is one, else the winner throughout.
    """
    split = None if decision.split is None else dataclasses.asdict(decision.split)
    if len(decision.per_kind) == 1:
        (per_phase,) = decision.per_kind.values()
        return {"per_phase": dict(per_phase), "split": split}
    kinds = {kind: dict(phases) for kind, phases in decision.per_kind.items()}
    return {"per_kind": kinds, "split": split}


def runners_up_payload(decision: Decision) -> list[Json]:
    """Who else could be loaded, best first; `score` is cost over the default's."""
    return [
        {
            "backend": each.candidate.backend,
            "variant": each.candidate.variant,
            "pages": pages_payload(each.candidate.pages),
            "score": each.score,
            "bound": each.bound,
            "worst": None if each.worst is None else dataclasses.asdict(each.worst),
        }
        for each in decision.runners_up
    ]


def stored_payload(stored: StoredDecision) -> Json:
    """`autotune cache ls --json`: a row a decision."""
    decision = records.decision_of(stored)
    row = stored.decision
    payload: Json = {
        "id": stored.id,
        "model": stored.model.name,
        "tensor_parallel": stored.model.tensor_parallel,
        "device": device_payload(records.measured_device(stored)),
        "engine": row.engine,
        "profile": row.profile,
        "backend": row.backend,
        "variant": row.variant,
        "pages": {"size": row.page_size, "layout": row.page_layout},
        "default": row.default_backend,
        "speedup_vs_default": row.speedup_vs_default,
        "tie": row.tie,
        "why": row.why,
        "confirmation": stored.confirmation or None,
        "method": row.method,
        "measured_at": row.provenance.created_at,
        "host": row.provenance.host,
        "user": row.provenance.user,
        "tool_version": row.provenance.tool_version,
    }
    if decision is None:  # columns of JSON that cannot be read: the others still say what it was
        return payload
    rest: Json = {
        "runners_up": runners_up_payload(decision),
        "versions": dict(decision.versions),
    }
    return payload | split_payload(decision) | assessment_payload(decision.assessment) | rest


def measurement_payload(row: MeasurementRow) -> Json:
    """One stored outcome; what other cases have, or nobody recorded, is left out."""
    fields = dataclasses.asdict(row)
    for name in ("key", "device_key"):
        del fields[name]
    fields["captured_len"] = captured_len_of(row)
    fields["rounds_us"] = _plain(row.rounds_us)
    fields["warnings"] = _plain(row.warnings)
    health = {name: fields.pop(name) for name in _HEALTH}
    fields["health"] = {name: value for name, value in health.items() if value is not None} or None
    return {name: value for name, value in fields.items() if value is not None}


def _plain(text: str | None) -> object:
    """What a column of JSON holds; the text itself where it is damaged."""
    try:
        return None if text is None else json.loads(text)
    except ValueError:
        return text


def timed_payload(timed: Timed) -> Json:
    """A time under the names of `measurement_payload`; its rounds are in the cache alone."""
    fields = dataclasses.asdict(timed)
    del fields["rounds_us"]
    return {"captured": fields.pop("is_captured")} | fields


def reasons_payload(reasons: tuple[Reason, ...]) -> list[Json]:
    """Field for code, text for people."""
    return [dataclasses.asdict(reason) for reason in reasons]


def device_payload(device: Device) -> Json:
    """Every field of the contract's Device."""
    return dataclasses.asdict(device)


def pages_payload(pages: Pages) -> Json:
    """Size and layout."""
    return {"size": pages.size, "layout": pages.layout}
