"""Runs the engine's default and a decision's winner in the real engine, and stores what that says.

The order is default, winner, winner, default, so that what changes steadily (heat, a neighbour)
meets both alike; under a short budget the second pair is left out.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from autotune import records
from autotune._store import ConfirmationRow, Layers, Store, StoredDecision, Which, read_layers
from autotune.confirmation import Comparison, Side, compare, of_samples
from autotune.decision import Choice
from autotune.engine_loads import Load
from autotune.engine_messages import EngineJob, EngineRun
from autotune.errors import UsageError
from autotune.keys import device_key
from autotune.remembered import Answer, Unusable, take
from autotune.start import is_default, is_default_wrong
from autotune.today import Asked
from kernels_bench.errors import WorkerError

StartEngine = Callable[[EngineJob, Mapping[str, str], float], EngineRun]
"""Runs a job under an environment until a `time.monotonic` moment."""
Role: TypeAlias = Literal["default", "winner"]
"""Their labels may be one: a split whose best single backend is the engine's own choice."""
OnSide = Callable[[str], None]
"""Told which side is about to start."""

_MEASURED_PART = 0.15
"""Of the budget: for the repeats of one start. Starting takes the rest."""


@dataclass(frozen=True)
class Subject:
    """A decision, and the engine that it is for."""

    stored: StoredDecision
    choice: Choice
    """What it gives a start, were it not revoked."""
    folder: Path
    """The model's."""
    arguments: Mapping[str, object]
    """Of the engine on both sides."""


@dataclass(frozen=True)
class Plan:
    """How a decision is put to the test."""

    loads: tuple[Load, ...]
    repeats: int
    budget_s: float
    is_cold: bool = False
    """Each side's first start finds nothing compiled."""


@dataclass(frozen=True)
class NothingToConfirm:
    """The engine would load the winner anyway, or must not be left alone."""

    why: str


def find_subject(
    asked: Asked, layers: Layers, folder: Path, arguments: Mapping[str, object]
) -> Subject | NothingToConfirm:
    """The decision of this device and stack, revoked or not; raises UsageError where there is none,
    or where it could not be taken, CacheError where the only cache cannot be read.
    """
    which = Which(questions=(asked.question.text,), device_keys=(device_key(asked.found.device),))
    reading = read_layers(layers, which)
    known = [
        (stored, decision)
        for stored in reading.stored
        if (decision := records.decision_of(stored)) is not None
    ]
    for error in () if known else reading.errors:
        raise error  # what it holds is not known
    answers = [Answer(decision, "cache", (), stored.file) for stored, decision in known]
    do = "autotune warm of the same model, engine and profile decides; then confirm it"
    match take(asked, answers):
        case None:
            raise UsageError(f"confirm: no decision is stored for this question; {do}")
        case Unusable(why):
            raise UsageError(f"confirm: {why}; {do}")
        case Choice(state="exact") as choice:
            pass
        case choice:
            raise UsageError(f"confirm: the decision is {choice.state} ({choice.why}); {do}")
    if is_default(choice):
        return NothingToConfirm(f"{choice.label} is what {choice.engine} takes by itself")
    if is_default_wrong(choice):
        default = "" if choice.decision is None else choice.decision.default
        return NothingToConfirm(
            f"{default}, which {choice.engine} takes by itself, is known to compute wrong numbers:"
            f" {choice.label} is set whatever it costs"
        )
    if not choice.engine_options:
        raise UsageError(f"confirm: {choice.engine} has no option that loads {choice.label}")
    for stored, decision in known:
        if stored.file == choice.file and decision == choice.decision:
            return Subject(stored, choice, folder, arguments)
    raise UsageError(f"confirm: the stored winner cannot be taken ({choice.why}); {do}")


def run_sides(subject: Subject, plan: Plan, start: StartEngine, on_side: OnSide) -> Comparison:
    """As much of default, winner, winner, default as the budget allows, and what it says."""
    began = time.monotonic()
    ends_at = began + plan.budget_s
    default = Side(subject.stored.decision.default_backend, (), plan.is_cold)
    winner = Side(subject.choice.label, (), plan.is_cold)
    with ExitStack() as stack:
        folder = stack.enter_context(_scratch()) if plan.is_cold else None

        def once_more(side: Side, role: Role) -> Side:
            on_side(side.label)
            options = (subject.choice.engine_options or {}) if role == "winner" else {}
            environ = _environ(None if folder is None else Path(folder, role))
            run = start(_job(subject, plan, options), environ, ends_at)
            return replace(side, runs=(*side.runs, run))

        default = once_more(default, "default")
        if not default.failure:
            winner = once_more(winner, "winner")
        pair_s = time.monotonic() - began
        if not (default.failure or winner.failure) and time.monotonic() + pair_s < ends_at:
            winner = once_more(winner, "winner")
            default = once_more(default, "default")
    return compare(default, winner, plan.loads)


