"""One row of each kind, for the tests of the cache."""

from __future__ import annotations

from cache import DecisionRow, DeviceRow, MeasurementRow, ModelRow, Provenance

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
