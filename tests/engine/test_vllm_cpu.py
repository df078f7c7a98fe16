"""A real vLLM on the CPU, started as users start it, under everything that may befall a start.

`make test-engine` installs it; here one process an engine, which answers one request.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fakes import write_distribution
from planting import Planted, plant

from autotune.keys import Question
from autotune.models import ModelRequest, load_model
from kernels_bench.devices import find_device

pytestmark = pytest.mark.engine

HERE = Path(__file__).parent
BENCHMARKS = HERE.parents[1] / "benchmarks"
MODEL = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": 1000,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "torch_dtype": "bfloat16",
    "bos_token_id": 1,
    "eos_token_id": 2,
    "tie_word_embeddings": False,
    "hidden_act": "silu",
}
DEFAULT = "vllm_cpu:paged"
ENTRY_POINTS = """\
[attn_autotune.backends]
swift = engine_fakes:SWIFT
future = engine_fakes:FUTURE
[vllm.general_plugins]
engine_fakes = engine_fakes:trouble
"""
START_S = 300
QUICK = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
"""The engine in the process that starts it; by default it gets processes of its own."""


@dataclass(frozen=True)
class Seen:
    """What a start printed."""

    status: int
    log: str

    @property
    def answer(self) -> dict[str, Any]:
        line = next(line for line in self.log.splitlines() if line.startswith("ANSWER "))
        found: dict[str, Any] = json.loads(line.removeprefix("ANSWER "))
        return found

    @property
    def warnings(self) -> list[str]:
        """Ours."""
        return [
            line for line in self.log.splitlines() if "attn-autotune" in line and "WARNING" in line
        ]

    @property
    def payload(self) -> dict[str, Any]:
        line = next(line for line in self.log.splitlines() if '"event": "engine_start"' in line)
        found: dict[str, Any] = json.loads(line[line.index("{") :])
        return found


@dataclass(frozen=True)
class Desk:
    """Where the starts of one test happen."""

    folder: Path
    model: Path
    plugins: Path

    @property
    def cache(self) -> Path:
        return self.folder / "autotune.db"

    @property
    def environ(self) -> dict[str, str]:
        return {
            "PYTHONPATH": str(self.plugins),
            "AUTOTUNE_CACHE": str(self.cache),
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_NO_USAGE_STATS": "1",
        }

    def put(self, winner: str, *runners_up: str) -> None:
        request = ModelRequest(str(self.model), dtype="bfloat16", max_model_len=256)
        question = Question(load_model(request), "vllm", "balanced")
        plant(self.cache, question, find_device("cpu"), Planted(winner, DEFAULT, runners_up))

    def start(self, environ: Mapping[str, str] = QUICK, **arguments: object) -> Seen:
        command = [sys.executable, str(HERE / "answer_once.py"), str(self.model)]
        done = subprocess.run(
            [*command, json.dumps(arguments)],
            env={**os.environ, **self.environ, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=START_S,
            cwd=self.folder,
        )
        return Seen(done.returncode, done.stdout)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all: its path is part of the hash of a config."""
    folder = tmp_path_factory.mktemp("models") / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(MODEL))
    return folder


@pytest.fixture
def desk(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    plugins = tmp_path / "plugins"
    write_distribution(plugins, "engine_fakes", "1.0", ENTRY_POINTS)
    (plugins / "engine_fakes.py").write_bytes((HERE / "plugins" / "engine_fakes.py").read_bytes())
    monkeypatch.syspath_prepend(str(plugins))
    return Desk(tmp_path, model, plugins)


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory, model: Path) -> dict[str, Any]:
    """The answer of a vLLM that does not load us."""
    folder = tmp_path_factory.mktemp("without")
    seen = Desk(folder, model, folder).start({**QUICK, "VLLM_PLUGINS": ""})
    assert "attn-autotune" not in seen.log
    return seen.answer


def check_untouched(seen: Seen, without: dict[str, Any]) -> None:
    answer = seen.answer
    assert (answer["backend"], answer["hash"]) == (None, without["hash"])
    assert answer["tokens"] == without["tokens"]


