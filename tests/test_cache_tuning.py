"""One tuner at a time: who waits, who does not, and what is told of the dead."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cache_examples import DEVICE, MODEL

import cache
from cache import (
    Holder,
    LockPatience,
    Store,
    TuningBusyError,
    TuningSubject,
    hold_tuning_lock,
    tuners,
)

ROOT = Path(cache.__file__).parents[1]
HOLD = """
import sys, time
from pathlib import Path
from cache import LockPatience, TuningSubject, hold_tuning_lock
subject = TuningSubject(Path(sys.argv[1]), sys.argv[2], sys.argv[3], "tiny on a CPU")
with hold_tuning_lock(subject, LockPatience()):
    print("held", flush=True)
    time.sleep(float(sys.argv[4]))
"""


@pytest.fixture
def subject(tmp_path: Path) -> TuningSubject:
    path = tmp_path / "autotune.db"
    Store.open(path).close()
    return TuningSubject(path, DEVICE.key, MODEL.fingerprint, "llama on an H100")


def holding(subject: TuningSubject, seconds: float) -> subprocess.Popen[str]:
    """Another process that holds the lock, and has it now."""
    arguments = [str(subject.path), subject.device_key, subject.fingerprint, str(seconds)]
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_tuner_waits_and_is_told_for_whom(subject: TuningSubject) -> None:
    told: list[Holder | None] = []
    with holding(subject, 0.5) as other:
        started = time.monotonic()
        with hold_tuning_lock(subject, LockPatience(on_wait=told.append)):
            waited_s = time.monotonic() - started
            (now,) = tuners(subject.path)
            assert now.pid == os.getpid()
        (holder,) = told
        assert holder is not None
        assert (holder.pid, holder.what) == (other.pid, "tiny on a CPU")
    assert waited_s > 0.1
    assert tuners(subject.path) == ()


def test_who_does_not_wait_is_told_who_tunes(subject: TuningSubject) -> None:
    with holding(subject, 30) as other:
        with (
            pytest.raises(TuningBusyError, match=f"process {other.pid} on .* tunes tiny on a CPU"),
            hold_tuning_lock(subject, LockPatience(most_s=0)),
        ):
            pytest.fail("two hold it")
        with (
            pytest.raises(TuningBusyError),
            hold_tuning_lock(subject, LockPatience(most_s=0.3)),
        ):
            pytest.fail("two hold it")
        other.kill()


def test_the_lock_of_a_dead_tuner_is_free_and_its_death_is_told(subject: TuningSubject) -> None:
    dead: list[Holder] = []
    with holding(subject, 30) as other:
        other.send_signal(signal.SIGKILL)
        other.wait()
        assert tuners(subject.path) == ()
        patience = LockPatience(most_s=0, on_dead=dead.append)
        with hold_tuning_lock(subject, patience):
            assert [each.pid for each in dead] == [other.pid]
    with hold_tuning_lock(subject, patience):
        assert len(dead) == 1


def test_other_models_and_devices_are_tuned_meanwhile(subject: TuningSubject) -> None:
    with holding(subject, 30) as other:
        for device, model in ((DEVICE.key, "another"), ("another", MODEL.fingerprint)):
            elsewhere = TuningSubject(subject.path, device, model, "another")
            with hold_tuning_lock(elsewhere, LockPatience(most_s=0)):
                pass
        other.kill()


def test_an_error_inside_frees_the_lock(subject: TuningSubject) -> None:
    with pytest.raises(ValueError, match="inside"), hold_tuning_lock(subject, LockPatience()):
        raise ValueError("inside")
    with hold_tuning_lock(subject, LockPatience(most_s=0)):
        pass


@pytest.mark.parametrize("note", ["", "[]", "{", '{"pid": 1}', "[" * 5000, '{"pid": "1"}'])
def test_a_note_by_somebody_else_is_not_believed(subject: TuningSubject, note: str) -> None:
    subject.folder.mkdir()
    (subject.folder / f"{subject.stem}.holder").write_text(note)
    assert tuners(subject.path) == ()
    with hold_tuning_lock(subject, LockPatience(most_s=0)):
        pass


def test_where_no_lock_can_be_made_nobody_is_kept_out(subject: TuningSubject) -> None:
    subject.folder.write_text("a file in the folder's place")
    with hold_tuning_lock(subject, LockPatience(most_s=0)):
        pass
    with pytest.raises(OSError, match="inside"), hold_tuning_lock(subject, LockPatience()):
        raise OSError("inside")