def _scratch() -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix="autotune-confirm-")
    except OSError as error:
        raise WorkerError(f"no room for what the engine compiles: {error}") from error


def _job(subject: Subject, plan: Plan, options: Mapping[str, object]) -> EngineJob:
    return EngineJob(
        model=str(subject.folder),
        arguments={**subject.arguments, **options},
        loads=plan.loads,
        repeats=plan.repeats,
        has_weights=_has_weights(subject.folder),
        most_s=_MEASURED_PART * plan.budget_s,
    )


def _has_weights(folder: Path) -> bool:
    return any(
        any(folder.glob(f"*{suffix}")) for suffix in (".safetensors", ".bin", ".pt", ".gguf")
    )


def _environ(caches: Path | None) -> dict[str, str]:
    """Our own plug-in must not choose here. With a folder, what vLLM and what it builds on compile
    is kept there.
    """
    environ = {**os.environ, "AUTOTUNE_MODE": "off"}
    if caches is None:
        return environ
    names = {
        "VLLM_CACHE_ROOT": "vllm",
        "TORCHINDUCTOR_CACHE_DIR": "inductor",
        "TRITON_CACHE_DIR": "triton",
        "FLASHINFER_WORKSPACE_BASE": "flashinfer",
        "CUDA_CACHE_PATH": "driver",
    }
    return environ | {variable: str(caches / name) for variable, name in names.items()}


def store(subject: Subject, rows: tuple[ConfirmationRow, ...], layers: Layers) -> bool:
    """Keep it beside the decision; False where it tells nothing and an earlier verdict stands,
    which a run that failed must not lift. A decision of another layer, which is not ours to write,
    is copied into the user's file with it. Raises CacheError.
    """
    stored = subject.stored
    is_told = any(row.verdict != "unconfirmed" for row in rows)
    if not is_told and stored.confirmation in ("confirmed", "revoked"):
        return False
    with Store.open(layers.user.path) as into:
        if stored.file != layers.user.path:
            into.put_device(stored.device)
            into.put_model(stored.model)
            into.put_decision(stored.decision)
        into.put_confirmations(rows)
    return True


def rows_of(stored: StoredDecision, found: Comparison) -> tuple[ConfirmationRow, ...]:
    """A row a load."""
    decision, origin = stored.decision, records.provenance()
    default, winner, drift = found.default, found.winner, found.drift
    return tuple(
        ConfirmationRow(
            device_key=decision.device_key,
            question=decision.question,
            versions=decision.versions,
            winner=winner.label,
            default_backend=decision.default_backend,
            load=load.text,
            verdict=found.verdict,
            why=found.why,
            engine_version=default.engine_version or winner.engine_version,
            repeats=min(len(default.samples(load)), len(winner.samples(load))) or None,
            default_tokens_per_s=of_samples(default, load, lambda s: s.tokens_per_s),
            winner_tokens_per_s=of_samples(winner, load, lambda s: s.tokens_per_s),
            speedup=None if speedup is None else speedup.ratio,
            bound=None if speedup is None else speedup.bound,
            default_ttft_ms=of_samples(default, load, lambda s: s.ttft_ms),
            winner_ttft_ms=of_samples(winner, load, lambda s: s.ttft_ms),
            default_tbt_ms=of_samples(default, load, lambda s: s.tbt_ms),
            winner_tbt_ms=of_samples(winner, load, lambda s: s.tbt_ms),
            default_kv_tokens=default.kv_tokens,
            winner_kv_tokens=winner.kv_tokens,
            default_peak_bytes=default.peak_bytes,
            winner_peak_bytes=winner.peak_bytes,
            default_cold_start_s=default.cold_start_s,
            winner_cold_start_s=winner.cold_start_s,
            default_warm_start_s=default.warm_start_s,
            winner_warm_start_s=winner.warm_start_s,
            drift=None if drift is None else drift.mean,
            drift_max=None if drift is None else drift.largest,
            drift_floor=None if found.drift_floor is None else found.drift_floor.mean,
            top1_agreement=None if drift is None else drift.top1_agreement,
            provenance=origin,
        )
        for load, speedup in zip(found.loads, found.speedups, strict=True)
    )
