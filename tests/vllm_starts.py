"""Starts of a vLLM that computes nothing, with the plug-in in it: `tests/fake_vllm`."""

from __future__ import annotations

import json
import logging
import pickle
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from planting import Planted, plant

from autotune import in_vllm
from autotune.keys import Question
from autotune.marks import dead_starts
from autotune.models import ModelRequest, load_model
from kernels_bench.devices import find_device

if TYPE_CHECKING:
    import pytest

HERE = Path(__file__).parent
DEFAULT = "vllm_cpu:paged"


def put(file: Path, model: str, winner: str, *runners_up: str, request: Any = None) -> None:
    asked = request or ModelRequest(model, dtype="bfloat16", max_model_len=256)
    question = Question(load_model(asked), "vllm", "balanced")
    plant(file, question, find_device("cpu"), Planted(winner, DEFAULT, runners_up))


def start(model: str, **fields: Any) -> Any:
    """The config that vLLM makes, plug-in included."""
    in_vllm.register()
    module = sys.modules["vllm.engine.arg_utils"]
    return module.EngineArgs(model, **fields).create_engine_config()


def backend_of(config: Any) -> str | None:
    return getattr(config.attention_config.backend, "name", None)


def payload_of(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    lines = [r.getMessage() for r in caplog.records if '"event": "engine_start"' in r.getMessage()]
    found: dict[str, Any] = json.loads(lines[-1].partition(": ")[2])
    return found


def warnings_of(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING)


def run(config: Any, dies_of: BaseException | None = None) -> None:
    """Make the engine, as vLLM does after its config."""
    engine = sys.modules["vllm.v1.engine.async_llm"].AsyncLLM
    engine.dies_of = dies_of
    engine(vllm_config=config)


def dead(file: Path) -> tuple[Any, ...]:
    return dead_starts([file.with_name(f"{file.name}.starts")])


def select(config: Any) -> str:
    """As vLLM's selector does, in a worker."""
    there = pickle.loads(pickle.dumps(config))
    vllm_config = sys.modules["vllm.config"]
    vllm_config.current.append(there)
    try:
        platform = sys.modules["vllm.platforms"].current_platform
        path: str = platform.get_attn_backend_cls(
            there.attention_config.backend, attn_selector_config=None, num_heads=8
        )
    finally:
        config.attention_config = vllm_config.current.pop().attention_config
    return path
