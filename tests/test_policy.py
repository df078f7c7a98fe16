"""Measurements to a verdict."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from operator import attrgetter

import pytest
from fakes import candidate, timed
from hypothesis import given
from hypothesis import strategies as st

from autotune.policy import (
    PROMOTION_MARGIN,
    Candidate,
    Evidence,
    NoVerdict,
    Verdict,
    decide,
)
from kernels_bench.spec import Failed, Outcome, Timed, Wrong

SDPA, FLEX, ALPHA, BETA = map(candidate, ("torch_sdpa", "torch_flex", "alpha", "beta"))
ORDER = ("torch_sdpa", "torch_flex")
FAILED = Failed("crash", "killed by SIGSEGV")
WRONG = Wrong("values", 0.5, 0.01)


def on(workload: str, outcomes: Mapping[Candidate, Outcome | float]) -> tuple[Evidence, ...]:
    """Outcomes on a workload of a model with one layer; a number is a time."""
    return tuple(
        Evidence("full", 1, workload, who, timed(it) if isinstance(it, float | int) else it)
        for who, it in outcomes.items()
    )


def verdict_of(evidence: Sequence[Evidence], weights: Mapping[str, float] | None = None) -> Verdict:
    workloads = {item.workload for item in evidence}
    verdict = decide(evidence, weights or dict.fromkeys(workloads, 1.0), ORDER)
    assert isinstance(verdict, Verdict)
    return verdict


def test_a_clear_win_is_adopted() -> None:
    verdict = verdict_of(on("a", {SDPA: 100, FLEX: 80}))
    assert (verdict.winner.candidate, verdict.incumbent) == (FLEX, SDPA)
    assert verdict.winner.score == pytest.approx(0.8)
    assert verdict.speedup_vs_default == pytest.approx(1.25)
    assert not verdict.tie
    assert "torch_flex:plain costs 20.0%" in verdict.why
    assert "less than the default torch_sdpa:plain over 1 workload" in verdict.why


@pytest.mark.parametrize(("us", "winner"), [(97.9, FLEX), (98.1, SDPA), (100.0, SDPA)])
def test_the_margin_is_two_percent(us: float, winner: Candidate) -> None:
    quiet = {SDPA: timed(100.0, noise=1e-6), FLEX: timed(us, noise=1e-6)}
    assert verdict_of(on("a", quiet)).winner.candidate == winner


def test_noise_larger_than_the_gain_keeps_the_default() -> None:
    verdict = verdict_of(on("a", {SDPA: 100, FLEX: timed(95.0, noise=0.2)}))
    assert verdict.winner.candidate == SDPA
    assert "the default torch_sdpa:plain is kept: torch_flex:plain costs 5.0%" in verdict.why
    assert "promotion needs 2%" in verdict.why


def test_more_samples_make_the_same_spread_clear() -> None:
    noisy = timed(95.0, noise=0.1)
    few, many = replace(noisy, samples=5), replace(noisy, samples=500)
    assert verdict_of(on("a", {SDPA: 100, FLEX: few})).winner.candidate == SDPA
    assert verdict_of(on("a", {SDPA: 100, FLEX: many})).winner.candidate == FLEX


def test_a_default_that_is_fastest_says_so() -> None:
    verdict = verdict_of(on("a", {SDPA: 100, FLEX: 150, ALPHA: 120}))
    assert [r.candidate for r in verdict.ranking] == [SDPA, ALPHA, FLEX]
    assert verdict.speedup_vs_default == 1.0
    assert (
        verdict.why
        == "the default torch_sdpa:plain is the fastest over 1 workload; next is alpha:plain"
    )


def test_challengers_within_a_percent_go_by_the_default_s_order() -> None:
    verdict = verdict_of(on("a", {BETA: 80.0, ALPHA: 80.5, SDPA: 100, FLEX: 80.6}))
    assert verdict.winner.candidate == FLEX
    assert verdict.tie
    assert [r.candidate for r in verdict.ranking] == [FLEX, BETA, ALPHA, SDPA]


def test_challengers_further_apart_go_by_their_time() -> None:
    verdict = verdict_of(on("a", {SDPA: 100, FLEX: 90.0, ALPHA: 80.0}))
    assert verdict.winner.candidate == ALPHA
    assert not verdict.tie


@pytest.mark.parametrize("spoiled", [FAILED, WRONG, None])
def test_who_is_not_right_everywhere_is_out(spoiled: Outcome | None) -> None:
    second = {SDPA: 100.0, ALPHA: 99.0} | ({} if spoiled is None else {FLEX: spoiled})
    evidence = on("a", {SDPA: 100, FLEX: 10, ALPHA: 99}) + on("b", second)
    verdict = verdict_of(evidence)
    assert {r.candidate for r in verdict.ranking} == {SDPA, ALPHA}


def test_a_default_that_fails_makes_room_for_the_next_in_its_order() -> None:
    verdict = verdict_of(on("a", {SDPA: FAILED, FLEX: 100, ALPHA: 99.5}))
    assert verdict.incumbent == FLEX
    assert verdict.winner.candidate == FLEX


@pytest.mark.parametrize(
    ("spoiled", "did"),
    [
        ({SDPA: WRONG}, "was wrong on b"),
        ({SDPA: FAILED}, "failed on b"),
        ({}, "was not measured everywhere"),
    ],
)
def test_a_default_that_is_out_is_told(spoiled: Mapping[Candidate, Outcome], did: str) -> None:
    evidence = on("a", {SDPA: 100, FLEX: 90, ALPHA: 80}) + on("b", {FLEX: 90, ALPHA: 80} | spoiled)
    told = f"; torch_sdpa:plain, otherwise the default, {did}"
    assert verdict_of(evidence).why.endswith(
        f"less than the default torch_flex:plain over 2 workloads{told}"
    )
    alone = [item for item in evidence if item.candidate != ALPHA]
    assert verdict_of(alone).why.endswith(f"right and timed over 2 workloads{told}")


def test_a_wrong_answer_counts_more_than_a_failure() -> None:
    evidence = on("a", {SDPA: FAILED, FLEX: 90}) + on("b", {SDPA: WRONG, FLEX: 90})
    assert verdict_of(evidence).why.endswith("otherwise the default, was wrong on b")


def test_a_default_that_is_wrong_in_many_places_names_the_first() -> None:
    evidence = [item for name in "abcde" for item in on(name, {SDPA: WRONG, FLEX: 90})]
    assert verdict_of(evidence).why.endswith("the default, was wrong on a, b, c and 2 more")


def test_weights_decide_between_workloads() -> None:
    evidence = on("decode", {SDPA: 100, FLEX: 50}) + on("prefill", {SDPA: 100, FLEX: 150})
    assert verdict_of(evidence, {"decode": 9, "prefill": 1}).winner.candidate == FLEX
    assert verdict_of(evidence, {"decode": 1, "prefill": 9}).winner.candidate == SDPA
    weighed = verdict_of(evidence, {"decode": 3, "prefill": 1})
    assert weighed.winner.score == pytest.approx((3 * 0.5 + 1.5) / 4)


def test_a_workload_of_no_weight_still_has_to_be_right() -> None:
    evidence = on("a", {SDPA: 100, FLEX: 50, ALPHA: 40}) + on(
        "b", {SDPA: 1, FLEX: 99, ALPHA: WRONG}
    )
    verdict = verdict_of(evidence, {"a": 1})
    assert verdict.winner.candidate == FLEX
    assert verdict.winner.score == pytest.approx(0.5)


def test_kinds_of_layers_add_up_by_their_number() -> None:
    def layers(kind: str, number: int, times: Mapping[Candidate, float]) -> list[Evidence]:
        return [Evidence(kind, number, "a", who, timed(us)) for who, us in times.items()]

    # 1 full layer and 5 windows: 600 us against 200 + 5 * 60 us.
    evidence = layers("full", 1, {SDPA: 100, FLEX: 200}) + layers(
        "window", 5, {SDPA: 100, FLEX: 60}
    )
    assert verdict_of(evidence).winner.score == pytest.approx(500 / 600)
    assert verdict_of(evidence).why.endswith("over 1 workload")
    assert isinstance(decide(evidence[:1] + evidence[3:], {"a": 1.0}, ORDER), NoVerdict)


def test_a_plan_is_paid_once_a_step_and_not_once_a_layer() -> None:
    evidence = [
        Evidence("full", 10, "a", SDPA, timed(10.0, plan_us=0.0)),
        Evidence("full", 10, "a", FLEX, timed(5.0, plan_us=40.0)),
    ]
    assert verdict_of(evidence).winner.score == pytest.approx((10 * 5 + 40) / (10 * 10))


def test_one_candidate_alone() -> None:
    verdict = verdict_of(on("a", {FLEX: 100, BETA: FAILED}) + on("b", {FLEX: 100}))
    assert (verdict.winner.candidate, verdict.tie) == (FLEX, False)
    assert verdict.why == (
        "torch_flex:plain is the only candidate that was right and timed over 2 workloads"
    )


def test_nobody() -> None:
    verdict = decide(on("a", {SDPA: FAILED, FLEX: WRONG}), {"a": 1.0}, ORDER)
    assert verdict == NoVerdict("no candidate was right and timed on every workload measured")


def test_no_evidence() -> None:
    assert decide((), {"a": 1.0}, ORDER) == NoVerdict("nothing was measured")


def test_variants_of_the_default_stay_in_their_own_order() -> None:
    padded, single = candidate("torch_sdpa", "padded"), candidate("torch_sdpa", "single")
    evidence = on("a", {FLEX: 99.9, padded: 100, single: 99.5})
    assert verdict_of(evidence).incumbent == padded


TIMES = st.builds(
    timed,
    st.floats(0.1, 1e7),
    noise=st.floats(0, 1),
    plan_us=st.floats(0, 1e5),
)
OUTCOMES = st.one_of(TIMES, TIMES, TIMES, st.sampled_from([FAILED, WRONG]))
EVIDENCE = st.dictionaries(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from([SDPA, FLEX, ALPHA, BETA])),
    OUTCOMES,
    min_size=1,
).map(
    lambda found: tuple(
        Evidence("full", 3, workload, who, outcome) for (workload, who), outcome in found.items()
    )
)
WEIGHTS = st.fixed_dictionaries({name: st.integers(0, 9) for name in "abc"})


def scaled(item: Evidence, factor: float) -> Evidence:
    if not isinstance(item.outcome, Timed):
        return item
    outcome = item.outcome
    slower = replace(outcome, gpu_us=outcome.gpu_us * factor, plan_us=outcome.plan_us * factor)
    return replace(item, outcome=slower)


@given(EVIDENCE, WEIGHTS, st.sampled_from([0.25, 2.0, 1024.0]))
def test_a_machine_that_is_slower_throughout_decides_the_same(
    evidence: tuple[Evidence, ...], weights: dict[str, int], factor: float
) -> None:
    # A power of two: the arithmetic stays exact.
    slower = tuple(scaled(item, factor) for item in evidence)
    assert decide(slower, weights, ORDER) == decide(evidence, weights, ORDER)


@given(EVIDENCE, WEIGHTS)
def test_nobody_slower_replaces_the_default(
    evidence: tuple[Evidence, ...], weights: dict[str, int]
) -> None:
    match decide(evidence, weights, ORDER):
        case Verdict(winner=winner, incumbent=incumbent) if winner.candidate != incumbent:
            assert winner.score <= 1 - PROMOTION_MARGIN
            assert winner.score + winner.bound < 1
        case Verdict(winner=winner):
            assert winner.score == 1.0


@given(EVIDENCE, WEIGHTS)
def test_the_ranking_holds_everyone_legal_once_in_order(
    evidence: tuple[Evidence, ...], weights: dict[str, int]
) -> None:
    workloads = {item.workload for item in evidence}
    right = [
        (item.candidate, item.workload) for item in evidence if isinstance(item.outcome, Timed)
    ]
    legal = {who for who, _ in right if {w for c, w in right if c == who} == workloads}
    match decide(evidence, weights, ORDER):
        case Verdict(winner=winner, ranking=ranking):
            assert ranking[0] == winner
            assert {r.candidate for r in ranking} == legal
            assert len(ranking) == len(legal)
            rest = [r.score for r in ranking[1:]]
            assert rest == sorted(rest)
        case NoVerdict():
            assert not legal


@given(EVIDENCE, WEIGHTS, st.randoms(use_true_random=False))
def test_the_order_of_the_evidence_does_not_matter(
    evidence: tuple[Evidence, ...], weights: dict[str, int], chance: random.Random
) -> None:
    shuffled = list(evidence)
    chance.shuffle(shuffled)
    # By workload, as a plan gives it: sums of floats depend on their order.
    workload = attrgetter("workload")
    first = decide(sorted(evidence, key=workload), weights, ORDER)
    second = decide(sorted(shuffled, key=workload), weights, ORDER)
    assert first == second
