"""The tables, as migrations that are only ever added to: a released one never changes.

Imports sqlite-utils as it is imported; `schema.py`, which applies them, is imported late.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlite_utils import Database, Migrations

from .checks import Column, Columns, RowDamagedError
from .database import APPLICATION_ID
from .records import CHECKSUM, TABLES, columns_at, kinds_at, kinds_of

if TYPE_CHECKING:
    from .records import Row

MIGRATIONS = Migrations("attn-autotune")

_PROVENANCE = {"created_at": str, "host": str, "tool_version": str}


@MIGRATIONS()
def m001_first_tables(database: Database) -> None:
    """Schema 1: devices, models, measurements, decisions."""
    _create_devices(database)
    _create_models(database)
    _create_measurements(database)
    _create_decisions(database)
    # Both are in the file's header and part of this transaction.
    database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    database.execute("PRAGMA user_version = 1")


@MIGRATIONS()
def m002_how_it_was_measured(database: Database) -> None:
    """Schema 2: what a start pays, the rounds, and what the device went through meanwhile.

    Rows that are there get NULL: nobody recorded it.
    """
    columns = {
        "captured": int,
        "captured_len": int,
        "plan_waits": int,
        "compile_s": float,
        "workspace_bytes": int,
        "rounds_us": str,
        "voided_rounds": int,
        "clock_mhz": int,
        "temperature_c": int,
        "warnings": str,
    }
    for name, kind in columns.items():
        database.table("measurements").add_column(name, kind)
    database.execute("PRAGMA user_version = 2")


@MIGRATIONS()
def m003_why_it_was_decided(database: Database) -> None:
    """Schema 3: how sure a decision is, what decided it, and whom a measurement was raced against.

    Rows that are there get NULL: nobody recorded it.
    """
    decisions = {
        "bound": float,
        "regret": float,
        "ground": str,
        "split": str,
        "crossovers": str,
        "profile_weights": str,
        "uncovered": str,
    }
    for name, kind in decisions.items():
        database.table("decisions").add_column(name, kind)
    database.table("measurements").add_column("anchor_key", str)
    database.table("measurements").add_column("anchor_us", float)
    database.execute("PRAGMA user_version = 3")


@MIGRATIONS()
def m004_whose_and_whether_whole(database: Database) -> None:
    """Schema 4: who measured, how much a decision rests on, a checksum in every row, views, and an
    index for a start that misses.

    Rows that are there get NULL for what nobody recorded, and the checksum of what they hold; one
    that holds what it may not gets none and is left out from then on.
    """
    for kind in kinds_at(4):
        table = database.table(TABLES[kind].name)
        if "user" in kinds_of(kind):
            table.add_column("user", str)
        if "evidence" in kinds_of(kind):
            table.add_column("evidence", int)
        table.add_column(CHECKSUM, str)
        sum_up(database, kind, 4)
    database.table("decisions").create_index(["model_fingerprint"])
    for name, sql in _VIEWS_OF_4.items():
        database.create_view(name, sql)
    database.execute("PRAGMA user_version = 4")


@MIGRATIONS()
def m005_what_was_missed(database: Database) -> None:
    """Schema 5: what starts found no answer for."""
    _create_misses(database)
    database.execute("PRAGMA user_version = 5")


@MIGRATIONS()
def m006_what_the_engine_said(database: Database) -> None:
    """Schema 6: decisions whose winner and default were both run in the engine."""
    _create_confirmations(database)
    database.execute("PRAGMA user_version = 6")


def sum_up(database: Database, kind: type[Row], schema: int) -> None:
    """Write the checksums of all rows of a table, with the columns that it has at this schema."""
    columns = columns_at(kind, schema)
    form = Columns({name: kinds_of(kind)[name] for name in columns})

    def sum_of(*values: Column) -> str | None:
        try:
            return form.checked(values)
        except RowDamagedError:
            return None

    database.conn.create_function("sum_of_row", len(columns), sum_of)
    database.execute(
        f"UPDATE {TABLES[kind].name} SET {CHECKSUM} = sum_of_row({', '.join(columns)})"
    )
    database.conn.create_function("sum_of_row", len(columns), None)


_VIEWS_OF_4 = {
    # Of each device and question the answer that was decided last.
    "winners": """
        SELECT decisions.id, devices.name AS device, models.name AS model,
            models.tensor_parallel, decisions.engine, decisions.profile, decisions.backend,
            decisions.variant, decisions.page_size, decisions.page_layout,
            decisions.speedup_vs_default, decisions.bound, decisions.tie, decisions.ground,
            decisions.why, decisions.default_backend, decisions.created_at, decisions.host,
            decisions.user
        FROM decisions
        JOIN devices ON devices.key = decisions.device_key
        JOIN models ON models.fingerprint = decisions.model_fingerprint
        WHERE NOT EXISTS (
            SELECT 1 FROM decisions AS later
            WHERE later.device_key = decisions.device_key AND later.question = decisions.question
            AND (later.created_at, later.id) > (decisions.created_at, decisions.id)
        )
    """,
    # What a layer took whom, over the fastest that was measured alike.
    "times": """
        SELECT measurements.id, devices.name AS device, measurements.spec_key,
            measurements.phase, measurements.workload, measurements.backend,
            measurements.variant, measurements.page_size, measurements.page_layout,
            measurements.gpu_us, measurements.gpu_us / min(measurements.gpu_us) OVER (
                PARTITION BY measurements.device_key, measurements.spec_key,
                measurements.workload, measurements.method
            ) AS over_fastest, measurements.noise, measurements.samples,
            measurements.floor_fraction, measurements.call_us, measurements.plan_us,
            measurements.method, measurements.versions, measurements.created_at,
            measurements.host, measurements.user
        FROM measurements JOIN devices ON devices.key = measurements.device_key
        WHERE measurements.outcome = 'timed'
    """,
    # Who has no time, and why.
    "refusals": """
        SELECT measurements.id, devices.name AS device, measurements.spec_key,
            measurements.phase, measurements.workload, measurements.backend,
            measurements.variant, measurements.outcome, measurements.reasons,
            measurements.failed_check, measurements.error, measurements.allowed,
            measurements.failure, measurements.message, measurements.versions,
            measurements.created_at, measurements.host, measurements.user
        FROM measurements JOIN devices ON devices.key = measurements.device_key
        WHERE measurements.outcome <> 'timed'
    """,
}


def _create_devices(database: Database) -> None:
    columns = {
        "key": str,
        "kind": str,
        "name": str,
        "arch": str,
        "multiprocessors": int,
        "memory_bytes": int,
        "last_level_cache_bytes": int,
        "partition": str,
    }
    table = database.table("devices").create({"id": int, **columns}, pk="id", not_null=columns)
    table.create_index(["key"], unique=True)


def _create_models(database: Database) -> None:
    columns = {
        "fingerprint": str,
        "name": str,
        "model_type": str,
        "tensor_parallel": int,
        "specs": str,
    }
    table = database.table("models").create({"id": int, **columns}, pk="id", not_null=columns)
    table.create_index(["fingerprint"], unique=True)


def _create_measurements(database: Database) -> None:
    always = {
        "key": str,
        "device_key": str,
        "spec_key": str,
        "phase": str,
        "backend": str,
        "variant": str,
        "page_size": int,
        "page_layout": str,
        "versions": str,
        "method": int,
        "outcome": str,
    }
    by_outcome = {
        "workload": str,
        "gpu_us": float,
        "call_us": float,
        "plan_us": float,
        "noise": float,
        "samples": int,
        "floor_fraction": float,
        "reasons": str,
        "failed_check": str,
        "error": float,
        "allowed": float,
        "failure": str,
        "message": str,
    }
    table = database.table("measurements").create(
        {"id": int, **always, **by_outcome, **_PROVENANCE},
        pk="id",
        not_null=[*always, *_PROVENANCE],
        foreign_keys=[("device_key", "devices", "key")],
    )
    table.create_index(["key"], unique=True)
    table.create_index(["device_key", "spec_key"])


def _create_decisions(database: Database) -> None:
    always = {
        "device_key": str,
        "question": str,
        "versions": str,
        "model_fingerprint": str,
        "engine": str,
        "profile": str,
        "backend": str,
        "variant": str,
        "page_size": int,
        "page_layout": str,
        "default_backend": str,
        "per_kind": str,
        "tie": int,
        "why": str,
        "runners_up": str,
        "method": int,
        "power_limit_w": int,
    }
    table = database.table("decisions").create(
        {"id": int, **always, "speedup_vs_default": float, **_PROVENANCE},
        pk="id",
        not_null=[*always, *_PROVENANCE],
        foreign_keys=[
            ("device_key", "devices", "key"),
            ("model_fingerprint", "models", "fingerprint"),
        ],
    )
    table.create_index(["device_key", "question", "versions"], unique=True)
    table.create_index(["question"])


def _create_misses(database: Database) -> None:
    columns = {
        "device_key": str,
        "question": str,
        "model_fingerprint": str,
        "model": str,
        "engine": str,
        "profile": str,
        "tensor_parallel": int,
        "options": str,
        "times_seen": int,
        "last_seen": str,
        **_PROVENANCE,
    }
    table = database.table("misses").create(
        {"id": int, **columns, "user": str, CHECKSUM: str},
        pk="id",
        not_null=columns,
        foreign_keys=[
            ("device_key", "devices", "key"),
            ("model_fingerprint", "models", "fingerprint"),
        ],
    )
    table.create_index(["device_key", "question"], unique=True)


def _create_confirmations(database: Database) -> None:
    always = {
        "device_key": str,
        "question": str,
        "versions": str,
        "winner": str,
        "default_backend": str,
        "load": str,
        "verdict": str,
        "why": str,
        "engine_version": str,
    }
    seen = {
        "repeats": int,
        "default_tokens_per_s": float,
        "winner_tokens_per_s": float,
        "speedup": float,
        "bound": float,
        "default_ttft_ms": float,
        "winner_ttft_ms": float,
        "default_tbt_ms": float,
        "winner_tbt_ms": float,
        "default_kv_tokens": int,
        "winner_kv_tokens": int,
        "default_peak_bytes": int,
        "winner_peak_bytes": int,
        "default_cold_start_s": float,
        "winner_cold_start_s": float,
        "default_warm_start_s": float,
        "winner_warm_start_s": float,
        "drift": float,
        "drift_max": float,
        "drift_floor": float,
        "top1_agreement": float,
    }
    table = database.table("confirmations").create(
        {"id": int, **always, **seen, **_PROVENANCE, "user": str, CHECKSUM: str},
        pk="id",
        not_null=[*always, *_PROVENANCE],
        foreign_keys=[("device_key", "devices", "key")],
    )
    table.create_index(["device_key", "question", "versions", "winner", "load"], unique=True)
