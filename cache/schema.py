"""The tables, as migrations that are only ever added to: a released one never changes.

The one module that imports sqlite-utils when it is imported; `store.py` imports it late.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlite_utils import Database, Migrations

from .database import APPLICATION_ID, SCHEMA_VERSION, schema_of, transaction

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

MIGRATIONS = Migrations("attn-autotune")

_PROVENANCE = {"created_at": str, "host": str, "tool_version": str}


def wrap(connection: sqlite3.Connection) -> Database:
    """The connection as sqlite-utils' database, without the plug-ins that others installed."""
    return Database(connection, execute_plugins=False)


def ensure(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the tables up to date, from none or from an older version, in one transaction. A file
    that is up to date is read and not locked.
    """
    if schema_of(connection, path) == SCHEMA_VERSION:
        return
    with transaction(connection):
        # Asked again under the lock: of eight ranks that open the file together, one changes it.
        if schema_of(connection, path) < SCHEMA_VERSION:
            MIGRATIONS.apply(wrap(connection))


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
