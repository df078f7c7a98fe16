"""Tuning before a start: the command, its progress, its end, and what is left of it."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cli_runs import CONFIG
from fakes import has_ended

from autotune import first_run
from autotune._store import Which, find_layers, read_layers
from autotune.first_run import FirstRun, command_of, tune_first
from autotune.models import ModelRequest

if TYPE_CHECKING:
    import pytest


def asked(cache: Path, source: str, budget_s: float = 60.0) -> FirstRun:
    request = ModelRequest(source, tensor_parallel=1, dtype="bfloat16", max_model_len=256)
    return FirstRun(request, "my-model", "any", "balanced", "cpu", cache, budget_s)


def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    """In the place of the interpreter."""
    program = tmp_path / "python"
    program.write_text(f"#!{sys.executable}\nimport os, sys, time\n{source}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))


def test_command_says_what_was_asked(tmp_path: Path) -> None:
    run = asked(tmp_path / "cache.db", "ignored", 90.0)
    words = command_of(run, "/models/tiny")
    assert words[1:6] == ["-m", "autotune", "warm", "--model", "/models/tiny"]
    said = dict(zip(words[4::2], words[5::2], strict=True))
    assert said["--budget"] == "90s"
    assert said["--tp"] == "1"
    assert "--page-size" not in said
    assert "--kv-dtype" not in said


def test_it_tunes_for_real(tmp_path: Path, tiny: str) -> None:
    file, told = tmp_path / "cache.db", list[str]()
    assert tune_first(asked(file, tiny), told.append) == ""
    assert told
    stored = read_layers(find_layers(file, {}), Which()).stored
    assert [each.model.name for each in stored] == ["tiny"]


def test_config_in_memory_is_tuned_under_its_models_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = tmp_path / "seen.json"
    script(
        tmp_path,
        monkeypatch,
        "folder = sys.argv[sys.argv.index('--model') + 1]\n"
        f"open({str(seen)!r}, 'w').write(folder + '\\n' + open(folder + '/config.json').read())",
    )
    run = asked(tmp_path / "cache.db", "org/my-model")
    run = replace(run, config=CONFIG)
    assert tune_first(run, lambda _: None) == ""
    folder, text = seen.read_text().split("\n", 1)
    assert Path(folder).name == "my-model"
    assert json.loads(text) == CONFIG
    assert not Path(folder).exists()


def test_failure_is_told_in_its_own_words(
    tmp_path: Path, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(tmp_path, monkeypatch, "print('autotune: no room', file=sys.stderr); sys.exit(1)")
    assert tune_first(asked(tmp_path / "c.db", tiny), lambda _: None) == "autotune: no room"


def test_silent_death_is_told(tmp_path: Path, tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path, monkeypatch, "os.kill(os.getpid(), 9)")
    assert "status -9" in tune_first(asked(tmp_path / "c.db", tiny), lambda _: None)


def test_what_never_ends_is_ended(
    tmp_path: Path, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_run, "_GRACE_S", 0.5)
    monkeypatch.setattr(first_run, "_STOPPING_S", 0.5)
    pid = tmp_path / "pid"
    script(
        tmp_path,
        monkeypatch,
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"open({str(pid)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)",
    )
    said = tune_first(asked(tmp_path / "c.db", tiny, budget_s=1.0), lambda _: None)
    assert "did not end within" in said
    assert has_ended(int(pid.read_text()))


def test_mode_is_not_tried_again_in_the_child(
    tmp_path: Path, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOTUNE_MODE", "tune")
    script(tmp_path, monkeypatch, "print(os.environ['AUTOTUNE_MODE'], file=sys.stderr)")
    told = list[str]()
    tune_first(asked(tmp_path / "c.db", tiny), told.append)
    assert told == ["read"]
