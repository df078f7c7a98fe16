"""What vLLM gets, in the process beside it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

from autotune._store import CacheError, Which, find_layers, read_layers
from autotune.errors import ModelError
from autotune.in_vllm.messages import (
    Message,
    Reply,
    Request,
    Told,
    Wait,
    is_setting,
)
from autotune.in_vllm.replying import reply_of
from autotune.keys import BASE_PACKAGES, DRIVERS, Question
from autotune.models import ModelConfig, ModelRequest
from autotune.models.hub_cache import find_config
from autotune.models.load import load_config
from autotune.models.parse import parse_config
from autotune.profiles import find_profile
from autotune.settings import read_settings
from autotune.settling import EngineStart, longest_s, settle
from autotune.today import Asked
from kernels_bench.backends import find_backend, own_names
from kernels_bench.devices import FoundDevice, find_device
from kernels_bench.errors import AutotuneError, DeviceError, one_line
from kernels_bench.stack import find_stack

Say: TypeAlias = Callable[[Message], None]

_ALWAYS_ASKED = (*BASE_PACKAGES, *DRIVERS, "vllm", "flashinfer-python", "c++", "nvcc", "ninja")
"""What the decisions of a vLLM depend on, as far as it takes time to find: compilers are run."""


def look_ahead(found: FoundDevice, is_asked: Callable[[], bool]) -> None:
    """What an answer will need, as long as nobody waits for one. Raises AutotuneError."""
    find_stack(found, _ALWAYS_ASKED)
    if not is_asked():
        read_layers(find_layers(None, os.environ), Which(questions=("",)))
        for name in own_names():  # a plug-in is loaded where it has won
            find_backend(name)


def answered(request: Request, first: FoundDevice | None, say: Say) -> Reply:
    """Whatever goes wrong is a reply without options."""
    try:
        start = _start(request, first)
        if start.asked.settings.mode == "tune":
            say(Wait(longest_s(start.asked.settings)))
        ruling = settle(start, lambda level, text: say(Told(level, text)))
        return reply_of(start.asked, start.layers, ruling)
    except (AutotuneError, CacheError) as error:
        return Reply(why=str(error), is_warning=True)
    except Exception as error:  # a plug-in's code, or ours: the engine starts all the same
        return Reply(why=one_line(error), is_warning=True)


def _start(request: Request, first: FoundDevice | None) -> EngineStart:
    for name in filter(is_setting, tuple(os.environ)):
        del os.environ[name]
    os.environ.update(request.environ)
    settings = read_settings(os.environ)
    config = request.config or _read_config(request)
    asked = ModelRequest(
        source=request.source,
        tensor_parallel=request.tensor_parallel,
        dtype=request.dtype,
        kv_dtype=request.kv_dtype,
        page_size=request.page_size,
        max_model_len=request.max_model_len,
    )
    name = Path(request.source.rstrip("/")).name
    model = parse_config(config, asked, name=name, where=request.source)
    _check_heads(request, model)
    question = Question(model, "vllm", find_profile(settings.profile).key)
    return EngineStart(
        asked=Asked(question, _device(request.device, first), settings),
        layers=find_layers(None, os.environ),
        request=asked,
        config=config,
        agreement=request.agreement,
        may_tune=not request.is_front_end,
    )


def _read_config(request: Request) -> Mapping[str, object]:
    """The file that `autotune warm` reads too. A hub id is looked for on this machine alone."""
    file = Path(request.source) / "config.json"
    if not file.is_file():
        found = find_config(request.source, request.revision, os.environ)
        if found is None:
            raise ModelError(f"{request.source}: no config.json of it is on this machine")
        file = found
    return load_config(file)


def _check_heads(request: Request, model: ModelConfig) -> None:
    """Raise ModelError where vLLM will run other heads than the config.json says. It counts those
    of a latent in its own way, and nobody measures them.
    """
    if any(spec.mla for spec in model.specs):
        return
    ours = {(spec.num_q_heads, spec.num_kv_heads, spec.head_dim) for spec in model.specs}
    if model.specs and request.heads not in ours:
        said = " or ".join(f"{q}/{kv} of {dim}" for q, kv, dim in sorted(ours))
        q, kv, dim = request.heads
        raise ModelError(f"vLLM runs {q}/{kv} heads of {dim}, the model's config says {said}")


def _device(kind: str, first: FoundDevice | None) -> FoundDevice:
    """The first of vLLM's kind."""
    if kind == "cpu":
        return find_device("cpu")
    found = first or find_device("auto")
    if found.device.kind == "cpu":
        raise DeviceError(f"vLLM runs on {kind}, found the CPU alone")
    return found
