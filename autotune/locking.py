"""From stored decisions to the entries of a lock."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

from autotune import records
from autotune._store import MeasurementRow, StoredDecision
from autotune.decision import Decision
from autotune.keys import canonical
from autotune.loadable import options_of
from autotune.lock import evidence_digest
from autotune.lock_entries import LockEntry
from autotune.replay import Record, record_of


@dataclass(frozen=True)
class Lockable:
    """What of stored decisions a lock may hold."""

    entries: tuple[LockEntry, ...]
    revoked: tuple[StoredDecision, ...]
    """The newest of their question and device, and so nobody else stands in for them."""


def lockable(stored: Iterable[StoredDecision]) -> Lockable:
    """The newest decision for each question and device, damaged and revoked ones left out; `stored`
    stands newest first.
    """
    entries: dict[tuple[str, str], LockEntry] = {}
    revoked: dict[tuple[str, str], StoredDecision] = {}
    for each in stored:
        place = each.decision.device_key, each.decision.question
        if place in entries or place in revoked:
            continue
        decision, record = records.decision_of(each), record_of(each)
        if decision is None or record is None:
            continue
        if each.revoked:
            revoked[place] = each
        else:
            entries[place] = _entry(each, decision, record)
    return Lockable(tuple(entries.values()), tuple(revoked.values()))


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