def test_empty_cache(desk: Desk, without: dict[str, Any]) -> None:
    seen = desk.start()
    check_untouched(seen, without)
    assert seen.payload["state"] == "default"
    assert [line for line in seen.warnings if "nothing is measured" in line] == seen.warnings
    missed = subprocess.run(
        [sys.executable, "-m", "autotune", "warm", "--missed", "--dry-run"],
        env={**os.environ, "AUTOTUNE_CACHE": str(desk.cache), "PYTHONPATH": str(desk.plugins)},
        capture_output=True,
        text=True,
        check=True,
        cwd=desk.folder,
    )
    assert "model" in missed.stdout + missed.stderr


def test_hit_in_processes_of_its_own(desk: Desk, without: dict[str, Any]) -> None:
    desk.put("swift:plain")
    seen = desk.start({})
    assert seen.answer["backend"] == "TRITON_ATTN"
    assert seen.answer["tokens"] == without["tokens"]
    assert "attention_config set by attn-autotune: backend=TRITON_ATTN" in seen.log
    # The engine's process prints the config that it was handed.
    dump = next(line for line in seen.log.splitlines() if "Initializing a V1 LLM engine" in line)
    assert "attention_config=(backend=TRITON_ATTN; set by attn-autotune)" in dump
    assert seen.payload["applied"] is True
    assert not seen.warnings
    assert any('backend="swift"' in line for line in seen.answer["metrics"])


def test_hit_has_the_hash_of_the_users_own_flag(desk: Desk) -> None:
    desk.put("swift:plain")
    ours, theirs = desk.start(), desk.start(attention_backend="TRITON_ATTN")
    assert ours.answer["hash"] == theirs.answer["hash"]
    assert "--attention-backend TRITON_ATTN was given" in theirs.log
    assert ours.answer["tokens"] == theirs.answer["tokens"]


def test_winner_that_is_vllms_own_choice(desk: Desk, without: dict[str, Any]) -> None:
    desk.put(DEFAULT)
    seen = desk.start()
    check_untouched(seen, without)
    assert "takes by itself" in seen.log
    assert not seen.warnings


def test_users_flag_wins(desk: Desk, without: dict[str, Any]) -> None:
    desk.put("swift:plain")
    seen = desk.start(attention_backend="CPU_ATTN")
    assert seen.answer["backend"] == "CPU_ATTN"
    assert seen.answer["tokens"] == without["tokens"]
    assert "--attention-backend CPU_ATTN was given" in seen.log


def test_corrupt_cache(desk: Desk, without: dict[str, Any]) -> None:
    desk.put("swift:plain")
    desk.cache.write_bytes(b"SQLite format 3\x00" + b"\xff" * 9000)
    seen = desk.start()
    check_untouched(seen, without)
    assert seen.warnings


def test_read_only_cache(desk: Desk, without: dict[str, Any]) -> None:
    desk.put("swift:plain")
    desk.cache.chmod(0o444)
    desk.folder.chmod(0o555)
    try:
        seen = desk.start({**QUICK, **_private_folders(desk)})
    finally:
        desk.folder.chmod(0o755)
    assert seen.answer["backend"] == "TRITON_ATTN"
    assert seen.answer["tokens"] == without["tokens"]


def _private_folders(desk: Desk) -> dict[str, str]:
    """vLLM writes beside its cache whatever we do."""
    home = desk.folder.with_name(f"{desk.folder.name}-home")
    home.mkdir()
    return {"TMPDIR": str(home), "VLLM_CACHE_ROOT": str(home)}


def test_winner_that_this_vllm_does_not_know(desk: Desk, without: dict[str, Any]) -> None:
    desk.put("future:plain")
    seen = desk.start()
    check_untouched(seen, without)
    assert any("FROM_THE_FUTURE" in line for line in seen.warnings)


@pytest.mark.parametrize("mode", ["off", "observe", "read", "tune"])
def test_every_mode(desk: Desk, without: dict[str, Any], mode: str) -> None:
    desk.put("swift:plain")
    seen = desk.start({**QUICK, "AUTOTUNE_MODE": mode})
    assert seen.answer["tokens"] == without["tokens"]
    acts = mode in ("read", "tune")
    assert seen.answer["backend"] == ("TRITON_ATTN" if acts else None)
    assert ("attn-autotune" in seen.log) == (mode != "off")
    if not acts:
        assert seen.answer["hash"] == without["hash"]


