"""A lock at a start: applied, passed over with a line that says why, or an error under --strict."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes import CPU_FOUND, FULL, make_model, write_distribution
from starts import FAST, NO_FLEX, ask, change_plugin, tune

from autotune._store import list_decisions
from autotune.errors import LockError
from autotune.lock import render_lock
from autotune.locking import lockable

pytestmark = pytest.mark.usefixtures("plugins")


@pytest.fixture
def lock(file: Path, tmp_path: Path) -> Path:
    """Of a cache in which `swift` wins; the cache then changes its mind."""
    tune(file)
    path = tmp_path / "team.lock"
    path.write_text(render_lock(lockable(list_decisions(file)).entries, ()))
    file.unlink()
    tune(file, FAST | {"swift": 200.0})
    return path


def edit(path: Path, **fields: Any) -> None:
    content = json.loads(path.read_text())
    content["decisions"][0] |= fields
    path.write_text(json.dumps(content, indent=1))


def test_it_outranks_the_cache_and_is_rolled_back_by_pointing_elsewhere(
    file: Path, lock: Path, tmp_path: Path
) -> None:
    assert (ask(file).backend, ask(file).source) == ("steady", "cache")
    choice = ask(file, lock=str(lock))
    assert (choice.state, choice.backend, choice.source) == ("exact", "swift", "lock")
    assert choice.why.startswith(f"lock {lock} line 4: swift:plain is pinned, as decided on ")
    before = tmp_path / "before.lock"
    before.write_text(render_lock(lockable(list_decisions(file)).entries, ()))
    assert ask(file, lock=str(before)).backend == "steady"
    assert ask(file, lock=str(lock), backend="torch_sdpa").state == "override"


def test_it_needs_no_cache(tmp_path: Path, lock: Path) -> None:
    assert ask(tmp_path / "none.db", lock=str(lock)).backend == "swift"


def test_another_stack_is_a_drift(
    file: Path, lock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_distribution(tmp_path / "newer", "torch", "9.9.9")
    monkeypatch.syspath_prepend(str(tmp_path / "newer"))
    choice = ask(file, lock=str(lock))
    assert (choice.state, choice.source) == ("drifted", "lock")
    assert "torch was" in choice.why


def test_another_question_or_device_names_the_line_and_falls_back(file: Path, lock: Path) -> None:
    longer = make_model(FULL, max_model_len=8192)
    choice = ask(file, model=longer, lock=str(lock))
    assert choice.state == "default"
    note = f"lock {lock}: line 4 does not fit: max_model_len: 4096 is stored, 8192 is asked"
    assert choice.warnings[0] == note
    elsewhere = replace(CPU_FOUND, device=replace(CPU_FOUND.device, name="Another CPU"))
    told = ask(file, elsewhere, lock=str(lock)).warnings[0]
    assert told.endswith(
        "line 4 does not fit: device.name: Fake CPU is stored, Another CPU is asked"
    )
    assert ask(file, lock=str(lock)).backend == "swift"
    other = make_model(replace(FULL, head_dim=128))
    assert "it has no line for this model" in ask(file, model=other, lock=str(lock)).warnings[0]


def test_a_backend_that_is_not_there(file: Path, lock: Path) -> None:
    edit(lock, backend="nope")
    choice = ask(file, lock=str(lock))
    assert (choice.backend, choice.source) == ("steady", "cache")
    assert choice.warnings[0] == f"lock {lock} line 4: no such backend is installed: nope"
    with pytest.raises(LockError, match="line 4: no such backend is installed: nope"):
        ask(file, lock=str(lock), strict=True)


def test_a_backend_that_cannot_run_any_more(
    file: Path, lock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuses = "'swift', refusals=dict.fromkeys(Phase, (Reason('arch', 'arch x: needs y'),))"
    change_plugin(monkeypatch, tmp_path, refuses)
    choice = ask(file, lock=str(lock))
    assert (choice.backend, choice.source) == ("steady", "cache")
    assert choice.warnings[0] == (
        f"lock {lock} line 4: nobody who was measured can run here any more: swift:plain cannot run"
        " any more (arch x: needs y)"
    )


def test_a_deny_list_holds_for_the_cache_too(file: Path, lock: Path) -> None:
    content = json.loads(lock.read_text())
    lock.write_text(json.dumps({**content, "decisions": [], "deny": ["steady", "nope"]}))
    choice = ask(file, lock=str(lock))
    assert choice.backend == "torch_sdpa"
    assert "steady:plain cannot run any more (steady: denied by the lock)" in choice.why
    told = f"lock {lock}: deny: no such backend is installed: nope; known: torch_sdpa, "
    assert any(each.startswith(told) for each in choice.warnings)
    with pytest.raises(LockError, match="deny: no such backend is installed: nope; known: "):
        ask(file, lock=str(lock), strict=True)
    # The user's own word still counts.
    assert ask(file, lock=str(lock), backend="steady").backend == "steady"


def test_a_lock_that_cannot_be_read_is_a_warning_or_an_error(file: Path, tmp_path: Path) -> None:
    tune(file)
    choice = ask(file, lock=str(tmp_path / "none.lock"))
    assert choice.backend == "swift"
    assert "none.lock: cannot be read (No such file or directory)" in choice.warnings[0]
    with pytest.raises(LockError, match="cannot be read"):
        ask(file, lock=str(tmp_path / "none.lock"), strict=True)
    newer = tmp_path / "newer.lock"
    newer.write_text('{"autotune_lock": 9, "decisions": []}')
    assert "schema 9, and this version knows 1" in ask(file, lock=str(newer)).warnings[0]
    assert ask(file, lock=str(newer), disabled=NO_FLEX).state == "exact"
