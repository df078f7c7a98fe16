"""For engines of one's own: ask with little to write."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias, overload

from autotune import chooser
from autotune._store import Layers, find_layers
from autotune.decision import Choice
from autotune.elsewhere import find_anywhere
from autotune.engines import NAMES
from autotune.errors import UsageError
from autotune.keys import Question
from autotune.models import ModelConfig, ModelRequest, load_model, parse_config
from autotune.profiles import find_profile
from autotune.settings import Settings, read_settings
from autotune.today import Asked

Model: TypeAlias = str | Path | Mapping[str, object] | ModelConfig
"""A preset's name, a folder or config.json, a config.json that is already read, or one parsed."""
Cache: TypeAlias = Layers | Path | str
"""All files that are read, or the user's one among those that the environment names."""

_AS_IT_IS = ModelRequest("")


@overload
def choose(model: Asked, cache: Cache | None = None) -> Choice: ...


@overload
def choose(
    model: Model,
    cache: Cache | None = None,
    *,
    device: str = ...,
    engine: str = ...,
    profile: str | None = ...,
    tensor_parallel: int = ...,
    dtype: str | None = ...,
    kv_dtype: str | None = ...,
    page_size: int | None = ...,
    max_model_len: int | None = ...,
    strict: bool = ...,
    deterministic: bool = ...,
) -> Choice: ...


def choose(
    model: Model | Asked,
    cache: Cache | None = None,
    *,
    device: str = "auto",
    engine: str = "any",
    profile: str | None = None,
    tensor_parallel: int = 1,
    dtype: str | None = None,
    kv_dtype: str | None = None,
    page_size: int | None = None,
    max_model_len: int | None = None,
    strict: bool = False,
    deterministic: bool = False,
) -> Choice:
    """What a start gets: one read of the cache, nothing measured, no torch; told in the log.

    The environment is heard as on the command line, but by an `Asked`, which has all of that in
    it. Raises ModelError, DeviceError, ProfileError or UsageError for what makes no sense; a cache
    that cannot be read is told in the answer, and one that cannot be named raises CacheError.

    Args:
        model: see `Model`; or an `Asked`, and nothing else but the cache.
        cache: None: as the environment says.
        device: "auto", "cpu", "cuda:N", or words of a device that the cache knows.
        engine: who will load the backend: "any", "vllm", "sglang".
        profile: a name or a file; None: AUTOTUNE_PROFILE, or balanced.
        tensor_parallel: ranks that heads are divided among.
        dtype: "bfloat16" or "float16"; None: the model's.
        kv_dtype: "fp8_e4m3" or "fp8_e5m2"; None: the dtype.
        page_size: tokens of a page, where yours is fixed.
        max_model_len: the longest context that will be served; None: the model's.
        strict: an override or a lock that cannot be followed raises UsageError or LockError.
        deterministic: results must not depend on the batch, so measurements decide nothing.
    """
    if isinstance(model, Asked):
        # As ever: a file that is named beside one is read alone.
        alone = Layers.alone(Path(cache)) if isinstance(cache, Path | str) else layers_of(cache)
        return chooser.choose(model, alone)
    served = ModelRequest("", tensor_parallel, dtype, kv_dtype, page_size, max_model_len)
    settings, layers = read_settings(os.environ, profile), layers_of(cache)
    question = question_of(described(model, served), engine, settings)
    found = find_anywhere(device, question, layers)
    return chooser.choose(Asked(question, found, settings, strict, deterministic), layers)


def model_of(
    model: Model,
    *,
    tensor_parallel: int = 1,
    dtype: str | None = None,
    kv_dtype: str | None = None,
    page_size: int | None = None,
    max_model_len: int | None = None,
) -> ModelConfig:
    """Its kinds of layers, heads per rank; raises ModelError or UsageError."""
    served = ModelRequest("", tensor_parallel, dtype, kv_dtype, page_size, max_model_len)
    return described(model, served)


def described(model: object, served: ModelRequest) -> ModelConfig:
    """A `Model`, served like this; raises ModelError, or UsageError for anything else."""
    match model:
        case ModelConfig() if served != _AS_IT_IS:
            raise UsageError(
                f"model {model.name}: a ModelConfig says how it is served; give tensor_parallel,"
                " dtype and the like to model_of, which makes one"
            )
        case ModelConfig():
            return model
        case Mapping():
            name = _name_in(model)
            return parse_config(model, replace(served, source=name), name=name)
        case str() | Path():
            return load_model(replace(served, source=str(model)))
    found = type(model).__name__
    raise UsageError(f"model: expected a name, a path, a mapping or a ModelConfig, found {found}")


def _name_in(config: Mapping[str, object]) -> str:
    """transformers says where a config came from, which may be a path."""
    name = Path(str(config.get("_name_or_path") or config.get("model_type") or "")).name
    return name if name and name.isprintable() else "model"


def question_of(model: ModelConfig, engine: str, settings: Settings) -> Question:
    """Raises UsageError for an engine, ProfileError for a profile that is not known."""
    if engine not in NAMES:
        raise UsageError(f"engine {engine!r}: expected one of {', '.join(NAMES)}")
    return Question(model, engine, find_profile(settings.profile).key)


def layers_of(cache: Cache | None) -> Layers:
    """The files that are read; raises CacheLocationError."""
    return cache if isinstance(cache, Layers) else find_layers(cache, os.environ)