def test_tune_on_an_empty_cache(desk: Desk, without: dict[str, Any]) -> None:
    """vLLM's own kernel alone can be measured for it on a CPU: it wins, and nothing is set."""
    seen = desk.start({**QUICK, "AUTOTUNE_MODE": "tune", "AUTOTUNE_BUDGET": "20s"})
    check_untouched(seen, without)
    assert "tuning for up to 20 s first" in seen.log
    assert (seen.payload["state"], seen.payload["backend"]) == ("exact", "vllm_cpu")
    assert seen.payload["applied"] is False
    assert "takes by itself" in seen.log


@pytest.mark.parametrize("trouble", ["constructor", "capture"])
def test_winner_that_passes_the_check_and_kills_the_start(
    desk: Desk, without: dict[str, Any], trouble: str
) -> None:
    desk.put("swift:plain")
    died = desk.start({"ENGINE_TROUBLE": trouble})
    assert died.status != 0
    assert "this start died with swift:plain" in died.log
    seen = desk.start({**QUICK, "ENGINE_TROUBLE": trouble})
    check_untouched(seen, without)
    (warning,) = seen.warnings
    assert "swift:plain is quarantined" in warning


def test_mark_of_a_start_that_was_killed(desk: Desk, without: dict[str, Any]) -> None:
    desk.put("swift:plain")
    died = desk.start({"ENGINE_TROUBLE": "kill"})
    assert died.status == -9
    seen = desk.start()
    check_untouched(seen, without)
    assert any("quarantined" in line for line in seen.warnings)
    clear = [sys.executable, "-m", "autotune", "cache", "quarantine", "--clear"]
    environ = {**os.environ, "AUTOTUNE_CACHE": str(desk.cache)}
    subprocess.run(clear, env=environ, check=True, capture_output=True, cwd=desk.folder)
    assert desk.start().answer["backend"] == "TRITON_ATTN"


def test_every_patch_point_is_there() -> None:
    source = (
        "from autotune.in_vllm import known, patches\n"
        "print([known.refuse_function(p, patches._function(p)) for p in known.POINTS])"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == str([""] * 5)


def test_exec_starts_a_server_with_the_options(desk: Desk) -> None:
    """What exec appends is taken, the plug-in watches the start, and its metric is exported."""
    desk.put("swift:plain")
    python = [sys.executable, "-m"]
    serve = ["vllm.entrypoints.openai.api_server", "--model", str(desk.model)]
    small = ["--max-model-len", "256", "--load-format", "dummy", "--skip-tokenizer-init"]
    command = [*python, "autotune", "exec", "--", *python, *serve, *small, "--enforce-eager"]
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "engine_serve.py"), *command],
        env={
            **os.environ,
            **desk.environ,
            "PYTHONPATH": f"{desk.plugins}{os.pathsep}{BENCHMARKS}",
            "VLLM_SERVER_DEV_MODE": "1",
            "ENGINE_PORT": str(free_port()),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=START_S,
        cwd=desk.folder,
    )
    assert done.returncode == 0, done.stdout
    assert "autotune: appended --attention-backend TRITON_ATTN" in done.stdout
    assert "attention_config set by attn-autotune: backend=TRITON_ATTN" in done.stdout
    line = next(each for each in done.stdout.splitlines() if each.startswith("SERVED "))
    assert (
        'applied="true",backend="swift"' in json.loads(line.removeprefix("SERVED "))["metrics"][0]
    )


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    return port


def test_model_by_a_hub_id_without_a_network_is_vllms_own_error(desk: Desk) -> None:
    """It fails as it would without us, and not because of us."""
    seen = Desk(desk.folder, Path("no-such-org/no-such-model"), desk.plugins).start(
        {**QUICK, "HF_HUB_OFFLINE": "1"}
    )
    assert seen.status != 0
    assert "attn-autotune" not in seen.log
