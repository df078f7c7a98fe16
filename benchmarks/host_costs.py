"""What an engine's start pays for an answer: host time only, on a cache that holds one hit.

    make bench

pytest-benchmark times with a host clock, so it fits these and would not fit a kernel.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from autotune import Asked, ModelRequest, Question, choose, find_device, load_model, records
from autotune._store import Store, find_decisions
from autotune.chooser import Choice
from autotune.decision import Decision, one_backend_everywhere
from autotune.keys import versions_of
from autotune.ranking import Candidate, Ranked
from kernels_bench.method import METHOD
from kernels_bench.spec import Pages, Phase
from kernels_bench.stack import full_stack

MODEL = "llama-3.1-8b"


@pytest.fixture(scope="module")
def asked() -> Asked:
    return Asked(Question(load_model(ModelRequest(MODEL)), "any", "balanced"), find_device("cpu"))


@pytest.fixture(scope="module")
def cache_file(asked: Asked, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One stored decision for this very machine."""
    path = tmp_path_factory.mktemp("cache") / "autotune.db"
    device, pages = asked.found.device, Pages(16)
    origin = records.provenance()
    decision = Decision(
        winner=Candidate("torch_sdpa", "per_request", pages),
        default="torch_sdpa:padded",
        per_kind=one_backend_everywhere("torch_sdpa", ("full",), tuple(Phase)),
        speedup_vs_default=1.0,
        tie=True,
        why="written by a benchmark of host costs, not measured",
        runners_up=(Ranked(Candidate("torch_sdpa", "padded", pages), 1.0, 0.0),),
        versions=versions_of(("torch", "c++", "python-headers"), full_stack(asked.found)),
        method=METHOD,
        power_limit_w=0,
        measured_at=origin.created_at,
    )
    with Store.open(path) as store:
        store.put_device(records.device_row(device))
        store.put_model(records.model_row(asked.question.model))
        store.put_decision(records.decision_row(asked.question, device, decision, origin))
    return path


def test_read_of_the_cache(benchmark: Any, asked: Asked, cache_file: Path) -> None:
    text = asked.question.text
    assert len(benchmark(find_decisions, cache_file, text)) == 1


def test_choose_in_process(benchmark: Any, asked: Asked, cache_file: Path) -> None:
    choice: Choice = benchmark(choose, asked, cache_file)
    assert choice.state == "exact"


def test_choose_as_a_process(benchmark: Any, cache_file: Path) -> None:
    command = (sys.executable, "-m", "autotune", "choose", "--model", MODEL, "--device", "cpu")
    environ = {**os.environ, "AUTOTUNE_CACHE": str(cache_file)}
    done = benchmark.pedantic(
        subprocess.run, (command,), {"env": environ, "capture_output": True}, rounds=20
    )
    assert done.stdout.startswith(b"exact")


def test_import(benchmark: Any) -> None:
    done = benchmark.pedantic(
        subprocess.run, ((sys.executable, "-c", "import autotune"),), rounds=20
    )
    assert done.returncode == 0
