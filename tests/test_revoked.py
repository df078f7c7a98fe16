"""A winner that lost in the engine: no start takes it, nor anybody in its place but the default."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes import CPU_FOUND, H100_FOUND, write_distribution
from revoking import WHY, confirm, confirmation, revoke
from starts import FAST, MODEL, NO_FLEX, ask, tune

from autotune._store import Layer, Layers, Store, Which, list_decisions, read_misses
from autotune.explanation import explain
from autotune.keys import Question
from autotune.locking import lockable
from autotune.models import ModelRequest
from autotune.pinned import pinned
from autotune.profiles import BALANCED, CHAT
from autotune.replay import Rules
from autotune.settings import Settings
from autotune.settling import EngineStart, settle
from autotune.start import Keep
from autotune.today import Asked

pytestmark = pytest.mark.usefixtures("plugins")


@pytest.fixture
def tuned(file: Path) -> Path:
    """`swift` wins."""
    tune(file)
    return file


def asked(**settings: Any) -> Asked:
    return Asked(
        Question(MODEL, "any", "balanced"), CPU_FOUND, Settings(disabled=NO_FLEX, **settings)
    )


def test_the_default_stays_and_the_choice_says_why_and_what_to_do(tuned: Path) -> None:
    revoke(tuned)
    choice = ask(tuned)
    assert (choice.state, choice.backend, choice.source) == ("default", "torch_sdpa", "default")
    assert choice.why == f"swift:plain is revoked: {WHY}; autotune confirm runs it again here"
    assert choice.warnings == (f"swift:plain is revoked: {WHY}",)
    assert (choice.decision, choice.is_miss) == (None, False)


@pytest.mark.parametrize("verdict", ["confirmed", "unconfirmed"])
def test_of_any_other_verdict_it_is_taken(tuned: Path, verdict: str) -> None:
    confirm(tuned, verdict)
    assert (ask(tuned).state, ask(tuned).backend) == ("exact", "swift")


def test_the_user_s_word_stands(tuned: Path) -> None:
    revoke(tuned)
    assert (ask(tuned, backend="swift").state, ask(tuned, backend="swift").backend) == (
        "override", "swift",
    )  # fmt: skip


def test_no_older_answer_and_no_other_file_takes_its_place(
    tuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_distribution(tmp_path / "a", "torch", "9.9.8")
    with monkeypatch.context() as other_stack:
        other_stack.syspath_prepend(str(tmp_path / "a"))
        tune(tuned, FAST | {"swift": 200.0})
    newest, _ = list_decisions(tuned)
    assert (newest.decision.backend, ask(tuned).backend) == ("steady", "swift")
    (stored,) = (each for each in list_decisions(tuned) if each.decision.backend == "swift")
    with Store.open(tuned) as store:
        store.put_confirmations([confirmation(stored, "revoked")])
    assert ask(tuned).state == "default"


def fleet_first(own: Path, fleet: Path) -> Layers:
    return Layers((Layer("fleet", fleet, "a test"), *Layers.alone(own).files))


@pytest.mark.parametrize("verdict", ["", "unconfirmed", "confirmed", "revoked"])
def test_a_fleet_s_file_that_is_read_first_does_not_bring_it_back(
    tuned: Path, tmp_path: Path, verdict: str
) -> None:
    tune(fleet := tmp_path / "fleet.db")
    if verdict:
        confirm(fleet, verdict, why="theirs")
    revoke(tuned)
    choice = ask(fleet_first(tuned, fleet))
    if verdict == "confirmed":  # it is for whoever put it first to say
        assert (choice.state, choice.file) == ("exact", fleet)
        return
    said = "theirs" if verdict == "revoked" else WHY
    assert (choice.state, choice.warnings) == ("default", (f"swift:plain is revoked: {said}",))


def test_another_winner_on_the_same_evidence_is_not_meant(tuned: Path, tmp_path: Path) -> None:
    tune(fleet := tmp_path / "fleet.db")
    confirm(tuned, "revoked", winner="steady:plain")
    assert ask(fleet_first(tuned, fleet)).file == fleet


def test_of_another_stack_or_part_it_is_to_be_measured_first(
    tuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    revoke(tuned)
    write_distribution(tmp_path / "new", "torch", "9.9.9")
    monkeypatch.syspath_prepend(str(tmp_path / "new"))
    choice = ask(tuned)
    assert choice.state == "default"
    assert " and is 9.9.9; " in choice.why
    assert choice.why.endswith(f"swift:plain is revoked: {WHY}; run autotune warm here")
    tune(tuned)
    assert (ask(tuned).state, ask(tuned).backend) == ("exact", "swift")


def test_an_answer_that_is_not_accepted_is_told_as_that(file: Path) -> None:
    tune(file, {"swift": 1.0}, H100_FOUND)
    revoke(file)
    lower = replace(H100_FOUND, device=replace(H100_FOUND.device, power_limit_w=350))
    assert "AUTOTUNE_ACCEPT=exact leaves a drifted" in ask(file, lower, accept="exact").why
    assert "is revoked" in ask(file, lower).why


def test_a_profile_that_nobody_asked_about_is_decided_from_the_evidence(tuned: Path) -> None:
    revoke(tuned)
    choice = ask(tuned, profile="chat")
    assert (choice.state, choice.backend, choice.source) == ("exact", "swift", "evidence")
    tune(tuned, profile=CHAT)
    assert ask(tuned, profile="chat").source == "cache"
    assert ask(tuned).state == "default"


def test_measured_again_on_the_same_evidence_it_stays_revoked(tuned: Path) -> None:
    revoke(tuned)
    tune(tuned)
    assert ask(tuned).state == "default"
    with Store.open(tuned) as store:
        store.forget([each.id for each in list_decisions(tuned)])
    tune(tuned)
    assert ask(tuned).state == "exact"


def test_a_start_neither_tunes_for_it_nor_notes_a_miss(tuned: Path) -> None:
    revoke(tuned)
    layers, said = Layers.alone(tuned), list[tuple[int, str]]()
    start = EngineStart(asked(mode="tune"), layers, ModelRequest("tiny"))
    ruling = settle(start, lambda level, line: said.append((level, line)))
    assert isinstance(ruling, Keep)
    assert ruling.is_warning
    assert ruling.why.startswith(f"swift:plain is revoked: {WHY}")
    assert (said, read_misses(tuned)) == ([], ())


def test_the_log_has_one_warning(tuned: Path, caplog: pytest.LogCaptureFixture) -> None:
    revoke(tuned)
    with caplog.at_level(logging.INFO, "autotune"):
        ask(tuned)
    warnings = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert warnings == [f"attn-autotune: swift:plain is revoked: {WHY}"]


# lock


def test_a_lock_leaves_it_out_and_nobody_stands_in(
    tuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as other_stack:
        write_distribution(tmp_path / "a", "torch", "9.9.8")
        other_stack.syspath_prepend(str(tmp_path / "a"))
        tune(tuned)
    tune(tuned, profile=CHAT)
    stored = list_decisions(tuned, Which(profiles=("balanced",)))
    with Store.open(tuned) as store:
        store.put_confirmations([confirmation(stored[0], "revoked")])
    found = lockable(list_decisions(tuned))
    assert [each.profile for each in found.entries] == ["chat"]
    assert [each.id for each in found.revoked] == [stored[0].id]


def test_a_lock_that_has_it_stands(tuned: Path, tmp_path: Path) -> None:
    from autotune.lock import render_lock

    path = tmp_path / "team.lock"
    path.write_text(render_lock(lockable(list_decisions(tuned)).entries, ()))
    revoke(tuned)
    assert ask(tuned, lock=str(path)).source == "lock"
    assert pinned(asked(), path).answers[0].revoked == ""


# explain


@pytest.mark.parametrize("verdict", ["confirmed", "unconfirmed", "revoked"])
def test_an_explanation_has_it_in_a_line(tuned: Path, verdict: str) -> None:
    confirm(tuned, verdict)
    found = explain(asked(), ask(tuned), Layers.alone(tuned), Rules("any", BALANCED, NO_FLEX))
    day = list_decisions(tuned)[0].decision.provenance.created_at[:10]
    assert found.confirmation == f"swift:plain is {verdict} (in any 0.12.0 on {day}): {WHY}"
    assert found.near == ()


def test_another_question_s_is_not_told(tuned: Path) -> None:
    revoke(tuned)
    chat = replace(asked(), question=Question(MODEL, "any", "chat"))
    rules = Rules("any", CHAT, NO_FLEX)
    assert explain(chat, ask(tuned, profile="chat"), Layers.alone(tuned), rules).confirmation == ""
