"""For engines of one's own: ask and measure with little to write."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, overload

from autotune import chooser
from autotune._store import Layers, find_layers
from autotune.decision import Choice
from autotune.keys import Question
from autotune.models import ModelConfig, ModelRequest, load_model
from autotune.models.parse import parse_config
from autotune.profiles import Profile, find_profile
from autotune.settings import Settings, read_settings
from autotune.today import Asked
from kernels_bench.devices import find_device

if TYPE_CHECKING:
    from autotune.run import Progress
    from autotune.tuner import Report
    from kernels_bench.grid import Effort

Model: TypeAlias = str | Path | Mapping[str, object] | ModelConfig
"""A preset's name, a folder or config.json, a config.json that is already read, or one parsed."""


@dataclass(frozen=True)
class Serving:
    """How a model will be served; what is None is as its config says."""

    tensor_parallel: int = 1
    dtype: str | None = None
    kv_dtype: str | None = None
    page_size: int | None = None
    max_model_len: int | None = None


@dataclass(frozen=True)
class Warmed:
    """What a tuning run did, and what a start gets from now on."""

    report: Report
    choice: Choice


@overload
def choose(model: Asked, cache: Layers | Path) -> Choice: ...


@overload
def choose(
    model: Model,
    cache: Layers | Path | None = None,
    *,
    serving: Serving = ...,
    engine: str = ...,
    device: str = ...,
    profile: str | None = ...,
    strict: bool = ...,
    deterministic: bool = ...,
) -> Choice: ...


def choose(
    model: Model | Asked,
    cache: Layers | Path | None = None,
    *,
    serving: Serving = Serving(),
    engine: str = "any",
    device: str = "auto",
    profile: str | None = None,
    strict: bool = False,
    deterministic: bool = False,
) -> Choice:
    """What a start gets: one read of the cache, nothing measured, no torch; told in the log.

    The environment is heard as on the command line; an `Asked` has all of it already. Raises
    ModelError, DeviceError, ProfileError or UsageError for what makes no sense; a cache that cannot
    be read is told in the answer.
    """
    if isinstance(model, Asked):
        layers = find_layers(None, os.environ) if cache is None else cache
        return chooser.choose(model, layers)
    settings = _settings(profile)
    question = Question(model_of(model, serving), engine, find_profile(settings.profile).key)
    asked = Asked(question, find_device(device), settings, strict, deterministic)
    return chooser.choose(asked, _layers(cache))


def warm(
    model: Model,
    cache: Layers | Path | None = None,
    *,
    serving: Serving = Serving(),
    engine: str = "any",
    device: str = "auto",
    profile: str | None = None,
    effort: Effort = "quick",
    budget_s: float | None = None,
    force: bool = False,
    wait: bool = True,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Warmed:
    """Measure what the cache lacks, decide, remember; in a child process, from any thread.

    AUTOTUNE_BUDGET holds where `budget_s` is None. Raises as `choose` does; TuningBusyError where
    another process tunes the same and `wait` is False, or the budget was waited away; CacheError
    where the cache cannot be written.
    """
    # Imported late: reading an answer does not need what measures one.
    from autotune._store import LockPatience, Store, hold_tuning_lock
    from autotune.commands.busy import subject_of
    from autotune.job import Job
    from autotune.tuner import warm as tune
    from autotune.wishes import Wishes
    from kernels_bench.bench import Bench

    settings, layers = _settings(profile), _layers(cache)
    weighed: Profile = find_profile(settings.profile)
    job = Job(
        model=model_of(model, serving),
        found=find_device(device),
        profile=weighed,
        wishes=Wishes(engine, settings.disabled),
        effort=effort,
        budget_s=settings.budget_s if budget_s is None else budget_s,
        force=force,
    )
    with Store.open(layers.user.path) as store, Bench(settings.patience) as bench:
        patience = LockPatience(job.budget_s if wait else 0.0, lambda _: None, lambda _: None)
        with hold_tuning_lock(subject_of(job, store.path), patience):
            report = tune(job, store, bench, on_progress)
    plain = replace(settings, backend=None, vllm_backend=None, lock=None, mode="read")
    return Warmed(report, chooser.answer(Asked(job.question, job.found, plain), layers))


def _settings(profile: str | None) -> Settings:
    settings = read_settings(os.environ)
    return settings if profile is None else replace(settings, profile=profile)


def _layers(cache: Layers | Path | None) -> Layers:
    return cache if isinstance(cache, Layers) else find_layers(cache, os.environ)


def model_of(model: Model, serving: Serving = Serving()) -> ModelConfig:
    """Its layers, heads per rank; raises ModelError."""
    match model:
        case ModelConfig():
            return model
        case Mapping():
            name = str(model.get("_name_or_path") or model.get("model_type") or "model")
            return parse_config(model, _request(name, serving), name=name)
        case _:
            return load_model(_request(str(model), serving))


def _request(source: str, serving: Serving) -> ModelRequest:
    return ModelRequest(
        source,
        serving.tensor_parallel,
        serving.dtype,
        serving.kv_dtype,
        serving.page_size,
        serving.max_model_len,
    )
