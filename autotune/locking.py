"""From stored decisions to the entries of a lock."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from autotune import records
from autotune._store import MeasurementRow, StoredDecision
from autotune.decision import Decision
from autotune.keys import canonical
from autotune.loadable import options_of
from autotune.lock import evidence_digest
from autotune.lock_entries import LockEntry
from autotune.replay import Record, record_of


def lock_entries(stored: Iterable[StoredDecision]) -> tuple[LockEntry, ...]:
    """The newest decision for each question and device, damaged ones left out; `stored` stands
    newest first.
    """
    found: dict[tuple[str, str], LockEntry] = {}
    for each in stored:
        place = each.decision.device_key, each.decision.question
        decision, record = records.decision_of(each), record_of(each)
        if place not in found and decision is not None and record is not None:
            found[place] = _entry(each, decision, record)
    return tuple(found.values())


def _entry(stored: StoredDecision, decision: Decision, record: Record) -> LockEntry:
    row = stored.decision
    return LockEntry(
        question_text=row.question,
        model_name=stored.model.name,
        device=record.device,
        engine=row.engine,
        profile=row.profile,
        candidate=decision.winner,
        engine_args=options_of(record.site, decision.winner, row.engine),
        per_kind=decision.per_kind,
        split=decision.split,
        default=decision.default,
        speedup_vs_default=decision.speedup_vs_default,
        versions=decision.versions,
        method=decision.method,
        measured_at=decision.measured_at,
        evidence=evidence_digest(map(_line, record.current())),
    )


def _line(row: MeasurementRow) -> str:
    """A measurement with its outcome; where and when it was made says nothing of it."""
    fields = dataclasses.asdict(row)
    del fields["provenance"]
    return canonical({name: value for name, value in fields.items() if value is not None})
