"""What a run saw as JSON. Apart from `payload.py`, so that `choose` need not load the tuner."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from autotune.estimate import estimate_s
from autotune.payload import (
    SCHEMA,
    Json,
    choice_payload,
    device_payload,
    pages_payload,
    reasons_payload,
    timed_payload,
)
from autotune.plan import Plan
from autotune.report import Told
from autotune.run import Observed
from autotune.surveyed import Surveyed
from autotune.tuner import Report
from kernels_bench.spec import Failed, Reason, Rejected, Timed, Wrong


def report_payload(reports: Sequence[Told]) -> Json:
    """`autotune warm --json`; one report a device. First the decisions that were asked for, then
    those of other engines.
    """
    choices = [told.choice for told in reports]
    return {
        "schema": SCHEMA,
        "decisions": [
            choice_payload(each)
            for each in (*choices, *(other for told in reports for other in told.also))
        ],
        "measured": sum(told.report.measured for told in reports),
        "wrong": _of_each(reports, _wrong),
        "failed": _of_each(reports, _failed),
        "rejected": _of_each(reports, _rejected),
        "left_out": _of_each(reports, _left_out),
        "elapsed_s": round(sum(told.report.elapsed_s for told in reports), 3),
    }


def _of_each(reports: Sequence[Told], rows: Callable[[Report], list[Json]]) -> list[Json]:
    """The rows of all reports, each with its model and device."""
    return [
        {"model": told.choice.model, "device": told.choice.device.name} | row
        for told in reports
        for row in rows(told.report)
    ]


def _wrong(report: Report) -> list[Json]:
    return [observed_payload(item) for item in report.observed if isinstance(item.outcome, Wrong)]


def _failed(report: Report) -> list[Json]:
    return [observed_payload(item) for item in report.observed if isinstance(item.outcome, Failed)]


def _rejected(report: Report) -> list[Json]:
    rows = survey_payload(report.plan.situation)
    return [row | {"workload": None} for row in rows if not row["supported"]]


def _left_out(report: Report) -> list[Json]:
    return [dataclasses.asdict(item) for item in report.left_out]


def plans_payload(plans: Sequence[Plan]) -> Json:
    """`autotune warm --dry-run --json`: one plan a model and device."""
    return {"schema": SCHEMA, "plans": [_plan_payload(plan) for plan in plans]}


def _plan_payload(plan: Plan) -> Json:
    situation = plan.situation
    return {
        "model": situation.model.name,
        "device": device_payload(situation.found.device),
        "steps": [
            {
                "spec": step.kind,
                "workload": step.workload.text,
                "phase": step.workload.phase.value,
                "candidates": list(step.labels),
            }
            for step in plan.steps
        ],
        "left_out": [dataclasses.asdict(item) for item in plan.grid.left_out],
        "estimated_s": round(estimate_s(situation.found.device, plan.steps), 1),
    }


def observed_payload(item: Observed) -> Json:
    """One outcome, its own fields beside its place."""
    place: Json = {
        "backend": item.answer.backend,
        "variant": item.answer.variant.name,
        "pages": pages_payload(item.answer.pages),
        "spec": item.kind,
        "phase": item.answer.phase.value,
        "workload": item.workload,
    }
    match item.outcome:
        case Timed():
            return place | {"outcome": "timed"} | timed_payload(item.outcome)
        case Wrong(check, error, allowed):
            return place | {"outcome": "wrong", "check": check, "error": error, "allowed": allowed}
        case Failed(kind, message):
            return place | {"outcome": "failed", "error": kind, "message": message}
        case Rejected(reasons):
            return place | {"outcome": "rejected", "reasons": reasons_payload(reasons)}


def survey_payload(surveyed: Surveyed) -> list[Json]:
    """`autotune backends --json`: a row a variant, kind of layer and phase."""
    rows: list[Json] = [
        {
            "schema": SCHEMA,
            "backend": answer.backend,
            "variant": answer.variant.name,
            "spec": surveyed.kind_of(answer.spec),
            "phase": answer.phase.value,
            "supported": bool(answer.support),
            "reasons": reasons_payload(answer.support.reasons),
        }
        for answer in surveyed.survey.answers
    ]
    rows += [
        _refused(each.name, (Reason("import", each.message),)) for each in surveyed.survey.broken
    ]
    if not surveyed.model.specs:
        rows += [_refused(name, surveyed.model.unsupported) for name in surveyed.survey.asked]
    return rows


def _refused(backend: str, reasons: tuple[Reason, ...]) -> Json:
    """A backend that no layer or phase was asked of."""
    return {
        "schema": SCHEMA,
        "backend": backend,
        "variant": None,
        "spec": None,
        "phase": None,
        "supported": False,
        "reasons": reasons_payload(reasons),
    }
