"""Two backends instead of one, where an engine loads two: what is legal, when it is worth it."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace

import pytest
from fakes import candidate, timed
from hypothesis import given
from hypothesis import strategies as st

from autotune.costs import Evidence, costs_of
from autotune.criteria import Criteria
from autotune.engines import ANY, Engine, engine_named
from autotune.policy import NoVerdict, Terms, Verdict, decide
from autotune.ranking import Candidate
from autotune.splits import Split, is_legal, parts_of
from kernels_bench.spec import Failed, Outcome, Pages, Phase, Rejected, Timed, Wrong
from kernels_bench.workload import parse_workload

FLASH, FLINFER, TRITON, SPLIT = map(candidate, ("flash", "flinfer", "triton", "split"))
ORDER = ("flash", "flinfer", "triton", "split")
DECODE, VERIFY, PREFILL, EXTEND, MIXED = "32q1s1k", "16q4s4k", "q2k", "q2ks4k", "8q1s1k_q1k"
SGLANG = engine_named("sglang", {})
ONE = Engine("one")


def item(
    workload: str, who: Candidate, outcome: Outcome | float, kind: str = "full", layers: int = 1
) -> Evidence:
    found = timed(outcome) if isinstance(outcome, float | int) else outcome
    return Evidence(kind, layers, workload, parse_workload(workload).phase, who, found)


def on(
    workload: str, times: Mapping[Candidate, Outcome | float], kind: str = "full"
) -> list[Evidence]:
    return [item(workload, who, it, kind) for who, it in times.items()]


def captured(gpu_us: float) -> Timed:
    return replace(timed(gpu_us), is_captured=True)


def verdict_of(evidence: list[Evidence], engine: Engine = ANY, **weights: float) -> Verdict:
    names = {each.workload for each in evidence}
    found = decide(evidence, Terms(weights or dict.fromkeys(names, 1.0), ORDER, engine))
    assert isinstance(found, Verdict)
    return found


def split_of(evidence: list[Evidence], engine: Engine = ANY) -> Split:
    split = verdict_of(evidence, engine).split
    assert split is not None
    return split


TWO_SIDES = [*on(DECODE, {FLASH: 100, TRITON: 80}), *on(PREFILL, {FLASH: 100, TRITON: 120})]


def test_each_side_gets_who_is_best_at_it() -> None:
    verdict = verdict_of(TWO_SIDES)
    split = verdict.split
    assert split is not None
    assert split.by_kind == {"full": {"decode": TRITON, "prefill": FLASH}}
    assert verdict.winner.candidate == FLASH
    assert (split.score, split.gain, split.regret) == pytest.approx((0.9, 0.1, 0.0))


def test_an_engine_that_loads_one_backend_gets_no_split() -> None:
    assert verdict_of(TWO_SIDES, ONE).split is None


@pytest.mark.parametrize(("us", "is_split"), [(93.0, True), (96.0, False)])
def test_a_split_has_to_beat_the_best_single_by_three_percent(us: float, is_split: bool) -> None:
    evidence = [*on(DECODE, {FLASH: 100, TRITON: us}), *on(PREFILL, {FLASH: 100, TRITON: 150})]
    assert (verdict_of(evidence).split is not None) is is_split


def test_a_gain_within_the_noise_is_no_split() -> None:
    noisy = timed(80.0, noise=1.0)
    evidence = [*on(DECODE, {FLASH: 100, TRITON: noisy}), *on(PREFILL, {FLASH: 100, TRITON: 120})]
    assert verdict_of(evidence).split is None


def test_the_bound_counts_only_what_the_two_run_differently() -> None:
    quiet = [*on(DECODE, {FLASH: 100, TRITON: 80}), *on(PREFILL, {FLASH: 100, TRITON: 120})]
    loud = [
        *on(DECODE, {FLASH: 100, TRITON: 80}),
        *on(PREFILL, {FLASH: timed(100.0, noise=0.3), TRITON: 120}),
    ]
    assert split_of(loud).bound == split_of(quiet).bound


def test_other_pages_cannot_be_shared() -> None:
    other = replace(TRITON, pages=Pages(32))
    layout = replace(TRITON, pages=Pages(16, "HND"))
    for who in (other, layout):
        evidence = [*on(DECODE, {FLASH: 100, who: 50}), *on(PREFILL, {FLASH: 100, who: 200})]
        assert verdict_of(evidence).split is None


def test_who_was_timed_in_a_graph_needs_a_partner_that_can_be_captured() -> None:
    eager, graph = {TRITON: timed(120.0)}, {TRITON: captured(120.0)}
    prefill = on(PREFILL, {FLASH: 100, TRITON: 60})
    # vLLM captures what all of its backends can be captured in: beside TRITON, FLASH would decode
    # outside a graph, and nobody has timed that.
    assert verdict_of([*on(DECODE, {FLASH: captured(100.0), **eager}), *prefill]).split is None
    assert split_of([*on(DECODE, {FLASH: captured(100.0), **graph}), *prefill]).by_kind == {
        "full": {"decode": FLASH, "prefill": TRITON}
    }


def test_a_partner_that_needs_no_graph_does_not_ask_for_one() -> None:
    evidence = [
        *on(DECODE, {FLASH: captured(100.0), TRITON: timed(70.0)}),
        *on(PREFILL, {FLASH: 100, TRITON: 150}),
    ]
    assert split_of(evidence).by_kind["full"] == {"decode": TRITON, "prefill": FLASH}


def test_sglang_verifies_with_its_prefill_backend() -> None:
    evidence = [
        *on(DECODE, {FLASH: 100, TRITON: 50}),
        *on(VERIFY, {FLASH: 100, TRITON: 90}),
        *on(PREFILL, {FLASH: 100, TRITON: 300}),
    ]
    assert split_of(evidence, SGLANG).by_kind["full"]["verify"] == FLASH
    assert split_of(evidence, ANY).by_kind["full"]["verify"] == TRITON


def test_kinds_of_layers_may_differ_where_the_engine_takes_that() -> None:
    evidence = [
        *on(PREFILL, {FLASH: 100, TRITON: 130}, "full"),
        *on(PREFILL, {FLASH: 100, TRITON: 60}, "window"),
    ]
    assert split_of(evidence).by_kind == {"full": {"prefill": FLASH}, "window": {"prefill": TRITON}}
    assert verdict_of(evidence, SGLANG).split is None
    assert engine_named("vllm", {"vllm": "0.33.0"}).takes_kinds
    assert not engine_named("vllm", {"vllm": "0.24.0"}).takes_kinds


@pytest.mark.parametrize("spoiled", [Failed("memory", "no room"), Wrong("values", 1.0, 0.1)])
def test_who_fails_on_one_side_may_serve_the_other_unless_it_was_wrong(spoiled: Outcome) -> None:
    evidence = [*on(DECODE, {FLASH: 100, TRITON: 50}), *on(PREFILL, {FLASH: 100, TRITON: spoiled})]
    assert (verdict_of(evidence).split is not None) is isinstance(spoiled, Failed)


def test_a_part_that_is_far_behind_on_a_weighty_workload_is_no_choice() -> None:
    evidence = [
        *on("q1s1k", {FLASH: 100, TRITON: 160}),
        *on("128q1s1k", {FLASH: 100, TRITON: 20}),
        *on(PREFILL, {FLASH: 100, TRITON: 120}),
    ]
    assert verdict_of(evidence).split is None
    light = {"q1s1k": 0.01, "128q1s1k": 1.0, PREFILL: 1.0}
    assert verdict_of(evidence, **light).split is not None


def test_a_stored_split_stays_until_another_is_clearly_better() -> None:
    evidence = [
        *on(DECODE, {FLASH: 100, TRITON: 80, SPLIT: 77}),
        *on(PREFILL, {FLASH: 100, TRITON: 150, SPLIT: 150}),
    ]
    stored = {"full": {"decode": TRITON, "prefill": FLASH}}
    weights = {DECODE: 1.0, PREFILL: 1.0}
    fresh = decide(evidence, Terms(weights, ORDER))
    again = decide(evidence, Terms(weights, ORDER, standing_split=stored))
    assert isinstance(fresh, Verdict)
    assert isinstance(again, Verdict)
    assert fresh.split is not None
    assert again.split is not None
    assert fresh.split.by_kind["full"]["decode"] == SPLIT
    assert again.split.by_kind == stored
    # Worth 2 % only, it would not have been taken, and it stays.
    thin = [*on(DECODE, {FLASH: 100, TRITON: 96}), *on(PREFILL, {FLASH: 100, TRITON: 150})]
    kept = decide(thin, Terms(weights, ORDER, standing_split=stored))
    assert isinstance(kept, Verdict)
    assert kept.split is not None


def test_no_split_is_taken_where_most_of_the_profile_was_not_measured() -> None:
    terms = Terms({DECODE: 1.0, PREFILL: 1.0}, ORDER, uncovered={"8q1s1k": 0.6})
    found = decide(TWO_SIDES, terms)
    assert isinstance(found, Verdict)
    assert found.split is None
    stored = {"full": {"decode": TRITON, "prefill": FLASH}}
    kept = decide(TWO_SIDES, replace(terms, standing_split=stored))
    assert isinstance(kept, Verdict)
    assert kept.split is not None


def test_a_stored_split_that_is_not_legal_any_more_has_no_say() -> None:
    stored = {"full": {"decode": SPLIT, "prefill": FLASH}}
    found = decide(TWO_SIDES, Terms({DECODE: 1.0, PREFILL: 1.0}, ORDER, standing_split=stored))
    assert isinstance(found, Verdict)
    assert found.split is not None
    assert found.split.by_kind["full"]["decode"] == TRITON


PAGES = st.sampled_from([Pages(16), Pages(64)])
OUTCOMES = st.one_of(
    st.builds(captured, st.floats(1, 1e4)),
    st.builds(timed, st.floats(1, 1e4)),
    st.builds(timed, st.floats(1, 1e4)),
    st.just(Wrong("values", 1.0, 0.1)),
    st.just(Failed("memory", "no room")),
)
WORKLOADS = (DECODE, VERIFY, PREFILL, EXTEND, MIXED)
FIELD = st.tuples(
    st.dictionaries(st.sampled_from(ORDER), PAGES, min_size=2),
    st.dictionaries(
        st.tuples(
            st.sampled_from(ORDER), st.sampled_from(WORKLOADS), st.sampled_from(["full", "window"])
        ),
        OUTCOMES,
        min_size=4,
    ),
).map(
    lambda found: [
        item(workload, Candidate(name, "plain", found[0][name]), outcome, kind)
        for (name, workload, kind), outcome in found[1].items()
        if name in found[0]
    ]
)
ENGINES = st.sampled_from([ANY, SGLANG, ONE, engine_named("vllm", {"vllm": "0.33.0"})])
WEIGHTS = st.fixed_dictionaries({name: st.integers(0, 5) for name in WORKLOADS})


@given(FIELD, ENGINES, WEIGHTS)
def test_a_split_is_never_illegal(
    evidence: list[Evidence], engine: Engine, weights: dict[str, int]
) -> None:
    verdict = decide(evidence, Terms(weights, ORDER, engine))
    if not isinstance(verdict, Verdict) or verdict.split is None:
        return
    split, costs = verdict.split, costs_of(evidence)
    parts = parts_of(engine, costs.cells)
    assert is_legal(costs, split.assignment, parts)
    assert all(len({split.assignment[cell] for cell in part.cells}) == 1 for part in parts)
    assert len({who.pages for who in split.assignment.values()}) == 1
    good = {(e.candidate, e.kind, e.workload) for e in evidence if isinstance(e.outcome, Timed)}
    assert all((who, c.kind, c.workload) in good for c, who in split.assignment.items())
    assert split.gain >= Criteria().split
    assert split.gain > split.bound


@given(FIELD, ENGINES, WEIGHTS)
def test_nobody_is_picked_who_is_not_right_and_timed_where_it_counts(
    evidence: list[Evidence], engine: Engine, weights: dict[str, int]
) -> None:
    spoiled = {
        (each.candidate, each.workload)
        for each in evidence
        if isinstance(each.outcome, Wrong | Failed | Rejected)
    }
    workloads = {each.workload for each in evidence}
    match decide(evidence, Terms(weights, ORDER, engine)):
        case Verdict(winner=winner):
            seen = {e.workload for e in evidence if e.candidate == winner.candidate}
            assert seen == workloads
            assert not any(who == winner.candidate for who, _ in spoiled)
        case NoVerdict():
            pass


@given(FIELD, ENGINES, WEIGHTS, st.randoms(use_true_random=False))
def test_the_order_of_the_evidence_and_the_machine_s_pace_do_not_matter(
    evidence: list[Evidence], engine: Engine, weights: dict[str, int], chance: random.Random
) -> None:
    terms = Terms(weights, ORDER, engine)
    shuffled = [_slower(each) for each in evidence]
    chance.shuffle(shuffled)
    assert decide(shuffled, terms) == decide(evidence, terms)


def _slower(found: Evidence) -> Evidence:
    if not isinstance(found.outcome, Timed):
        return found
    us, call_us = found.outcome.gpu_us * 4, found.outcome.call_us * 4
    return replace(found, outcome=replace(found.outcome, gpu_us=us, call_us=call_us))


@given(FIELD, ENGINES, WEIGHTS)
def test_a_strictly_slower_newcomer_changes_nothing(
    evidence: list[Evidence], engine: Engine, weights: dict[str, int]
) -> None:
    verdict = decide(evidence, Terms(weights, ORDER, engine))
    if not isinstance(verdict, Verdict):
        return
    own = [each for each in evidence if each.candidate == verdict.incumbent]
    late = candidate("zzz")
    slower = [replace(_slower(each), candidate=late) for each in own]
    after = decide([*evidence, *slower], Terms(weights, ORDER, engine))
    assert isinstance(after, Verdict)
    assert after.winner == verdict.winner
    before_split = None if verdict.split is None else verdict.split.assignment
    assert (None if after.split is None else after.split.assignment) == before_split


@given(
    st.lists(st.sampled_from(WORKLOADS), min_size=1, unique=True),
    st.sampled_from([ANY, SGLANG, ONE]),
    st.floats(1, 1e5),
)
def test_among_equals_the_default_stays(workloads: list[str], engine: Engine, us: float) -> None:
    everyone = dict.fromkeys((TRITON, SPLIT, FLINFER, FLASH), us)
    verdict = verdict_of([each for w in workloads for each in on(w, everyone)], engine)
    assert verdict.winner.candidate == verdict.incumbent == FLASH
    assert verdict.split is None
    assert verdict.crossovers == ()
    assert verdict.regret == pytest.approx(0.0)


def test_parts_follow_the_engine() -> None:
    cells = costs_of(
        [*on(DECODE, {FLASH: 1.0}), *on(PREFILL, {FLASH: 1.0}), *on(DECODE, {FLASH: 1.0}, "window")]
    ).cells
    assert len(parts_of(ONE, cells)) == 1
    assert len(parts_of(SGLANG, cells)) == 2
    assert len(parts_of(ANY, cells)) == 3
    assert {Phase.DECODE} in [part.phases for part in parts_of(ANY, cells)]
