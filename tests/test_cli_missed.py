"""`autotune warm --missed`, and what doctor and prune say to it: in this process, on fakes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import pytest
from cache_examples import tamper
from cli_runs import error, run, run_json
from fakes import H100_FOUND, FakeBench

from autotune._store import Layers, list_decisions, read_misses
from autotune.commands import warm
from autotune.keys import Question
from autotune.missed import note_miss
from autotune.models import ModelConfig, ModelRequest, load_model
from autotune.profiles import find_profile
from kernels_bench.backends import find_backends
from kernels_bench.devices import FoundDevice, find_device
from kernels_bench.patience import Patience

WAITING = {
    "model", "device", "engine", "profile", "options", "times_seen", "first_seen", "last_seen",
    "why",
}  # fmt: skip


class FastBench(FakeBench):
    """As the command opens it: what it measures is in a table."""

    def __init__(self, patience: Patience | None = None) -> None:
        backends = (b for b in find_backends().backends if b.name == "torch_sdpa")
        super().__init__({"torch_sdpa": 100.0}, tuple(backends))

    def __enter__(self) -> FastBench:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOTUNE_DISABLE_BACKENDS", "torch_flex")
    monkeypatch.setattr(warm, "Bench", FastBench)


@pytest.fixture
def model(tiny: str) -> ModelConfig:
    return load_model(ModelRequest(tiny))


def note(
    file: Path,
    model: ModelConfig,
    found: FoundDevice | None = None,
    engine: str = "any",
    profile: str = "balanced",
) -> None:
    question = Question(model, engine, profile)
    note_miss(question, found or find_device("cpu"), "/models/tiny", Layers.alone(file))


def profiles(file: Path) -> set[str]:
    """Of the misses that are there."""
    return {each.miss.profile for each in read_misses(file)}


# What to tune


def test_without_a_model_it_asks_what_to_tune(file: Path) -> None:
    said = error("warm", code=2)
    assert "say what to tune: --model NAME|FOLDER|FILE, or --missed" in said
    assert not file.exists()


@pytest.mark.parametrize(
    "more",
    [
        ("--model", "llama-3.1-8b"),
        ("--engine", "any"),
        ("--device", "cpu"),
        ("--tp", "1"),
        ("--max-model-len", "4096"),
    ],
)
def test_what_a_miss_says_is_not_said_beside_it(more: tuple[str, str]) -> None:
    assert f"--missed: leave out {more[0]}: " in error("warm", "--missed", *more, code=2)


def test_a_profile_that_no_file_has_is_not_said_beside_it() -> None:
    assert "--missed: leave out --profile" in error("warm", "--missed", "--profile", "chat", code=2)


def test_nothing_missed_is_a_line_and_exit_0(file: Path) -> None:
    result = run("warm", "--missed")
    assert (result.stdout, result.stderr.count("\n")) == ("", 1)
    assert result.stderr.startswith("nothing is missed: ")
    payload = run_json("warm", "--missed")
    assert (payload["decisions"], payload["missed"]) == ([], [])
    assert run_json("warm", "--missed", "--dry-run") == {"schema": 1, "plans": [], "missed": []}
    assert run("warm", "--missed", "--dry-run").stdout == ""
    assert not file.exists()


# Tuned


def test_what_was_missed_is_tuned_and_missed_no_more(
    file: Path, model: ModelConfig, tiny: str
) -> None:
    note(file, model)
    note(file, replace(model, max_model_len=128), profile="chat")
    payload = run_json("warm", "--missed")
    assert [(each["state"], each["profile"]) for each in payload["decisions"]] == [
        ("exact", "chat"),
        ("exact", "balanced"),
    ]
    assert payload["missed"] == []
    assert read_misses(file) == ()
    choose = ("choose", "--model", tiny, "--device", "cpu")
    assert run_json(*choose)["source"] == "cache"
    shorter = run_json(*choose, "--max-model-len", "128", "--profile", "chat")
    assert shorter["source"] == "cache"
    assert run("warm", "--missed").stderr.startswith("nothing is missed")


def test_a_run_for_a_model_answers_its_miss_too(file: Path, model: ModelConfig, tiny: str) -> None:
    note(file, model)
    note(file, model, profile="code")
    payload = run_json("warm", "--model", tiny, "--device", "cpu")
    assert "missed" not in payload
    assert profiles(file) == {"code"}


def test_the_answer_for_people(file: Path, model: ModelConfig) -> None:
    note(file, model)
    said = run("warm", "--missed").stdout
    assert "exact: torch_sdpa:" in said
    assert f"cache: {file}" in said


def test_a_dry_run_lists_them_and_changes_nothing(file: Path, model: ModelConfig) -> None:
    note(file, model)
    note(file, model)
    note(file, model, H100_FOUND, engine="vllm")
    before = file.read_bytes()
    said = run("warm", "--missed", "--dry-run").stdout
    assert said.startswith("Missed")
    assert "tiny: would measure" in said
    assert "is not on this machine" in said
    payload = run_json("warm", "--missed", "--dry-run")
    assert [plan["model"] for plan in payload["plans"]] == ["tiny"]
    assert [each["engine"] for each in payload["missed"]] == ["vllm"]
    assert file.read_bytes() == before


# Left


def test_one_of_a_device_that_is_not_here_waits(file: Path, model: ModelConfig) -> None:
    note(file, model)
    note(file, model, H100_FOUND, engine="vllm")
    note(file, model, H100_FOUND, engine="vllm")
    result = run("warm", "--missed", "--json")
    (left,) = json.loads(result.stdout)["missed"]
    assert set(left) == WAITING
    assert (left["model"], left["device"]) == ("tiny", H100_FOUND.device.name)
    assert (left["times_seen"], left["options"]["source"]) == (2, "/models/tiny")
    assert left["why"].endswith("is not on this machine")
    assert result.stderr.splitlines()[-1].startswith("still missed: tiny for vllm, balanced, on ")
    assert [each.miss.engine for each in read_misses(file)] == ["vllm"]


def test_one_that_nobody_can_run_waits_and_is_exit_3(file: Path, model: ModelConfig) -> None:
    note(file, model, engine="vllm")
    note(file, model)
    result = run("warm", "--missed", "--json", code=3)
    payload = json.loads(result.stdout)
    assert sorted(each["state"] for each in payload["decisions"]) == ["default", "exact"]
    (left,) = payload["missed"]
    assert "engine vllm: has no option that loads torch_sdpa" in left["why"]
    assert [each.miss.engine for each in read_misses(file)] == ["vllm"]
    assert "no backend can run tiny" in result.stderr


def test_one_of_another_version_waits(file: Path, model: ModelConfig) -> None:
    note(file, model)
    tamper(file, "UPDATE misses SET question = '{}'")
    (left,) = run_json("warm", "--missed")["missed"]
    assert left["why"] == "its question is none of this version"
    assert len(read_misses(file)) == 1


def test_a_profile_of_one_s_own_waits_for_its_file(
    file: Path, model: ModelConfig, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("q1s64 3\nq512 1\n")
    note(file, model, profile=find_profile(str(mine)).key)
    (left,) = run_json("warm", "--missed")["missed"]
    assert "are not stored; name their file: --profile" in left["why"]
    assert list_decisions(file) == ()
    payload = run_json("warm", "--missed", "--profile", str(mine))
    assert payload["missed"] == []
    assert payload["decisions"][0]["profile"].startswith("mine#")
    assert read_misses(file) == ()


# Care


def test_the_doctor_says_how_many_starts_missed(file: Path, model: ModelConfig) -> None:
    note(file, model)
    note(file, model)
    note(file, model, profile="chat")
    said = run("cache", "doctor").stdout.splitlines()
    wanted = "  note: 3 starts found nothing for 2 questions; autotune warm --missed tunes for them"
    assert said[1:] == [wanted]


def test_prune_takes_those_that_nobody_missed_for_long(file: Path, model: ModelConfig) -> None:
    note(file, model, profile="old")
    tamper(file, "UPDATE misses SET last_seen = '2020-01-01T00:00:00+00:00'")
    note(file, model)
    rehearsal = run_json("cache", "prune", "--older-than", "90d", "--dry-run")
    assert (rehearsal["misses"], profiles(file)) == (1, {"old", "balanced"})
    said = run("cache", "prune", "--older-than", "90d").stderr
    assert said == "0 decisions and 0 measurements and 1 misses removed\n"
    assert profiles(file) == {"balanced"}
    assert run_json("cache", "prune", "--keep", "1")["misses"] == 0
    assert profiles(file) == {"balanced"}


def test_decisions_are_listed_without_them(file: Path, model: ModelConfig) -> None:
    note(file, model)
    assert run_json("cache", "ls") == {"schema": 1, "decisions": [], "total": 0}
