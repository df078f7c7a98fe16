"""Whole engines of a real vLLM on the CPU: two ranks beside a writer, and `autotune confirm`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from planting import Planted, plant
from test_vllm_cpu import DEFAULT, Desk, desk, model

from autotune.engine_loads import Load
from autotune.engine_messages import EngineJob
from autotune.engine_process import Deadlines, EngineProcess
from autotune.keys import Question
from autotune.models import ModelRequest, load_model
from kernels_bench.devices import find_device

__all__ = ["desk", "model"]
pytestmark = pytest.mark.engine

ARGUMENTS = {"max_model_len": 256, "kv_cache_memory_bytes": 1 << 26, "enforce_eager": True}
WRITER = Path(__file__).parents[1] / "writer.py"


@contextmanager
def writer(desk: Desk) -> Iterator[None]:
    """Another process that writes decisions into the same file, one after the other."""
    path = os.pathsep.join((str(desk.plugins), str(Path(__file__).parents[1])))
    words = [str(WRITER), str(desk.cache), "llama-3.1-8b", "swift:plain", DEFAULT, "cpu"]
    process = subprocess.Popen(
        [sys.executable, *words],
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": path},
    )
    try:
        yield
        assert process.poll() is None, "the writer gave up"
    finally:
        process.kill()
        process.wait()


def test_two_ranks_load_the_same_while_another_process_writes(desk: Desk) -> None:
    request = ModelRequest(str(desk.model), tensor_parallel=2, dtype="bfloat16", max_model_len=256)
    question = Question(load_model(request), "vllm", "balanced")
    plant(desk.cache, question, find_device("cpu"), Planted("swift:plain", DEFAULT))
    log = desk.folder / "log"
    job = EngineJob(
        str(desk.model), {**ARGUMENTS, "tensor_parallel_size": 2}, (Load(2, 16, 4),), repeats=2
    )
    # A core a rank: vLLM would give each a NUMA node of its own.
    environ = {**os.environ, **desk.environ, "VLLM_CPU_OMP_THREADS_BIND": "0|1"}
    with writer(desk), EngineProcess(job, environ, log) as process:
        run = process.run(Deadlines(), time.monotonic() + 240)
    said = log.read_text()
    assert run.failure == "", said[-2000:]
    assert run.started is not None
    assert "+" not in run.started.config_hash
    told = [line for line in said.splitlines() if '"event": "engine_start"' in line]
    (payload,) = (json.loads(line[line.index("{") :]) for line in told)
    assert (payload["backend"], payload["applied"]) == ("swift", True)


def test_confirm_puts_a_real_engine_to_the_test(desk: Desk) -> None:
    desk.put("swift:plain")
    asked = ["confirm", "--model", str(desk.model), "--engine", "vllm", "--device", "cpu"]
    asked += ["--dtype", "bfloat16", "--max-model-len", "256", "--load", "4x32+16", "--json"]
    # The second pair of starts is left out: the first takes more than half of this.
    asked += ["--repeats", "2", "--budget", "75s", "--engine-args", json.dumps(ARGUMENTS)]
    done = subprocess.run(
        [sys.executable, "-m", "autotune", *asked],
        env={**os.environ, **desk.environ},
        capture_output=True,
        text=True,
        timeout=280,
        cwd=desk.folder,
    )
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)["confirmed"]
    assert found["verdict"] in ("confirmed", "unconfirmed", "revoked")
    (row,) = found["loads"]
    assert row["default_tokens_per_s"] > 0, found["why"]
