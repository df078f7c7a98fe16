"""A process with an engine ends with whoever asked for it, and with all that it started."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autotune.engine_loads import Load
from autotune.engine_messages import EngineJob, line_of, read_job
from autotune.engine_process import Deadlines, EngineProcess

JOB = EngineJob("/nowhere", {}, (Load(2, 8, 4),), repeats=2)
ASKER = """
import os, sys, time
from pathlib import Path
from autotune.engine_messages import read_job
from autotune.engine_process import Deadlines, EngineProcess

with EngineProcess(read_job(sys.argv[1]), dict(os.environ), Path(sys.argv[2])) as process:
    process.run(Deadlines(), time.monotonic() + 60)
"""
pytestmark = pytest.mark.usefixtures("vllm")


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOTUNE_MODE", "off")
    monkeypatch.setenv("FAKE_ENGINE", '{"default": "hangs"}')


def child_in(log: Path) -> int:
    """Of the engine, once it is there."""
    ends = time.monotonic() + 30
    while time.monotonic() < ends:
        found = re.search(r"child (\d+)\n", log.read_text()) if log.exists() else None
        if found:
            return int(found[1])
        time.sleep(0.05)
    raise AssertionError("the engine has no process of its own")


def is_gone(pid: int) -> bool:
    """Within seconds; a zombie that nobody collects is gone as well."""
    ends = time.monotonic() + 10
    while time.monotonic() < ends:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def test_a_job_is_read_as_it_was_written() -> None:
    assert read_job(line_of(JOB)) == JOB


def test_an_engine_that_is_given_up_leaves_no_process(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with EngineProcess(JOB, dict(os.environ), log) as process:
        found = process.run(Deadlines(answer_s=1.0), time.monotonic() + 60)
    assert "no answer within 1 s" in found.failure
    assert is_gone(child_in(log))


def test_one_that_was_never_run_leaves_none_either(tmp_path: Path) -> None:
    with EngineProcess(JOB, dict(os.environ), tmp_path / "log") as process:
        pid = process.pid
    assert is_gone(pid)


def test_an_asker_that_is_killed_takes_the_engine_along(tmp_path: Path) -> None:
    log = tmp_path / "log"
    path = os.pathsep.join(entry for entry in sys.path if entry)
    asker = subprocess.Popen(
        [sys.executable, "-c", ASKER, line_of(JOB), str(log)],
        env={**os.environ, "PYTHONPATH": path},
    )
    child = child_in(log)
    asker.send_signal(signal.SIGKILL)
    asker.wait()
    assert is_gone(child)
