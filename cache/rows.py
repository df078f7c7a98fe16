"""The rows of schema 6, a frozen dataclass a table. Columns are columns: no row holds a pickle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Provenance:
    """Where a row came from: evidence for people and for merging, never part of a key."""

    created_at: str
    """UTC, ISO 8601, seconds."""
    host: str
    tool_version: str
    user: str | None = None
    """NULL where an older schema wrote the row."""


@dataclass(frozen=True)
class DeviceRow:
    """Table `devices`: one row a part, not one a host."""

    key: str
    """Canonical text of the fields that identify the part; unique."""
    kind: str
    name: str
    arch: str
    multiprocessors: int
    memory_bytes: int
    last_level_cache_bytes: int
    partition: str


@dataclass(frozen=True)
class ModelRow:
    """Table `models`: one row a fingerprint; fine-tunes share it, so `name` is an alias."""

    fingerprint: str
    """Canonical text of the attention fields of every kind of layer, per rank; unique."""
    name: str
    model_type: str
    tensor_parallel: int
    specs: str
    """JSON: a list of attention specs, for people and for replay."""


@dataclass(frozen=True)
class MeasurementRow:
    """Table `measurements`: one outcome of one candidate. Columns of other outcomes are NULL."""

    key: str
    """Canonical text of everything the numbers belong to; unique."""
    device_key: str
    spec_key: str
    """Canonical text of the attention fields of one kind of layer."""
    phase: str
    workload: str | None
    """NULL where the candidate was rejected for the whole phase."""
    backend: str
    variant: str
    page_size: int
    page_layout: str
    versions: str
    """JSON {distribution: version} of what the numbers depend on."""
    method: int
    """Version of the measuring method."""
    outcome: str
    """timed, rejected, wrong or failed."""
    provenance: Provenance
    gpu_us: float | None = None
    call_us: float | None = None
    plan_us: float | None = None
    noise: float | None = None
    """Pooled relative spread of the paired ratio in a round."""
    samples: int | None = None
    floor_fraction: float | None = None
    reasons: str | None = None
    """JSON: a list of {field, text}."""
    failed_check: str | None = None
    error: float | None = None
    allowed: float | None = None
    failure: str | None = None
    message: str | None = None
    captured: bool | None = None
    """Timed in a CUDA graph, as an engine runs this phase."""
    captured_len: int | None = None
    """The longest context of the graph that holds the call, of whatever outcome; NULL too where
    schema 1 wrote the row, whose key alone says it."""
    plan_waits: bool | None = None
    compile_s: float | None = None
    workspace_bytes: int | None = None
    """NULL too where nobody counts."""
    rounds_us: str | None = None
    """JSON: a list of numbers."""
    voided_rounds: int | None = None
    clock_mhz: int | None = None
    temperature_c: int | None = None
    warnings: str | None = None
    """JSON: a list of texts, empty where nothing speaks against the numbers."""
    anchor_key: str | None = None
    """The measurement whose candidate took part in this one's race as the yardstick, and was stored
    before; NULL where all candidates were raced together."""
    anchor_us: float | None = None
    """What a layer cost the yardstick in this race, us."""


@dataclass(frozen=True)
class DecisionRow:
    """Table `decisions`: one answer. (`device_key`, `question`, `versions`) is unique."""

    device_key: str
    question: str
    """Canonical text of what was asked: model fingerprint, engine, profile, pins, maxima."""
    versions: str
    """JSON {distribution: version or null} of every package that the survey looked at."""
    model_fingerprint: str
    engine: str
    profile: str
    backend: str
    variant: str
    page_size: int
    page_layout: str
    default_backend: str
    """The incumbent, as "backend:variant"."""
    per_kind: str
    """JSON {kind: {phase: backend}}."""
    speedup_vs_default: float | None
    """NULL where no incumbent could be timed."""
    tie: bool
    why: str
    runners_up: str
    """JSON: a ranked list."""
    method: int
    power_limit_w: int
    provenance: Provenance
    bound: float | None = None
    """Half width of the 99 % interval around the winner's cost over the default's; this column and
    those that follow are NULL where an older schema wrote the row."""
    regret: float | None = None
    """What the winner costs more than the best candidate of each workload: 0.03 is 3 %."""
    ground: str | None = None
    """What decided: margin, default_is_fastest, ..."""
    split: str | None = None
    """JSON: two backends that are better than any single one; NULL too where there are none."""
    crossovers: str | None = None
    """JSON: a list, at most one an axis."""
    profile_weights: str | None = None
    """JSON {workload: weight} of the profile."""
    uncovered: str | None = None
    """JSON {workload: share of all weight} that falls on nothing that was measured."""
    evidence: int | None = None
    """How many measurements of its layers, versions and method there were: with fewer no other
    question is decided from them. NULL where an older schema wrote the row."""

    @property
    def label(self) -> str:
        """Of the winner, as confirmations have it."""
        return f"{self.backend}:{self.variant}"


@dataclass(frozen=True)
class MissRow:
    """Table `misses`: what starts of an engine found no answer for. (`device_key`, `question`) is
    unique; a note of this file alone, which is neither exported nor merged.

    What it says is of the last start that missed, but for `created_at`, which is of the first.
    """

    device_key: str
    question: str
    """As decisions have it."""
    model_fingerprint: str
    model: str
    """The name that the start gave it."""
    engine: str
    profile: str
    tensor_parallel: int
    options: str
    """JSON: how the engine was started, for people."""
    times_seen: int
    last_seen: str
    """As `created_at` is written."""
    provenance: Provenance


@dataclass(frozen=True)
class ConfirmationRow:
    """Table `confirmations`: the engine's default and a decision's winner, both run in the engine
    under one load. (`device_key`, `question`, `versions`, `winner`, `load`) is unique.

    The rows of a winner are one confirmation: they come and go together.
    """

    device_key: str
    question: str
    versions: str
    """All three as the decision has them."""
    winner: str
    """The decision's, as "backend:variant"."""
    default_backend: str
    """As decisions have it."""
    load: str
    """Requests, input and output tokens of each: "256x64+512"."""
    verdict: str
    """confirmed, revoked or unconfirmed: of all loads together, as is `why`."""
    why: str
    engine_version: str
    repeats: int | None
    """How often each of both was run; NULL, here and below, where nobody could tell."""
    default_tokens_per_s: float | None
    winner_tokens_per_s: float | None
    speedup: float | None
    """Of the winner over the default: 1.05 is 5 % faster."""
    bound: float | None
    """Half width of the 99 % interval around the speedup."""
    default_ttft_ms: float | None
    """To a request's first token."""
    winner_ttft_ms: float | None
    default_tbt_ms: float | None
    """Between two tokens of a request."""
    winner_tbt_ms: float | None
    default_kv_tokens: int | None
    """For which the engine's KV cache has room."""
    winner_kv_tokens: int | None
    default_peak_bytes: int | None
    """Of device memory."""
    winner_peak_bytes: int | None
    default_cold_start_s: float | None
    """With nothing compiled before."""
    winner_cold_start_s: float | None
    default_warm_start_s: float | None
    winner_warm_start_s: float | None
    drift: float | None
    """Mean absolute difference of log-probabilities, the winner's against the default's."""
    drift_max: float | None
    drift_floor: float | None
    """The same of the default against itself in another process."""
    top1_agreement: float | None
    """Share of the tokens that both hold for the likeliest."""
    provenance: Provenance


@dataclass(frozen=True)
class EvidenceGroup:
    """Measurements of some layers on a device that share their versions and their method."""

    device_key: str
    spec_key: str
    versions: str
    method: int
    count: int
    newest_at: str


@dataclass(frozen=True)
class StoredDecision:
    """A decision as it is read back, with what its keys point at."""

    id: int
    """What `autotune cache show` and `rm` take; of its file alone."""
    decision: DecisionRow
    device: DeviceRow
    model: ModelRow
    file: Path
    is_ours: bool = True
    """Whether the file may be written, if only to undo what a killed writer left."""
    confirmation: str = ""
    """What a run of the engine said of its winner: confirmed, unconfirmed or revoked; empty where
    there was none."""
    revoked: str = ""
    """Why its winner is not to be taken; empty where it may be."""


@dataclass(frozen=True)
class StoredMiss:
    """A miss as it is read back, with what its keys point at."""

    id: int
    miss: MissRow
    device: DeviceRow
    model: ModelRow
