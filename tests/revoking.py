"""What `autotune confirm` leaves, without an engine."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from autotune import records
from autotune._store import ConfirmationRow, Store, StoredDecision, list_decisions

WHY = "3 % slower"


def confirmation(stored: StoredDecision, verdict: str, **others: Any) -> ConfirmationRow:
    """Of a decision's winner, with no number but those given."""
    row = stored.decision
    given = {
        **dict.fromkeys(each.name for each in fields(ConfirmationRow)),
        "device_key": row.device_key,
        "question": row.question,
        "versions": row.versions,
        "winner": f"{row.backend}:{row.variant}",
        "default_backend": row.default_backend,
        "load": "256x64+512",
        "verdict": verdict,
        "why": WHY,
        "engine_version": "0.12.0",
        "provenance": records.provenance(),
    }
    return ConfirmationRow(**{**given, **others})


def confirm(file: Path, verdict: str, **others: Any) -> None:
    """Give every decision of a file this verdict, under two loads."""
    for stored in list_decisions(file):
        row = confirmation(stored, verdict, **others)
        with Store.open(file) as store:
            store.put_confirmations([row, replace(row, load="16x2048+128")])


def revoke(file: Path) -> None:
    """So that no start takes any of its winners."""
    confirm(file, "revoked")
