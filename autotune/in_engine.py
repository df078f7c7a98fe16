"""How a stored decision's winner did in the engine itself, for people and scripts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

import click

from autotune._store import ConfirmationRow, StoredDecision, read_confirmations
from autotune.payload import Json
from autotune.table import print_table
from autotune.text import mebibytes_text, seconds_text

_COLUMNS = ("load", "default tok/s", "winner tok/s", "speedup", "TTFT, ms", "between tokens, ms")
_PAIR = "default / winner"


def confirmations_of(stored: StoredDecision) -> tuple[ConfirmationRow, ...]:
    """A row a load: of its winner, and of others that the same evidence had before. Raises
    CacheError.
    """
    row = stored.decision
    return read_confirmations(
        stored.file, row.device_key, row.question, row.versions, is_ours=stored.is_ours
    )


def winner_line(stored: StoredDecision, rows: Iterable[ConfirmationRow]) -> str:
    """What was found of its winner, and why; empty where it was never run."""
    if not stored.confirmation:
        return ""
    decision = stored.decision
    label = decision.label
    run = next((row for row in rows if row.winner == label), None)
    if run is None:  # damaged
        return f"{label} is {stored.confirmation}: {stored.revoked}".removesuffix(": ")
    where = f"in {decision.engine} {run.engine_version} on {run.provenance.created_at[:10]}"
    return f"{label} is {stored.confirmation} ({where}): {stored.revoked or run.why}"


def print_confirmations(rows: Sequence[ConfirmationRow]) -> None:
    """A table a confirmation, and what is of all its loads."""
    for winner, loads in groupby(sorted(rows, key=lambda row: row.winner), lambda row: row.winner):
        _print_one(winner, [*loads])


def _print_one(winner: str, rows: Sequence[ConfirmationRow]) -> None:
    first = rows[0]
    title = f"{winner} is {first.verdict} against the default {first.default_backend}"
    print_table(title, _COLUMNS, map(_cells, rows))
    for what, text in _of_all(rows):
        click.echo(f"  {what}: {text}")


def _cells(row: ConfirmationRow) -> list[str]:
    speedup = _text(row.speedup, "{:.3f}x".format)
    return [
        row.load,
        _text(row.default_tokens_per_s, "{:.0f}".format),
        _text(row.winner_tokens_per_s, "{:.0f}".format),
        speedup if row.bound is None else f"{speedup} ±{row.bound:.3f}",
        _pair(row.default_ttft_ms, row.winner_ttft_ms, "{:.3g}".format),
        _pair(row.default_tbt_ms, row.winner_tbt_ms, "{:.3g}".format),
    ]


def _of_all(rows: Sequence[ConfirmationRow]) -> Iterable[tuple[str, str]]:
    """What is of the whole run, as far as it is known."""
    row = rows[0]
    found = [
        (f"KV cache, {_PAIR}", _pair(row.default_kv_tokens, row.winner_kv_tokens, "{:.0f}".format)),
        (f"peak memory, {_PAIR}", _pair(row.default_peak_bytes, row.winner_peak_bytes, _memory)),
        (f"cold start, {_PAIR}", _pair(row.default_cold_start_s, row.winner_cold_start_s, _start)),
        (f"warm start, {_PAIR}", _pair(row.default_warm_start_s, row.winner_warm_start_s, _start)),
        ("drift of log-probabilities", _drift_text(row)),
    ]
    return ((what, text) for what, text in found if text)


def _drift_text(row: ConfirmationRow) -> str:
    if row.drift is None:
        return ""
    parts = [f"{row.drift:.2g} in the mean"]
    if row.drift_max is not None:
        parts.append(f"{row.drift_max:.2g} at most")
    if row.drift_floor is not None:
        parts.append(f"{row.drift_floor:.2g} of the default against itself")
    if row.top1_agreement is not None:
        parts.append(f"the likeliest token is the same in {row.top1_agreement:.1%}")
    return ", ".join(parts)


def _memory(size_bytes: float) -> str:
    return mebibytes_text(int(size_bytes))


def _start(seconds: float) -> str:
    return seconds_text(seconds)


def _text(value: float | None, form: Callable[[float], str]) -> str:
    return "" if value is None else form(value)


def _pair(default: float | None, winner: float | None, form: Callable[[float], str]) -> str:
    """Nothing where neither is known."""
    both = (_text(default, form) or "?", _text(winner, form) or "?")
    return "" if both == ("?", "?") else " / ".join(both)


def confirmation_payload(row: ConfirmationRow) -> Json:
    """One load; what the decision says of itself is left out."""
    fields = dataclasses.asdict(row)
    for name in ("device_key", "question", "versions"):
        del fields[name]
    return fields
