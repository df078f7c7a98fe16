"""Our process beside vLLM's process 0: decides, and says what is to be set.

Started as vLLM begins to make its config, so that importing us, asking the driver for the device
and loading plug-ins costs the start nothing, opens no GPU context in its process, and can neither
crash nor hang it.
"""

from __future__ import annotations

import os
import select
import sys
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
    line_of,
    read_request,
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
from kernels_bench.backends import find_backends
from kernels_bench.devices import FoundDevice, find_device
from kernels_bench.errors import AutotuneError, DeviceError, one_line
from kernels_bench.stack import find_stack

Say: TypeAlias = Callable[[Message], None]

_ALWAYS_ASKED = (*BASE_PACKAGES, *DRIVERS, "vllm", "flashinfer-python", "c++", "nvcc", "ninja")
"""What the decisions of a vLLM depend on, as far as it takes time to find: compilers are run."""
_IDLE_S = 600.0
"""A process that imported vLLM's arguments and never makes a config: a client, a help text."""


def main() -> None:
    """One request on stdin; told lines and one reply on stdout."""
    # Whatever a plug-in prints is no message.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(message: Message) -> None:
        out.write(line_of(message))
        out.flush()

    os.chdir(sys.argv[1])  # where paths of the environment begin
    first = _look_ahead()
    line = sys.stdin.readline() if _is_asked(_IDLE_S) else ""
    if line:  # else vLLM wants no answer, or is gone
        say(_answered(read_request(line), first, say))
    # Whatever a library would do at its end is not waited for.
    os._exit(0)


def _look_ahead() -> FoundDevice | None:
    """While vLLM is still busy: the device, what is installed under it, and the way that an answer
    takes, so that all that it imports is there.
    """
    try:
        found = find_device("auto")
        find_stack(found, _ALWAYS_ASKED)
        if not _is_asked(0.0):
            layers = find_layers(None, os.environ)
            read_layers(layers, Which(questions=("",)))
            find_backends()
    except (AutotuneError, CacheError):
        return None  # told with the answer
    return found


def _is_asked(within_s: float) -> bool:
    """Whether there is something to read, or nobody left to write it."""
    return bool(select.select([sys.stdin], [], [], within_s)[0])


def _answered(request: Request, first: FoundDevice | None, say: Say) -> Reply:
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
    """Raise ModelError where vLLM will run other heads than the config.json says."""
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


if __name__ == "__main__":
    main()
