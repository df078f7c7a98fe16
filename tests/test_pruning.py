"""What of a cache is to go, from rows alone: no file, no clock."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cache_examples import DECISION, DEVICE, MODEL
from hypothesis import given
from hypothesis import strategies as st

from autotune._store import EvidenceGroup, StoredDecision
from autotune.keys import canonical, spec_keys_of
from autotune.pruning import Doomed, Rules, doomed

NOW = {"torch": "2.13.0", "triton": None}
BEFORE = {"torch": "2.12.0", "triton": None}
STACK = {"torch": "2.13.0", "numpy": "2.0"}
"""Installed today; triton is not."""
FULL = {"head_dim": 64, "num_q_heads": 8}
WINDOW = {**FULL, "sliding_window": 512}
HERE, ELSEWHERE = "here", "elsewhere"
METHOD = 3


def fingerprint(*specs: Mapping[str, object]) -> str:
    return canonical({"specs": [{**spec, "num_layers": 4} for spec in specs]})


def decided(
    number: int,
    at: str = "2026-05-05T00:00:00+00:00",
    versions: Mapping[str, str | None] = NOW,
    device: str = HERE,
    question: str = "balanced",
    model: str = fingerprint(FULL),
    method: int = METHOD,
) -> StoredDecision:
    row = replace(
        DECISION,
        device_key=device,
        question=question,
        versions=canonical(versions),
        model_fingerprint=model,
        method=method,
        provenance=replace(DECISION.provenance, created_at=at),
    )
    known = replace(DEVICE, key=device), replace(MODEL, fingerprint=model)
    return StoredDecision(number, row, *known, Path("a.db"))


def evidence(
    versions: Mapping[str, str | None] = NOW,
    device: str = HERE,
    spec: Mapping[str, object] = FULL,
    method: int = METHOD,
    newest_at: str = "2026-05-05T00:00:00+00:00",
) -> EvidenceGroup:
    (spec_key,) = spec_keys_of(fingerprint(spec))
    return EvidenceGroup(device, spec_key, canonical(versions), method, 10, newest_at)


TODAY = Rules(today={HERE: STACK}, method=METHOD)


def test_without_a_rule_nothing_goes() -> None:
    rows = [decided(1), decided(2, versions=BEFORE)]
    groups = [evidence(), evidence(BEFORE), evidence(device="of nobody")]
    assert doomed(rows, groups, Rules()) == Doomed()


def test_what_was_decided_earlier_goes_and_what_was_decided_then_stays() -> None:
    then = "2026-05-05T10:00:00+00:00"
    rows = [
        decided(3, "2026-05-05T10:00:01+00:00"),
        decided(2, then),
        decided(1, "2026-05-05T09:59:59+00:00"),
    ]
    assert doomed(rows, [], Rules(before=then)).decisions == {1: f"decided before {then}"}


@pytest.mark.parametrize("at", ["2026-05-05T12:00:00+05:00", "2026-05-05T09:59:59Z"])
def test_a_row_that_names_another_offset_goes_by_its_moment(at: str) -> None:
    rules = Rules(before="2026-05-05T10:00:00+00:00")
    assert set(doomed([decided(1, at)], [], rules).decisions) == {1}


def test_of_each_question_on_each_device_the_newest_stay() -> None:
    rows = [
        decided(9, versions=NOW),
        decided(8, versions=BEFORE),
        decided(7, question="chat"),
        decided(6, device=ELSEWHERE),
        decided(5, versions={"torch": "2.11.0"}),
        decided(4, question="chat", versions=BEFORE),
    ]
    assert doomed(rows, [], Rules(keep=1)).decisions == dict.fromkeys(
        (8, 5, 4), "1 newer ones stay"
    )
    assert doomed(rows, [], Rules(keep=2)).decisions == {5: "2 newer ones stay"}
    assert doomed(rows, [], Rules(keep=3)).decisions == {}


def test_of_other_versions_goes_where_an_answer_for_today_is_there() -> None:
    rows = [decided(3, versions=BEFORE), decided(2), decided(1, versions=NOW, method=METHOD - 1)]
    why = "another was decided for what is installed today"
    assert doomed(rows, [], TODAY).decisions == {3: why, 1: why}


def test_of_other_versions_stays_where_nothing_is_nearer() -> None:
    rows = [
        decided(4, versions=BEFORE),
        decided(3, question="chat"),
        decided(2, device=ELSEWHERE, versions=BEFORE),
        decided(1, device=ELSEWHERE),
    ]
    assert doomed(rows, [], TODAY).decisions == {}


def test_a_package_that_is_installed_now_and_was_not_then_is_another_version() -> None:
    rows = [decided(2, versions={"numpy": "2.0"}), decided(1, versions={"numpy": None})]
    assert set(doomed(rows, [], TODAY).decisions) == {1}


def test_rules_add_up() -> None:
    rows = [
        decided(5, "2026-05-05T00:00:00+00:00", versions={"torch": "2.14"}),
        decided(4, "2026-05-04T00:00:00+00:00"),
        decided(3, "2026-05-03T00:00:00+00:00", versions=BEFORE),
        decided(2, "2026-05-02T00:00:00+00:00", question="chat"),
    ]
    rules = replace(TODAY, before="2026-05-02T12:00:00+00:00", keep=2)
    assert set(doomed(rows, [], rules).decisions) == {5, 3, 2}


@pytest.mark.parametrize(
    "rule", [{"keep": 1}, {"before": "2026-05-04T00:00:00+00:00"}], ids=["keep", "before"]
)
def test_an_answer_that_goes_itself_is_no_reason_for_another_to_go(rule: dict[str, Any]) -> None:
    for_today = decided(1, "2026-05-03T00:00:00+00:00")
    newer = decided(2, "2026-05-05T00:00:00+00:00", versions=BEFORE)
    assert len(doomed([newer, for_today], [], replace(TODAY, **rule)).decisions) == 1


def test_measurements_go_with_the_last_decision_that_rests_on_them() -> None:
    old, young = "2026-01-01T00:00:00+00:00", "2026-05-05T00:00:00+00:00"
    rules = Rules(before="2026-02-02T00:00:00+00:00")
    group = evidence()
    balanced = decided(2, old)
    assert doomed([decided(3, young, question="chat"), balanced], [group], rules) == Doomed(
        {2: f"decided before {rules.before}"}
    )
    assert doomed([decided(3, old, question="chat"), balanced], [group], rules).evidence == (group,)


def test_measurements_of_the_packages_of_a_decision_belong_to_it() -> None:
    swift = {**NOW, "swift": "1.0"}
    rows = [decided(1, "2026-01-01T00:00:00+00:00", versions={**swift, "steady": "2.0"})]
    mine = [evidence(), evidence(swift)]
    others = [
        evidence({**NOW, "swift": "1.1"}),
        evidence({**NOW, "third": "1.0"}),
        evidence(device=ELSEWHERE),
        evidence(method=METHOD - 1),
        evidence(spec=WINDOW),
    ]
    rules = Rules(before="2026-02-02T00:00:00+00:00")
    assert doomed(rows, [*mine, *others], rules).evidence == tuple(mine)


def test_measurements_of_every_kind_of_layer_belong_to_a_decision() -> None:
    old = "2026-01-01T00:00:00+00:00"
    both = decided(1, old, model=fingerprint(FULL, WINDOW))
    groups = (evidence(), evidence(spec=WINDOW))
    rules = Rules(before="2026-02-02T00:00:00+00:00")
    assert doomed([both], groups, rules).evidence == groups
    assert doomed([decided(2), both], groups, rules).evidence == groups[1:]


def test_measurements_on_which_nothing_rests_go_for_themselves_alone() -> None:
    old = evidence(newest_at="2026-01-01T00:00:00+00:00")
    rules = Rules(before="2026-02-02T00:00:00+00:00")
    # What is new may be of a tuner that has not decided yet.
    assert doomed([], [old, evidence()], rules).evidence == (old,)
    assert doomed([decided(1)], [old], rules).evidence == ()
    assert doomed([], [old, evidence(BEFORE)], Rules(keep=1)).evidence == ()


def test_measurements_of_other_versions_go_where_no_decision_needs_them() -> None:
    groups = [
        evidence(BEFORE),
        evidence(method=METHOD - 1),
        evidence(),
        evidence(BEFORE, device=ELSEWHERE),
    ]
    assert doomed([], groups, TODAY).evidence == tuple(groups[:2])
    assert doomed([decided(1, versions=BEFORE)], groups, TODAY).evidence == (groups[1],)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"specs": 1}', '{"specs": [1]}', "null"])
def test_rows_that_cannot_be_read_stop_nothing(text: str) -> None:
    good = decided(2)
    rows = [
        good,
        decided(1, model=text),
        replace(good, id=3, decision=replace(good.decision, versions=text)),
    ]
    groups = [evidence(), replace(evidence(), versions=text)]
    assert doomed(rows, groups, Rules()) == Doomed()
    assert evidence() not in doomed(rows, groups, replace(TODAY, keep=1)).evidence


VERSIONS = st.sampled_from([NOW, BEFORE, {"torch": "2.13.0"}])
TIMES = st.sampled_from([f"2026-05-{day:02}T00:00:00+00:00" for day in range(1, 8)])
DEVICES = st.sampled_from([HERE, ELSEWHERE])
METHODS = st.sampled_from([METHOD, METHOD - 1])
DECISIONS = st.lists(
    st.builds(
        decided,
        number=st.integers(1, 10**9),
        at=TIMES,
        versions=VERSIONS,
        device=DEVICES,
        question=st.sampled_from(["balanced", "chat"]),
        model=st.sampled_from([fingerprint(FULL), fingerprint(FULL, WINDOW)]),
        method=METHODS,
    ),
    max_size=8,
    unique_by=lambda each: each.id,
)
GROUPS = st.lists(
    st.builds(
        evidence,
        versions=VERSIONS,
        device=DEVICES,
        spec=st.sampled_from([FULL, WINDOW]),
        method=METHODS,
        newest_at=TIMES,
    ),
    max_size=8,
)
RULES = st.builds(
    Rules,
    before=st.none() | TIMES,
    keep=st.none() | st.integers(1, 3),
    today=st.sampled_from([{}, {HERE: STACK}]),
    method=st.just(METHOD),
)


def rests_on(each: StoredDecision, group: EvidenceGroup) -> bool:
    """As the docs have it."""
    row = each.decision
    if (row.device_key, row.method) != (group.device_key, group.method):
        return False
    mine, theirs = json.loads(row.versions), json.loads(group.versions)
    is_same = all(mine.get(name, "none") == version for name, version in theirs.items())
    return is_same and group.spec_key in spec_keys_of(row.model_fingerprint)


@given(DECISIONS, GROUPS, RULES)
def test_nothing_goes_on_which_something_that_stays_rests(
    rows: list[StoredDecision], groups: list[EvidenceGroup], rules: Rules
) -> None:
    rows = sorted(rows, key=lambda each: each.decision.provenance.created_at, reverse=True)
    found = doomed(rows, groups, rules)
    stay = [each for each in rows if each.id not in found.decisions]
    assert set(found.evidence) <= set(groups)
    assert not any(rests_on(each, group) for each in stay for group in found.evidence)
    for group in groups:
        needed = any(rests_on(each, group) for each in stay)
        was_needed = any(rests_on(each, group) for each in rows)
        assert needed or not was_needed or group in found.evidence
    if rules.before is None:
        places = {(each.decision.device_key, each.decision.question) for each in rows}
        left = {(each.decision.device_key, each.decision.question) for each in stay}
        assert rules.keep is None or left == places or rules.today
        assert rules.today or left == places
