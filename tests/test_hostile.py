"""A whole run among backends that look as if they worked, each with one fault."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from bench_tasks import PLUGINS, ROOT

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere nothing bounds what a process may allocate"
)

CONFIG = {
    "model_type": "mistral",
    "hidden_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "num_hidden_layers": 2,
    "max_position_embeddings": 512,
    "sliding_window": 64,
    "torch_dtype": "bfloat16",
}
WRONG = {
    "drops_last_page",
    "reads_one_page_too_many",
    "ignores_window",
    "zeros",
    "nan_in_last_row",
    "right_only_once",
    "scales_queries",
    "writes_into_pages",
    "never_fills",
    "works_behind_the_clock",
}
FAILED = {"segfaults": "crash", "hangs": "hang", "allocates": "memory"}
HANG_S = 15
"""Longer than anything honest is silent here, torch's import included."""


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    code: int
    stdout: str
    stderr: str

    @property
    def payload(self) -> Any:
        """Its stdout, which must be one JSON document and nothing else."""
        assert self.code == 0, self.stderr
        return json.loads(self.stdout)


def warm(folder: Path, file: Path, *path: Path, disabled: str = "torch_flex") -> Ran:
    """In a process of its own, as a user runs it. torch_flex would compile for half a minute."""
    environ = {
        **os.environ,
        "OMP_WAIT_POLICY": "passive",
        "AUTOTUNE_DISABLE_BACKENDS": disabled,
        "AUTOTUNE_HANG": f"{HANG_S}s",
        "PYTHONPATH": os.pathsep.join(map(str, (*path, ROOT))),
    }
    options = ["--model", "tiny", "--device", "cpu", "--cache", str(file), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "autotune", "warm", *options],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environ,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "tiny").mkdir()
    (folder / "tiny" / "config.json").write_text(json.dumps(CONFIG))
    return folder


@pytest.fixture(scope="module")
def among_honest(folder: Path) -> Ran:
    """A run that knows no hostile backend."""
    return warm(folder, folder / "honest.db")


@pytest.fixture(scope="module")
def among_hostile(folder: Path) -> Ran:
    """A run that knows all of them."""
    return warm(folder, folder / "hostile.db", PLUGINS / "hostile")


def rows_of(ran: Ran, backend: str, outcome: str) -> dict[str, Any]:
    """Workload -> row."""
    return {row["workload"]: row for row in ran.payload[outcome] if row["backend"] == backend}


def workloads(ran: Ran) -> set[str]:
    return {row["workload"] for row in ran.payload["wrong"]}


def test_everybody_who_is_wrong_or_fails_is_named_and_nobody_else(among_hostile: Ran) -> None:
    payload = among_hostile.payload
    assert {row["backend"] for row in payload["wrong"]} == WRONG
    assert {row["backend"] for row in payload["failed"]} == set(FAILED)
    assert payload["left_out"] == []


def test_what_they_do_does_not_change_who_wins(among_honest: Ran, among_hostile: Ran) -> None:
    (without,) = among_honest.payload["decisions"]
    (among,) = among_hostile.payload["decisions"]
    assert among["backend"] == without["backend"] == "torch_sdpa"
    assert among["state"] == "exact"
    assert among["per_phase"] == without["per_phase"]


def test_every_phase_was_measured(among_hostile: Ran) -> None:
    (decision,) = among_hostile.payload["decisions"]
    assert set(decision["per_phase"]) == {"prefill", "extend", "decode", "verify", "mixed"}
    assert len(workloads(among_hostile)) == 6


@pytest.mark.parametrize("backend", sorted(WRONG))
def test_who_computes_wrong_is_wrong_on_every_workload(among_hostile: Ran, backend: str) -> None:
    rows = rows_of(among_hostile, backend, "wrong")
    assert set(rows) == workloads(among_hostile)
    assert all(row["error"] > row["allowed"] for row in rows.values())


@pytest.mark.parametrize(
    ("backend", "check", "error"),
    [
        ("zeros", "relative_l2", 1.0),
        ("never_fills", "finite", 1.0),
        ("works_behind_the_clock", "finite", 1.0),
        ("scales_queries", "inputs", 1.0),
    ],
)
def test_the_check_that_caught_them_is_told(
    among_hostile: Ran, backend: str, check: str, error: float
) -> None:
    for row in rows_of(among_hostile, backend, "wrong").values():
        assert row["check"] == check
        assert row["error"] == pytest.approx(error)


def test_a_last_row_that_is_not_filled_is_found(among_hostile: Ran) -> None:
    for row in rows_of(among_hostile, "nan_in_last_row", "wrong").values():
        assert row["check"] == "finite"
        assert 0 < row["error"] < 0.5


def test_an_answer_that_is_only_remembered_is_found_by_the_second_question(
    among_hostile: Ran,
) -> None:
    for row in rows_of(among_hostile, "right_only_once", "wrong").values():
        assert row["check"].startswith("needles: ")


@pytest.mark.parametrize("backend", sorted(FAILED))
def test_who_fails_has_failed_on_every_workload_in_its_own_way(
    among_hostile: Ran, backend: str
) -> None:
    rows = rows_of(among_hostile, backend, "failed")
    assert set(rows) == workloads(among_hostile)
    assert {row["error"] for row in rows.values()} == {FAILED[backend]}


def test_a_crash_is_told_by_its_signal_and_not_by_another_s_words(among_hostile: Ran) -> None:
    rows = rows_of(among_hostile, "segfaults", "failed")
    assert {row["message"] for row in rows.values()} == {"killed by SIGSEGV while compiling"}


def test_who_hangs_is_waited_for_once(among_hostile: Ran) -> None:
    messages = {row["message"] for row in rows_of(among_hostile, "hangs", "failed").values()}
    (message,) = messages
    assert message.startswith("not tried since the trial of ")
    assert message.endswith(f": silent for {HANG_S} s while being checked")
    assert among_hostile.payload["elapsed_s"] >= HANG_S


def test_who_allocates_without_end_is_refused_and_the_machine_is_not_harmed(
    among_hostile: Ran,
) -> None:
    for row in rows_of(among_hostile, "allocates", "failed").values():
        assert "allocate" in row["message"]
        assert "killed" not in row["message"]


def test_who_prints_is_right_and_is_measured_with_the_others(among_hostile: Ran) -> None:
    (decision,) = among_hostile.payload["decisions"]
    assert "prints" in {each["backend"] for each in decision["runners_up"]}
    assert "rubbish" not in among_hostile.stdout + among_hostile.stderr


def test_a_second_run_tries_nobody_again(folder: Path, among_hostile: Ran) -> None:
    again = warm(folder, folder / "hostile.db", PLUGINS / "hostile").payload
    assert again["measured"] == 0
    assert again["decisions"] == among_hostile.payload["decisions"]
    for outcome in ("wrong", "failed"):
        assert again[outcome] == among_hostile.payload[outcome]


def test_where_nobody_is_left_the_command_fails_with_every_reason(folder: Path) -> None:
    dear = "prints,hangs,torch_sdpa,torch_flex"
    ran = warm(folder, folder / "nobody.db", PLUGINS / "hostile", disabled=dear)
    assert ran.code == 3
    payload = json.loads(ran.stdout)
    assert {row["backend"] for row in payload["wrong"]} == WRONG
    assert payload["decisions"][0]["state"] == "default"
    (error,) = [line for line in ran.stderr.splitlines() if "no candidate is left" in line]
    for backend in (*WRONG, "segfaults", "allocates"):
        assert f"{backend}:plain (" in error
    assert "crash: killed by SIGSEGV while compiling" in error
