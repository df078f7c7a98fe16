"""AUTOTUNE_MODE=tune: measured before the first start, and never instead of it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fakes import has_ended
from revoking import revoke
from vllm_starts import (
    HERE,
    backend_of,
    put,
    start,
    warnings_of,
)

from autotune._store import read_misses

TUNER = """\
import os, runpy, sys, time
sys.path[:0] = {path!r}
if sys.argv[2] == "autotune.in_vllm.answering":
    sys.executable = os.path.abspath(__file__)
    sys.argv[:3] = sys.argv[2:3]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
open(__file__ + ".said", "a").write(" ".join(sys.argv[1:]) + "\\n")
print("[1/1] 8q1s1k: swift 5 us", file=sys.stderr, flush=True)
if os.path.exists(__file__ + ".hangs"):
    with open(__file__ + ".new", "w") as file:
        file.write(str(os.getpid()))
    os.rename(__file__ + ".new", __file__ + ".pid")
    print("compiling", file=sys.stderr, flush=True)
    time.sleep(600)
if os.path.exists(__file__ + ".sleeps"):
    time.sleep(5)
if os.path.exists(__file__ + ".fails"):
    sys.exit("autotune: no room on the device")
said = dict(zip(sys.argv[4::2], sys.argv[5::2]))
sys.argv = ["planting", said["--cache"], said["--model"], "swift:plain", "vllm_cpu:paged"]
sys.argv += ["--max-model-len", said["--max-model-len"], "--dtype", said["--dtype"]]
runpy.run_path({planting!r}, run_name="__main__")
"""


@pytest.fixture
def tuner(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An interpreter that measures nothing: it plants what `autotune warm` would have decided."""
    monkeypatch.setenv("AUTOTUNE_MODE", "tune")
    program = tmp_path / "python"
    path = [str(HERE), str(HERE / "engine" / "plugins"), str(tmp_path / "plugins")]
    source = TUNER.format(path=path, planting=str(HERE / "planting.py"))
    program.write_text(f"#!{sys.executable}\n{source}")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    return program.with_name("python.said")


def test_tune_measures_before_the_first_start_and_never_again(
    vllm: ModuleType, file: Path, tiny: str, tuner: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert backend_of(start(tiny)) == "TRITON_ATTN"
    assert "[1/1] 8q1s1k: swift 5 us" in caplog.text
    assert "--engine vllm" in tuner.read_text()
    assert "--budget 60s" in tuner.read_text()
    assert backend_of(start(tiny)) == "TRITON_ATTN"
    assert len(tuner.read_text().splitlines()) == 1


def test_tune_may_be_silent_for_longer_than_an_answer(
    vllm: ModuleType, file: Path, tiny: str, tuner: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compiler says nothing for minutes."""
    monkeypatch.setattr("autotune.in_vllm.asking.ANSWER_S", 3.0)
    tuner.with_name("python.sleeps").touch()
    assert backend_of(start(tiny)) == "TRITON_ATTN"


def test_tune_ends_with_the_start_that_wanted_it(
    vllm: ModuleType, tiny: str, tuner: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while it tunes: nobody goes on to use the device."""
    tuner.with_name("python.hangs").touch()
    monkeypatch.setattr("autotune.in_vllm.deciding._pass_on", interrupt_once_it_runs(tuner))
    with pytest.raises(KeyboardInterrupt):
        start(tiny)
    assert has_ended(int(tuner.with_name("python.pid").read_text()))


def interrupt_once_it_runs(tuner: Path) -> Callable[[Any], None]:
    def interrupt(told: Any) -> None:
        if tuner.with_name("python.pid").exists():
            raise KeyboardInterrupt

    return interrupt


def test_tune_that_fails_costs_a_warning(
    vllm: ModuleType,
    tiny: str,
    tuner: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tuner.with_name("python.fails").touch()
    assert backend_of(start(tiny)) is None
    assert "tuning before the start failed: autotune: no room on the device" in warnings_of(caplog)


def test_tune_measures_nothing_again_where_the_winner_is_revoked(
    vllm: ModuleType, file: Path, tiny: str, tuner: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(file, tiny, "swift:plain")
    revoke(file)
    assert backend_of(start(tiny)) is None
    assert "swift:plain is revoked: 3 % slower; autotune confirm runs it again" in caplog.text
    assert not tuner.exists()
    assert read_misses(file) == ()


def test_tune_leaves_it_to_a_lock_where_instances_must_agree(
    vllm: ModuleType, tiny: str, tuner: Path
) -> None:
    transfer = sys.modules["vllm.config"].KVTransferConfig()
    assert backend_of(start(tiny, transfer=transfer)) is None
    assert not tuner.exists()


def test_api_servers_beside_the_first_do_not_tune(vllm: ModuleType, tiny: str, tuner: Path) -> None:
    made = sys.modules["vllm.config"].ParallelConfig(_api_process_count=4, _api_process_rank=2)
    assert backend_of(start(tiny, parallel=made)) is None
    assert not tuner.exists()
