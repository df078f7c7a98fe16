"""Bad input ends in one clear line on stderr and an exit code; no file is touched."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_runs import error, run

from autotune._store import Store


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "expected a JSON object, found an empty file"),
        ("[1, 2]", "expected a JSON object, found a list"),
        ("{,}", "broken JSON at line 1, column 2"),
        ('{"model_type": "llama"}', "is missing: expected a whole number"),
    ],
)
@pytest.mark.parametrize("command", ["choose", "warm", "backends"])
def test_a_broken_config_is_named(
    tmp_path: Path, content: str, expected: str, command: str
) -> None:
    config = tmp_path / "config.json"
    config.write_text(content)
    said = error(command, "--model", str(config), "--device", "cpu")
    assert said.startswith(f"autotune: {config}: ")
    assert expected in said
    assert said.count("\n") == 1


def test_an_unknown_preset_names_the_nearest() -> None:
    said = error("choose", "--model", "lama-3.1-8b")
    assert "unknown model 'lama-3.1-8b'. nearest: llama-3.1-8b" in said


def test_a_device_that_is_not_here_lists_those_that_are(tiny: str) -> None:
    said = error("choose", "--model", tiny, "--device", "cuda:7777")
    assert said.startswith("autotune: device cuda:7777 is not here; here are: ")
    assert "cpu (" in said
    assert said.count("\n") <= 2
    assert "expected auto, cpu, cuda:N" in error("warm", "--model", tiny, "--device", "gpu0")


@pytest.mark.parametrize("text", ["word", "0", "-3s", ""])
def test_a_budget_that_is_no_time(tiny: str, text: str) -> None:
    said = error("warm", "--model", tiny, "--budget", text, code=2)
    assert "expected a time like 30s, 5m or 1h" in said


def test_a_budget_in_the_environment_that_is_no_time(
    tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOTUNE_BUDGET", "word")
    assert "AUTOTUNE_BUDGET: 'word'" in error("warm", "--model", tiny, code=2)
    assert run("choose", "--model", tiny).stdout.startswith("default")  # a start needs no budget


def test_an_unknown_profile(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "profile 'nope'" in error("choose", "--model", tiny, "--profile", "nope")
    monkeypatch.setenv("AUTOTUNE_PROFILE", "never")
    assert "profile 'never'" in error("choose", "--model", tiny)


def test_a_workload_that_does_not_parse(tiny: str) -> None:
    said = error("bench", "--model", tiny, "--workload", "junk")
    assert "workload 'junk': cannot read 'junk'" in said


def test_ranks_that_do_not_divide_the_heads(tiny: str) -> None:
    assert "--tp 3 does not divide 2 query heads" in error("choose", "--model", tiny, "--tp", "3")


def not_sqlite(file: Path) -> None:
    file.write_bytes(b"no database, but more than a header " * 10)


def newer(file: Path) -> None:
    Store.open(file).close()
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()


@pytest.mark.parametrize(("make", "said"), [(not_sqlite, "not a SQLite"), (newer, "schema 99")])
@pytest.mark.parametrize(
    "arguments",
    [["choose", "--model"], ["warm", "--model"], ["cache", "ls"], ["cache", "rm", "1"]],
    ids=lambda arguments: " ".join(arguments),
)
def test_a_file_that_is_no_cache_of_ours_stays_as_it_is(
    tiny: str, file: Path, make: Callable[[Path], None], said: str, arguments: list[str]
) -> None:
    make(file)
    before = file.read_bytes()
    model = [tiny, "--device", "cpu"] if arguments[-1] == "--model" else []
    message = error(*arguments, *model)
    assert message.startswith(f"autotune: cache {file}: {said}")
    assert "set AUTOTUNE_CACHE or pass --cache" in message
    assert message.count("\n") == 1
    assert file.read_bytes() == before
    assert [each.name for each in file.parent.iterdir() if "autotune" in each.name] == [file.name]


def test_a_path_that_cannot_be_written(tiny: str, tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    path = tmp_path / "a file" / "autotune.db"
    said = error("warm", "--model", tiny, "--device", "cpu", "--cache", str(path))
    assert said.startswith(f"autotune: cache {path}: its folder cannot be made")
    assert "set AUTOTUNE_CACHE or pass --cache" in said


def test_a_folder_in_the_cache_s_place(tiny: str, file: Path) -> None:
    file.mkdir()
    assert f"cache {file}: a folder, not a file" in error("choose", "--model", tiny)
