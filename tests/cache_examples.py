"""One row of each kind, for the tests of the cache."""

from __future__ import annotations

import lzma
import sqlite3
from contextlib import closing
from pathlib import Path

from cache import (
    ConfirmationRow,
    DecisionRow,
    DeviceRow,
    MeasurementRow,
    MissRow,
    ModelRow,
    Provenance,
)
from cache.database import SCHEMA_VERSION, connect, transaction
from cache.migrations import (
    MIGRATIONS,
    m002_how_it_was_measured,
    m006_what_the_engine_said,
    sum_up,
)
from cache.records import TABLES, Row, to_record
from cache.schema import wrap

H100_RUN = Path(__file__).parents[1] / "benchmarks" / "results" / "h100-run1.db.xz"
"""What a whole run left on an H100, before schema 2."""

PROVENANCE = Provenance(created_at="2026-01-02T03:04:05Z", host="node7", tool_version="0.1.0")

DEVICE = DeviceRow(
    key="cuda;NVIDIA H100 80GB HBM3;sm_90;132",
    kind="cuda",
    name="NVIDIA H100 80GB HBM3",
    arch="sm_90",
    multiprocessors=132,
    memory_bytes=85_520_809_984,
    last_level_cache_bytes=52_428_800,
    partition="",
)
MODEL = ModelRow(
    fingerprint="hq=32;hkv=8;d=128",
    name="llama-3.1-8b",
    model_type="llama",
    tensor_parallel=1,
    specs='[{"num_q_heads": 32}]',
)
TIMED = MeasurementRow(
    key="m1",
    device_key=DEVICE.key,
    spec_key="hq=32;hkv=8;d=128",
    phase="decode",
    workload="8q1s1k",
    backend="torch_sdpa",
    variant="padded",
    page_size=16,
    page_layout="NHD",
    versions='{"torch": "2.13.0"}',
    method=1,
    outcome="timed",
    provenance=PROVENANCE,
    gpu_us=41.5,
    call_us=12.25,
    plan_us=3.0,
    noise=0.004,
    samples=200,
    floor_fraction=0.61,
    captured=True,
    captured_len=131072,
    plan_waits=False,
    compile_s=61.25,
    workspace_bytes=394 << 20,
    rounds_us="[41.5, 41.75, 41.25]",
    voided_rounds=1,
    clock_mhz=1980,
    temperature_c=54,
    warnings='["the clock moved by 7%"]',
)
REJECTED = MeasurementRow(
    key="m2",
    device_key=DEVICE.key,
    spec_key=TIMED.spec_key,
    phase="decode",
    workload=None,
    backend="flash_attn",
    variant="fa3",
    page_size=16,
    page_layout="NHD",
    versions="{}",
    method=1,
    outcome="rejected",
    provenance=PROVENANCE,
    reasons='[{"field": "head_dim", "text": "head_dim 512: at most 256"}]',
)
DECISION = DecisionRow(
    device_key=DEVICE.key,
    question="hq=32;hkv=8;d=128|any|balanced",
    versions='{"torch": "2.13.0"}',
    model_fingerprint=MODEL.fingerprint,
    engine="any",
    profile="balanced",
    backend="torch_sdpa",
    variant="padded",
    page_size=16,
    page_layout="NHD",
    default_backend="torch_flex:compiled",
    per_kind='{"full": {"decode": "torch_sdpa"}}',
    speedup_vs_default=1.31,
    tie=False,
    why="1.31 times as fast",
    runners_up="[]",
    method=1,
    power_limit_w=700,
    provenance=PROVENANCE,
)


MISS = MissRow(
    device_key=DEVICE.key,
    question=DECISION.question,
    model_fingerprint=MODEL.fingerprint,
    model="my-fine-tune",
    engine="vllm",
    profile="balanced",
    tensor_parallel=1,
    options='{"source": "/models/my-fine-tune"}',
    times_seen=1,
    last_seen=PROVENANCE.created_at,
    provenance=PROVENANCE,
)


CONFIRMATION = ConfirmationRow(
    device_key=DEVICE.key,
    question=DECISION.question,
    versions=DECISION.versions,
    winner="torch_sdpa:padded",
    default_backend=DECISION.default_backend,
    load="256x64+512",
    verdict="revoked",
    why="3.1 % slower under 256x64+512",
    engine_version="0.12.0",
    repeats=5,
    default_tokens_per_s=10_250.5,
    winner_tokens_per_s=9_932.75,
    speedup=0.969,
    bound=0.004,
    default_ttft_ms=41.25,
    winner_ttft_ms=43.5,
    default_tbt_ms=11.125,
    winner_tbt_ms=11.5,
    default_kv_tokens=412_336,
    winner_kv_tokens=409_600,
    default_peak_bytes=72 << 30,
    winner_peak_bytes=73 << 30,
    default_cold_start_s=61.5,
    winner_cold_start_s=94.25,
    default_warm_start_s=31.5,
    winner_warm_start_s=33.0,
    drift=0.0125,
    drift_max=0.31,
    drift_floor=0.0,
    top1_agreement=0.991,
    provenance=PROVENANCE,
)


def write_schema_1(path: Path, *rows: Row) -> None:
    """A file as the first version left it: what rows have beyond its columns is not in it."""
    write_older(path, m002_how_it_was_measured.__name__, *rows)


def write_schema_5(path: Path, *rows: Row) -> None:
    """The same of the last version before confirmations."""
    write_older(path, m006_what_the_engine_said.__name__, *rows)


def write_older(path: Path, stop_before: str, *rows: Row) -> None:
    """Without the migrations from this one on."""
    with closing(connect(path, "rwc", 5.0)) as connection:
        database = wrap(connection)
        with transaction(connection):
            MIGRATIONS.apply(database, stop_before=stop_before)
            for row in rows:
                table = database.table(TABLES[type(row)].name)
                known = {column.name for column in table.columns}
                table.insert({k: v for k, v in to_record(row).items() if k in known})


def tamper(path: Path, statement: str) -> None:
    """Change rows behind the store's back, as somebody would who knows of the checksums."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        database = wrap(connection)
        for kind in TABLES:
            sum_up(database, kind, SCHEMA_VERSION)
        connection.commit()


H100_SCHEMA_2 = H100_RUN.with_name("h100-method3-run1.db.xz")
"""The same of one model, by schema 2."""


def unpack_h100_run(path: Path, packed: Path = H100_RUN) -> None:
    path.write_bytes(lzma.decompress(packed.read_bytes()))
