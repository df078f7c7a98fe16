"""Runs the command line in this process, over a model too small to take time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from fakes import FakeBench

from autotune._store import Store
from autotune.commands import cli
from autotune.job import Job
from autotune.models import ModelRequest, load_model
from autotune.profiles import BALANCED
from autotune.tuner import warm
from autotune.wishes import Wishes
from kernels_bench.backends import find_backends
from kernels_bench.devices import find_device

CONFIG = {
    "model_type": "llama",
    "hidden_size": 32,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "num_hidden_layers": 2,
    "max_position_embeddings": 256,
    "torch_dtype": "bfloat16",
}
CHOICE = {
    "schema", "state", "backend", "variant", "pages", "engine", "engine_args", "profile",
    "speedup_vs_default", "tie", "why", "runners_up", "device", "model", "measured_at",
    "source", "observed", "cache", "warnings", "bound", "regret", "ground", "split", "crossovers",
    "uncovered",
}  # fmt: skip
"""What `choose` prints, `per_phase` or `per_kind` apart."""


def tune(file: Path, model: str) -> None:
    """Fill the cache as `warm` does, for this machine's CPU, without measuring."""
    job = Job(
        load_model(ModelRequest(model)),
        find_device("cpu"),
        BALANCED,
        Wishes("any", frozenset({"torch_flex"})),
    )
    backends = (b for b in find_backends().backends if b.name in ("torch_sdpa", "torch_flex"))
    bench = FakeBench({"torch_sdpa": 100.0}, tuple(backends))
    with Store.open(file) as store:
        warm(job, store, bench)


def run(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, list(arguments), prog_name="autotune", catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def run_json(*arguments: str, code: int = 0) -> Any:
    return json.loads(run(*arguments, "--json", code=code).stdout)


def error(*arguments: str, code: int = 1) -> str:
    """What a command that ends in an error says; nothing of it on stdout."""
    result = run(*arguments, code=code)
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return result.stderr
