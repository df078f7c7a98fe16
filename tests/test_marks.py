"""Marks of starts: left, cleared, and found again after every kind of death."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from starts import MODEL, ask, tune

from autotune.keys import Question
from autotune.marks import (
    MarkError,
    can_mark,
    dead_starts,
    forget,
    leave_mark,
    mark_folders,
)
from autotune.start import decision_id

KEY, OTHER = "0123456789abcdef", "fedcba9876543210"


def in_child(folder: Path, then: str) -> subprocess.CompletedProcess[str]:
    """A start in a process of its own, with a mark left in it."""
    source = f"""
import os, signal, time
from pathlib import Path
from autotune.marks import leave_mark
mark = leave_mark({KEY!r}, "swift for tiny on a CPU", [Path({str(folder)!r})])
{then}
"""
    return subprocess.run([sys.executable, "-c", source], capture_output=True, text=True)


def test_start_that_serves_leaves_nothing(tmp_path: Path) -> None:
    leave_mark(KEY, "swift", [tmp_path]).clear()
    assert dead_starts([tmp_path]) == ()
    assert list(tmp_path.iterdir()) == []


def test_start_under_way_is_not_dead(tmp_path: Path) -> None:
    mark = leave_mark(KEY, "swift", [tmp_path])
    assert dead_starts([tmp_path], KEY) == ()
    mark.clear()


@pytest.mark.parametrize(
    "death",
    ["os._exit(1)", "os.kill(os.getpid(), signal.SIGKILL)", "os.abort()", "raise SystemExit(3)"],
)
def test_death_is_found_by_the_next_start(tmp_path: Path, death: str) -> None:
    in_child(tmp_path, death)
    (dead,) = dead_starts([tmp_path], KEY)
    assert dead.what == "swift for tiny on a CPU"
    assert dead.key == KEY
    assert dead_starts([tmp_path], OTHER) == ()


def test_death_has_last_words(tmp_path: Path) -> None:
    leave_mark(KEY, "swift", [tmp_path]).bury("RuntimeError: out of shared memory")
    (dead,) = dead_starts([tmp_path], KEY)
    assert dead.why == "RuntimeError: out of shared memory"


def test_forgotten_start_is_gone(tmp_path: Path) -> None:
    leave_mark(KEY, "swift", [tmp_path]).bury("why")
    forget(dead_starts([tmp_path]))
    assert dead_starts([tmp_path]) == ()


def test_starts_side_by_side_do_not_take_each_other_for_dead(tmp_path: Path) -> None:
    one, other = leave_mark(KEY, "one", [tmp_path]), leave_mark(KEY, "other", [tmp_path])
    one.bury("it died")
    (dead,) = dead_starts([tmp_path], KEY)
    assert dead.what == "one"
    other.clear()
    assert len(dead_starts([tmp_path], KEY)) == 1


def test_forked_engine_that_lives_on_keeps_the_mark_alive(tmp_path: Path) -> None:
    source = "if os.fork() == 0:\n    time.sleep(60)\nprint(mark.path)\nos._exit(1)"
    child = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import os, time\nfrom pathlib import Path\nfrom autotune.marks import leave_mark\n"
            f"mark = leave_mark({KEY!r}, 'swift', [Path({str(tmp_path)!r})])\n{source}",
        ],
        start_new_session=True,
        stdout=subprocess.PIPE,
    )
    try:
        assert child.wait(60) == 1
        assert dead_starts([tmp_path], KEY) == ()
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        assert child.stdout is not None
        child.stdout.read()  # until the fork is gone
        child.stdout.close()
    assert len(dead_starts([tmp_path], KEY)) == 1


@pytest.mark.parametrize("content", ["", "{", "[]", '{"what": 7}', "\x00" * 100])
def test_damaged_mark_still_counts(tmp_path: Path, content: str) -> None:
    (tmp_path / f"{KEY}-x.start").write_text(content)
    (dead,) = dead_starts([tmp_path], KEY)
    assert dead.key == KEY


def test_folder_that_cannot_be_written_gives_way_to_the_next(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    mark = leave_mark(KEY, "swift", [blocked / "starts", tmp_path / "next"])
    assert mark.path.parent == tmp_path / "next"
    mark.clear()


def test_no_folder_is_an_error_that_says_what_to_set(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert not can_mark([blocked / "starts"])
    with pytest.raises(MarkError, match="AUTOTUNE_STATE"):
        leave_mark(KEY, "swift", [blocked / "starts"])


def test_folders_follow_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "cache.db"
    beside, temporary = mark_folders(file, {})
    assert beside == tmp_path / "cache.db.starts"
    assert temporary.name == "starts"
    assert mark_folders(file, {"AUTOTUNE_STATE": "/state"}) == (Path("/state/starts"),)


def test_mark_is_of_one_decision(tmp_path: Path) -> None:
    file = tmp_path / "cache.db"
    tune(file)
    choice, question = ask(file), Question(MODEL, "any", "balanced")
    assert choice.decision is not None
    key = decision_id(question, choice)
    assert key == decision_id(question, ask(file))
    again = replace(choice, decision=replace(choice.decision, measured_at="2030-01-01T00:00:00Z"))
    assert key != decision_id(question, again)
    assert key != decision_id(question, replace(choice, engine_options={"attention_backend": "X"}))


def test_command_lists_and_clears(tmp_path: Path) -> None:
    file = tmp_path / "cache.db"
    (folder, _) = mark_folders(file, {})
    leave_mark(KEY, "swift for tiny", [folder]).bury("RuntimeError: no such head size")
    listed = _quarantine(file, "--json")
    assert [each["why"] for each in json.loads(listed)["starts"]] == [
        "RuntimeError: no such head size"
    ]
    assert "no such head size" in _quarantine(file, "--clear")
    assert json.loads(_quarantine(file, "--json"))["starts"] == []


def _quarantine(file: Path, *options: str) -> str:
    command = [sys.executable, "-m", "autotune", "cache", "quarantine", "--cache", str(file)]
    environ = {**os.environ, "COLUMNS": "300"}
    done = subprocess.run(
        [*command, *options], check=True, capture_output=True, text=True, env=environ
    )
    return done.stdout
