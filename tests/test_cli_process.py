"""The command line as a user runs it: real processes, a real measurement of a tiny model."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_runs import CHOICE, CONFIG
from fakes import write_plugin

import autotune

ROOT = Path(autotune.__file__).parents[1]
STRANGER = "raise AssertionError('a stranger ran')\n"
WRONG = '''
from kernels_bench.spec import Support, Variant

print("an import that prints")

class Zeros:
    """Answers at once, and nothing but zeros."""

    name = "zeros"

    def variants(self, device, spec, stack):
        return (Variant("plain", ("torch",)),)

    def supports(self, variant, device, spec, phase, stack):
        return Support()

    def prepare(self, variant, spec, batch):
        return Launch(batch)

class Launch:
    def __init__(self, batch):
        self.batch = batch

    def plan(self):
        print("a plan that prints")

    def run(self):
        self.batch.output.zero_()

BACKEND = Zeros()
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder, with files whose names are those of our packages."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "tiny").mkdir()
    (folder / "tiny" / "config.json").write_text(json.dumps(CONFIG))
    (folder / "cache.py").write_text(STRANGER)
    (folder / "cache").mkdir()
    for name in ("__init__", "store", "reader"):
        (folder / "cache" / f"{name}.py").write_text(STRANGER)
    return folder


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "autotune", *arguments]


def environ(file: Path, path: tuple[Path, ...] = ()) -> dict[str, str]:
    """Without torch_flex, which would compile for half a minute."""
    return {
        **os.environ,
        # On cores that others use too, threads that spin for their turn keep it from each other.
        "OMP_WAIT_POLICY": "passive",
        "AUTOTUNE_CACHE": str(file),
        "AUTOTUNE_DISABLE_BACKENDS": "torch_flex",
        "PYTHONPATH": os.pathsep.join(map(str, (*path, ROOT))),
    }


Run = Callable[..., "subprocess.CompletedProcess[str]"]


def runner(folder: Path, file: Path, *path: Path) -> Run:
    """Runs a command in the user's folder and compares its exit code."""

    def run(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command(*arguments),
            capture_output=True,
            text=True,
            cwd=folder,
            env=environ(file, path),
            check=False,
        )
        assert done.returncode == code, done.stderr
        return done

    return run


WARM = ("warm", "--model", "tiny", "--device", "cpu", "--json")
CHOOSE = ("choose", "--model", "tiny", "--device", "cpu", "--json")


