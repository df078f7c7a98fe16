"""`autotune confirm` over engines that compute nothing: real processes, all of our own code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_runs import error, run, run_json
from planting import Planted, plant
from vllm_starts import DEFAULT

from autotune._store import list_decisions, read_confirmations
from autotune.keys import Question
from autotune.models import ModelRequest, load_model
from kernels_bench.devices import find_device

pytestmark = pytest.mark.usefixtures("vllm")


def put(file: Path, model: str, winner: str = "swift:plain") -> None:
    question = Question(load_model(ModelRequest(model)), "vllm", "balanced")
    plant(file, question, find_device("cpu"), Planted(winner, DEFAULT))


def behave(monkeypatch: pytest.MonkeyPatch, **words: Any) -> None:
    monkeypatch.setenv("FAKE_ENGINE", json.dumps(words))


def ask(model: str, *more: str) -> tuple[str, ...]:
    asked = ("confirm", "--model", model, "--engine", "vllm", "--device", "cpu")
    return (*asked, "--load", "4x8+8", "--repeats", "2", *more)


def chosen(model: str) -> Any:
    return run_json("choose", "--model", model, "--engine", "vllm", "--device", "cpu")


def test_a_planted_loser_is_revoked(tiny: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(file, tiny)
    assert chosen(tiny)["backend"] == "swift"
    behave(monkeypatch, TRITON_ATTN=0.5)
    (found,) = run_json(*ask(tiny))["confirmed"]
    assert found["verdict"] == "revoked"
    (row,) = found["loads"]
    assert row["speedup"] == pytest.approx(0.5, rel=0.01)
    assert (row["winner_kv_tokens"], row["winner_peak_bytes"]) == (1600, 2**30)
    assert (row["default_ttft_ms"], row["drift"], row["drift_floor"]) == (500.0, 0.0, 0.0)
    assert row["repeats"] == 4
    choice = chosen(tiny)
    assert choice["state"] == "default"
    assert f"swift:plain is revoked: {found['why']}" in choice["why"]


def test_a_winner_that_holds_is_confirmed_and_a_revocation_lifted(
    tiny: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(file, tiny)
    behave(monkeypatch, TRITON_ATTN="wrong")
    assert "log-probabilities" in run(*ask(tiny)).stdout
    assert chosen(tiny)["state"] == "default"
    behave(monkeypatch, TRITON_ATTN=2.0)
    result = run(*ask(tiny))
    assert "swift:plain is confirmed against the default vllm_cpu:paged" in result.stdout
    assert "starting vllm with swift:plain" in result.stderr
    assert chosen(tiny)["backend"] == "swift"


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("no start", "ValueError: no kernel for head size 16"),
        ("no memory", "MemoryError: CUDA out of memory"),
        ("dies", "killed by SIGKILL"),
        ("hangs", "no answer within 2 s while it was under load"),
    ],
)
def test_an_engine_in_trouble_leaves_the_decision_unconfirmed(
    word: str, said: str, tiny: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(file, tiny)
    behave(monkeypatch, TRITON_ATTN=word)
    (found,) = run_json(*ask(tiny, "--answer-deadline", "2s"))["confirmed"]
    assert found["verdict"] == "unconfirmed"
    assert said in found["why"]
    assert found["loads"][0]["winner_tokens_per_s"] is None
    assert chosen(tiny)["backend"] == "swift"


@pytest.mark.parametrize("speed", [0.5, 2.0])
def test_a_run_that_fails_lifts_no_verdict(
    speed: float, tiny: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(file, tiny)
    behave(monkeypatch, TRITON_ATTN=speed)
    run(*ask(tiny))
    (before,) = list_decisions(file)
    behave(monkeypatch, default="no start")
    result = run(*ask(tiny))
    assert f"the earlier verdict stands: {before.confirmation}" in result.stderr
    assert list_decisions(file) == (before,)
    assert before.confirmation == ("revoked" if speed < 1 else "confirmed")


def test_a_model_by_its_hub_id_is_found_in_the_hubs_cache(
    tiny: str, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(file, tiny)
    blobs, snapshot = (
        tmp_path / "hub/models--org--tiny" / name for name in ("blobs", "snapshots/c1")
    )
    for folder in (blobs, snapshot):
        folder.mkdir(parents=True)
    (blobs / "d1").write_bytes(Path(tiny, "config.json").read_bytes())
    (snapshot / "config.json").symlink_to(blobs / "d1")
    refs = snapshot.parents[1] / "refs"
    refs.mkdir()
    (refs / "main").write_text("c1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    (found,) = run_json(*ask("org/tiny"))["confirmed"]
    assert (found["model"], found["verdict"]) == ("org/tiny", "confirmed")


def test_a_default_in_trouble_spares_the_winner_its_start(
    tiny: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(file, tiny)
    behave(monkeypatch, default="no start")
    result = run(*ask(tiny))
    assert "vllm_cpu:paged: ValueError: no kernel for head size 16" in result.stdout
    assert "swift:plain" not in result.stderr


def test_a_spent_budget_is_told(tiny: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(file, tiny)
    behave(monkeypatch, default="hangs")
    (found,) = run_json(*ask(tiny, "--budget", "3s"))["confirmed"]
    assert found["verdict"] == "unconfirmed"
    assert "the budget ended while it was under load" in found["why"]


def test_cold_starts_are_stored(tiny: str, file: Path) -> None:
    put(file, tiny)
    run(*ask(tiny, "--cold"))
    (stored,) = list_decisions(file)
    row = stored.decision
    (found,) = read_confirmations(file, row.device_key, row.question, row.versions)
    for value in (found.default_cold_start_s, found.winner_cold_start_s):
        assert value is not None
    assert found.winner_warm_start_s is not None


def test_a_decision_of_the_fleet_is_revoked_in_the_users_own_file(
    tiny: str, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = tmp_path / "fleet.db"
    put(fleet, tiny)
    before = fleet.read_bytes()
    monkeypatch.setenv("AUTOTUNE_FLEET_CACHE", str(fleet))
    assert chosen(tiny)["backend"] == "swift"
    behave(monkeypatch, TRITON_ATTN=0.5)
    run(*ask(tiny))
    assert "swift:plain is revoked" in chosen(tiny)["why"]
    assert fleet.read_bytes() == before
    assert len(list_decisions(file)) == 1


def test_a_cache_that_cannot_be_written_is_told_before_anything_starts(
    tiny: str, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "fleet.db", tiny)
    monkeypatch.setenv("AUTOTUNE_FLEET_CACHE", str(tmp_path / "fleet.db"))
    file.mkdir()
    said = error(*ask(tiny))
    assert str(file) in said
    assert "starting" not in said


def test_a_cache_that_cannot_be_read_is_told_as_that(tiny: str, file: Path) -> None:
    file.write_bytes(b"no database " * 99)
    said = error(*ask(tiny))
    assert str(file) in said
    assert "no decision is stored" not in said


def test_a_winner_that_the_engine_takes_anyway_needs_no_proof(tiny: str, file: Path) -> None:
    put(file, tiny, DEFAULT)
    result = run(*ask(tiny))
    assert "nothing to confirm: vllm_cpu:paged is what vllm takes by itself" in result.stdout


def test_one_model_in_trouble_stops_no_other(
    tiny: str, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(file, tiny)
    other = tmp_path / "other"
    other.mkdir()
    result = run(*ask(str(other)), "--model", tiny, code=1)
    assert str(other) in result.stderr
    assert "swift:plain is confirmed" in result.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--engine", "any"), "say --engine vllm"),
        (("--load", "many"), "REQUESTSxINPUT+OUTPUT"),
        (("--engine-args", "[1]"), "expected an object"),
        (("--engine-args", "{"), "no JSON"),
        (("--model", "llama-3.1-8b"), "needs a folder"),
        ((), "no decision is stored"),
    ],
)
def test_what_makes_no_sense_is_one_line(words: tuple[str, ...], said: str, tiny: str) -> None:
    asked = [*ask(tiny), *words]
    if words[:1] == ("--model",):
        asked = [*ask("llama-3.1-8b")]
    assert said in error(*asked, code=2)
