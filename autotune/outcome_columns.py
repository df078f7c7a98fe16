"""Between outcomes and the columns of a measurement that hold them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import get_args

from autotune._store import MeasurementRow
from autotune.costs import layer_us
from autotune.stored_json import read_reasons
from kernels_bench.spec import (
    Failed,
    FailureKind,
    Health,
    Outcome,
    Reason,
    Rejected,
    Timed,
    Wrong,
)


def with_outcome(row: MeasurementRow, outcome: Outcome) -> MeasurementRow:
    """The row with one outcome; columns of the other cases stay as they are."""
    match outcome:
        case Timed():
            return _with_times(row, outcome)
        case Rejected(reasons):
            return dataclasses.replace(row, reasons=_reasons_json(reasons))
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


def outcomes_of(rows: Iterable[MeasurementRow]) -> dict[str, Outcome]:
    """Key -> outcome of those that can be read, as if all of a workload had been timed in one race.

    Two races on one device differ by its clock and its heat. Who was timed later than the others
    was timed beside one of them, its anchor: by what that one takes now and took then, its time is
    put on their scale.
    """
    by_key = {row.key: row for row in rows}
    found = {key: outcome_of(row) for key, row in by_key.items()}
    return {
        key: _scaled(outcome, _scale(row, by_key, found, frozenset()))
        for key, row in by_key.items()
        if (outcome := found[key]) is not None
    }


def _scale(
    row: MeasurementRow,
    rows: Mapping[str, MeasurementRow],
    found: Mapping[str, Outcome | None],
    seen: frozenset[str],
) -> float:
    """1 for who has no anchor; an anchor may have one itself."""
    if row.anchor_key is None or not row.anchor_us or row.anchor_key in seen:
        return 1.0
    anchor = found.get(row.anchor_key)
    if not isinstance(anchor, Timed):
        return 1.0
    own = _scale(rows[row.anchor_key], rows, found, seen | {row.key})
    return own * layer_us(anchor) / row.anchor_us


def _scaled(outcome: Outcome, scale: float) -> Outcome:
    if scale == 1.0 or not isinstance(outcome, Timed):
        return outcome
    gpu_us, call_us = outcome.gpu_us * scale, outcome.call_us * scale
    return dataclasses.replace(outcome, gpu_us=gpu_us, call_us=call_us)


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


def _reasons_json(reasons: tuple[Reason, ...]) -> str:
    """A list of {field, text}."""
    return json.dumps([dataclasses.asdict(reason) for reason in reasons])