@pytest.fixture(scope="module")
def warmed(folder: Path) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A cache that was filled by a real run, and what that run said."""
    file = folder / "warmed.db"
    return file, runner(folder, file)(*WARM)


@pytest.fixture
def run(folder: Path, tmp_path: Path, warmed: tuple[Path, object]) -> Run:
    """Runs over a copy of the warmed cache."""
    file = tmp_path / "copy.db"
    shutil.copy(warmed[0], file)
    return runner(folder, file)


def test_warm_prints_results_on_stdout_and_progress_on_stderr(
    warmed: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    done = warmed[1]
    payload = json.loads(done.stdout)
    assert set(payload) == {
        "schema", "decisions", "measured", "wrong", "failed", "rejected", "left_out", "elapsed_s",
        "busy",
    }  # fmt: skip
    assert payload["schema"] == 1
    (decision,) = payload["decisions"]
    assert set(decision) == CHOICE | {"per_phase"}
    assert (decision["state"], decision["backend"]) == ("exact", "torch_sdpa")
    assert (payload["wrong"], payload["failed"], payload["left_out"]) == ([], [], [])
    news, *lines = done.stderr.splitlines()
    assert re.fullmatch(r"\d+ workloads: about \d+ s, and before it whatever compiles", news)
    assert [line.partition(" ")[0] for line in lines] == [
        f"[{number}/{len(lines)}]" for number in range(1, len(lines) + 1)
    ]
    assert payload["measured"] >= 2 * len(lines) > 0
    assert "torch_sdpa:padded" in lines[0]
    assert "torch_sdpa:per_request" in lines[0]
    assert "torch_flex" in {row["backend"] for row in payload["rejected"]}
    assert {"backend", "variant", "spec", "phase", "workload", "reasons"} <= set(
        payload["rejected"][0]
    )


def test_a_second_run_measures_nothing_and_choose_says_the_same(
    run: Run, warmed: tuple[Path, subprocess.CompletedProcess[str]]
) -> None:
    first = json.loads(warmed[1].stdout)
    second = run(*WARM)
    assert second.stderr == ""
    payload = json.loads(second.stdout)
    assert payload["measured"] == 0
    (again,), (before,) = payload["decisions"], first["decisions"]
    assert again == before | {"cache": again["cache"]}
    chosen = run(*CHOOSE, "--assert-hit", "exact")
    assert chosen.stderr == ""
    assert json.loads(chosen.stdout) == again


def test_the_answer_for_people(run: Run) -> None:
    said = run("warm", "--model", "tiny", "--device", "cpu").stdout
    assert "exact: torch_sdpa:" in said
    assert "0 outcomes measured" in said
    assert "copy.db (AUTOTUNE_CACHE)" in said
    assert "\x1b" not in said


def test_what_is_remembered_can_be_listed_shown_and_removed(run: Run) -> None:
    (row,) = json.loads(run("cache", "ls", "--json").stdout)["decisions"]
    identity = str(row["id"])
    assert "torch_sdpa" in run("cache", "ls").stdout
    shown = json.loads(run("cache", "show", identity, "--json").stdout)
    timed = [each for each in shown["measurements"] if each["outcome"] == "timed"]
    assert all(each["gpu_us"] > 0 and each["samples"] > 0 for each in timed)
    assert len(timed) == len({(e["workload"], e["variant"]) for e in timed}) > 0
    run("cache", "rm", identity)
    assert json.loads(run(*CHOOSE, "--assert-hit", code=4).stdout)["state"] == "default"
    assert json.loads(run(*WARM).stdout)["measured"] == 0
    assert json.loads(run(*CHOOSE, "--assert-hit").stdout)["state"] == "exact"


def test_a_reader_that_goes_away_is_no_crash(folder: Path, tmp_path: Path) -> None:
    with subprocess.Popen(
        command("models"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        env=environ(tmp_path / "none.db"),
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        said = child.stderr.read()
    assert b"Traceback" not in said


def test_plug_ins_that_are_broken_or_wrong_do_not_stop_the_rest(
    folder: Path, tmp_path: Path
) -> None:
    plugins = tmp_path / "plugins"
    write_plugin(plugins, "zeros", WRONG)
    write_plugin(plugins, "absent", "import a_library_that_is_not_here\n")
    run = runner(folder, tmp_path / "plugins.db", plugins)
    payload = json.loads(run(*WARM).stdout)
    assert payload["decisions"][0]["backend"] == "torch_sdpa"
    assert {row["backend"] for row in payload["wrong"]} == {"zeros"}
    for row in payload["wrong"]:
        place = {"backend", "variant", "spec", "phase", "workload", "check", "error"}
        assert place <= set(row)
        assert row["error"] > row["allowed"]
    (absent,) = [row for row in payload["rejected"] if row["backend"] == "absent"]
    (reason,) = absent["reasons"]
    assert reason["text"] == "ModuleNotFoundError: No module named 'a_library_that_is_not_here'"
    survey = json.loads(run("backends", "--model", "tiny", "--device", "cpu", "--json").stdout)
    assert [row["reasons"] for row in survey if row["backend"] == "absent"] == [[reason]]
    assert json.loads(run(*CHOOSE).stdout)["state"] == "exact"


def timed_rows(file: Path) -> int:
    with sqlite3.connect(file) as connection:
        sql = "SELECT count(*) FROM measurements WHERE outcome = 'timed'"
        (count,) = connection.execute(sql).fetchone()
    connection.close()
    return int(count)


def stop_after_one_workload(folder: Path, file: Path, how: signal.Signals) -> tuple[int, list[str]]:
    """The exit status of a `warm` that got a signal, and what it said after it."""
    with subprocess.Popen(
        command(*WARM),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=environ(file),
        # Where the tests themselves run in the background, SIGINT is ignored, and inherited so.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as child:
        assert child.stderr is not None
        assert "workloads: about" in child.stderr.readline()
        assert child.stderr.readline().startswith("[1/")
        child.send_signal(how)
        said = child.stderr.read().splitlines()
    return child.returncode, [line for line in said if not line.startswith("[")]


def assert_resumed(folder: Path, file: Path, kept: int) -> None:
    payload: Any = json.loads(runner(folder, file)(*WARM).stdout)
    assert payload["decisions"][0]["state"] == "exact"
    assert payload["measured"] > 0
    assert timed_rows(file) == kept + payload["measured"]


def test_ctrl_c_keeps_the_finished_workloads_and_says_so(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "stopped.db"
    code, said = stop_after_one_workload(folder, file, signal.SIGINT)
    assert code == 1
    assert said == ["autotune: interrupted; every workload that was finished is kept"]
    kept = timed_rows(file)
    assert kept >= 2
    assert_resumed(folder, file, kept)


def test_kill_9_keeps_the_finished_workloads(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "killed.db"
    code, said = stop_after_one_workload(folder, file, signal.SIGKILL)
    assert (code, said) == (-signal.SIGKILL, [])
    kept = timed_rows(file)
    assert kept >= 2
    assert_resumed(folder, file, kept)


def test_bench_measures_and_stores_nothing(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "bench.db"
    arguments = ("bench", "--model", "tiny", "--device", "cpu", "--workload", "2q1s64", "--json")
    payload = json.loads(runner(folder, file)(*arguments).stdout)
    assert set(payload) == {"schema", "outcomes"}
    timed = {row["variant"] for row in payload["outcomes"] if row["outcome"] == "timed"}
    assert {"padded", "per_request"} <= timed
    assert {row["workload"] for row in payload["outcomes"]} == {"2q1s64"}
    assert not file.exists()


def test_a_spent_budget_is_no_error(folder: Path, tmp_path: Path) -> None:
    run = runner(folder, tmp_path / "budget.db")
    payload = json.loads(run(*WARM, "--budget", "0.001s").stdout)
    assert payload["measured"] == 0
    assert payload["decisions"][0]["state"] == "default"
    assert {item["why"] for item in payload["left_out"]} == {"the time budget was spent"}
