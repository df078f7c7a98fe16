"""What commands say of a winner that was run in the engine: in this process, on fakes."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cache_examples import CONFIRMATION, tamper
from cli_runs import error, run, run_json, tune
from revoking import WHY, confirm, revoke
from test_cli_missed import FastBench

from autotune._store import list_decisions, read_confirmations
from autotune.commands import warm

NUMBERS: dict[str, Any] = {
    name: getattr(CONFIRMATION, name)
    for name in vars(CONFIRMATION)
    if name.startswith(("default_", "winner_", "drift", "top1", "speedup", "bound"))
    and name != "default_backend"
}


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOTUNE_DISABLE_BACKENDS", "torch_flex")
    monkeypatch.setattr(warm, "Bench", FastBench)


@pytest.fixture
def tuned(tiny: str, file: Path) -> Path:
    tune(file, tiny)
    return file


def test_ls_marks_it(tuned: Path) -> None:
    assert run_json("cache", "ls")["decisions"][0]["confirmation"] is None
    for verdict in ("confirmed", "unconfirmed", "revoked"):
        confirm(tuned, verdict)
        assert run_json("cache", "ls")["decisions"][0]["confirmation"] == verdict
        assert f"torch_sdpa:padded, {verdict}" in run("cache", "ls").stdout


def test_show_prints_it(tuned: Path) -> None:
    assert run_json("cache", "show", "1")["confirmations"] == []
    confirm(tuned, "revoked", **NUMBERS)
    first, second = run_json("cache", "show", "1")["confirmations"]
    assert (first["load"], second["load"]) == ("256x64+512", "16x2048+128")
    assert {name: first[name] for name in NUMBERS} == NUMBERS
    assert (first["verdict"], first["why"], first["repeats"]) == ("revoked", WHY, None)
    assert set(first) & {"device_key", "question", "versions"} == set()
    shown = run("cache", "show", "1").stdout
    for text in (
        "  in the engine: torch_sdpa:padded is revoked (in any 0.12.0 on ",
        f"): {WHY}\n",
        "256x64+512",
        "10250",
        "9933",
        "0.969x ±0.004",
        "41.2 / 43.5",
        "11.1 / 11.5",
        "KV cache, default / winner: 412336 / 409600",
        "peak memory, default / winner: 73728 MiB / 74752 MiB",
        "cold start, default / winner: 62 s / 94 s",
        "warm start, default / winner: 32 s / 33 s",
        "drift of log-probabilities: 0.013 in the mean, 0.31 at most, 0 of the default against"
        " itself, the likeliest token is the same in 99.1%",
    ):
        assert text in shown
    assert shown.count(WHY) == 1


def test_show_leaves_out_what_nobody_knows(tuned: Path) -> None:
    confirm(tuned, "confirmed", winner_peak_bytes=1 << 30)
    shown = run("cache", "show", "1").stdout
    assert "peak memory, default / winner: ? / 1024 MiB" in shown
    assert "start, default" not in shown
    assert "None" not in shown


def test_show_of_one_that_is_damaged(tuned: Path) -> None:
    revoke(tuned)
    with closing(sqlite3.connect(tuned)) as connection, connection:
        connection.execute("UPDATE confirmations SET why = 'x' || char(27)")
    assert (
        "in the engine: torch_sdpa:padded is revoked: x\ufffd\n" in run("cache", "show", "1").stdout
    )
    assert run_json("cache", "show", "1")["confirmations"] == []


def test_explain_says_it_in_a_line(tuned: Path, tiny: str) -> None:
    base = ("explain", "--model", tiny, "--device", "cpu")
    assert run_json(*base)["in_engine"] is None
    assert "in the engine" not in run(*base).stdout
    confirm(tuned, "confirmed")
    assert "  in the engine: torch_sdpa:padded is confirmed (in any 0.12.0 on " in run(*base).stdout
    revoke(tuned)
    assert run_json(*base)["in_engine"].endswith(WHY)
    assert run_json(*base)["state"] == "default"


def test_choose_and_warm_say_that_the_default_stays(file: Path, tiny: str) -> None:
    base = ("--model", tiny, "--device", "cpu")
    run("warm", *base)
    revoke(file)
    why = f"torch_sdpa:padded is revoked: {WHY}; autotune confirm runs it again here"
    assert run_json("choose", *base)["why"] == why
    run("choose", *base, "--assert-hit", code=4)
    assert f"  why: {why}\n" in run("warm", *base).stdout
    assert run_json("warm", *base)["decisions"][0]["state"] == "default"


def test_a_lock_says_what_it_leaves_out(tuned: Path, tiny: str) -> None:
    revoke(tuned)
    said = error("lock", "-o", "-", code=2)
    assert "decision 1 (tiny for any, balanced, on " in said
    assert f"): torch_sdpa:padded is revoked: {WHY}; left out" in said
    assert "holds no other such decision; autotune confirm runs these again" in said


def test_rm_and_prune_take_it_along(tuned: Path, tiny: str) -> None:
    revoke(tuned)
    row = list_decisions(tuned)[0].decision
    run("cache", "rm", "1")
    assert read_confirmations(tuned, row.device_key, row.question, row.versions) == ()
    tune(tuned, tiny)
    revoke(tuned)
    tamper(tuned, "UPDATE decisions SET created_at = '2020-01-01T00:00:00+00:00'")
    run("cache", "prune", "--older-than", "90d")
    assert list_decisions(tuned) == ()
    assert read_confirmations(tuned, row.device_key, row.question, row.versions) == ()


def test_doctor_counts_them(tuned: Path) -> None:
    confirm(tuned, "confirmed")
    assert "revoked" not in run("cache", "doctor").stdout
    revoke(tuned)
    said = run("cache", "doctor").stdout
    assert "1 decisions are revoked: starts keep the engine's default; autotune confirm" in said
