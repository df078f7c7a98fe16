"""Measurements to a verdict."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from fakes import candidate, timed
from hypothesis import given
from hypothesis import strategies as st

from autotune.costs import Evidence
from autotune.criteria import Criteria
from autotune.engines import Engine
from autotune.policy import NoVerdict, Terms, Verdict, decide
from autotune.ranking import Candidate
from kernels_bench.spec import Failed, Outcome, Phase, Timed, Wrong
from kernels_bench.standings import PROMOTION_MARGIN, REPLACE_MARGIN

SDPA, FLEX, ALPHA, BETA = map(candidate, ("torch_sdpa", "torch_flex", "alpha", "beta"))
ORDER = ("torch_sdpa", "torch_flex")
FAILED = Failed("crash", "killed by SIGSEGV")
WRONG = Wrong("values", 0.5, 0.01)


def item(
    workload: str, who: Candidate, outcome: Outcome, num_layers: int = 1, kind: str = "full"
) -> Evidence:
    """Of a phase that no engine splits."""
    return Evidence(kind, num_layers, workload, Phase.MIXED, who, outcome)


def on(workload: str, outcomes: Mapping[Candidate, Outcome | float]) -> tuple[Evidence, ...]:
    """Outcomes on a workload of a model with one layer; a number is a time."""
    return tuple(
        item(workload, who, timed(it) if isinstance(it, float | int) else it)
        for who, it in outcomes.items()
    )


def verdict_on(
    evidence: Sequence[Evidence], weights: Mapping[str, float], standing: Candidate | None = None
) -> Verdict | NoVerdict:
    return decide(evidence, Terms(weights, ORDER, standing=standing))


def verdict_of(
    evidence: Sequence[Evidence],
    weights: Mapping[str, float] | None = None,
    standing: Candidate | None = None,
) -> Verdict:
    workloads = {item.workload for item in evidence}
    verdict = verdict_on(evidence, weights or dict.fromkeys(workloads, 1.0), standing)
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


@pytest.mark.parametrize(
    ("outcome", "did"), [({SDPA: WRONG}, "was wrong on b"), ({}, "is known to be wrong here")]
)
def test_a_default_with_a_known_defect_is_left_for_whoever_stands_in_for_it(
    outcome: Mapping[Candidate, Outcome], did: str
) -> None:
    evidence = on("a", {SDPA: 100, FLEX: 100, ALPHA: 101}) + on("b", {FLEX: 90} | outcome)
    terms = Terms({"a": 1.0, "b": 1.0}, ORDER, defective=frozenset({SDPA.label}))
    verdict = decide(evidence, terms)
    assert isinstance(verdict, Verdict)
    assert (verdict.winner.candidate, verdict.spoiled) == (FLEX, SDPA.label)
    assert f"{SDPA.label}, otherwise the default, {did}" in verdict.why


def test_what_only_a_measurement_finds_wrong_stays_the_engine_s_default() -> None:
    evidence = on("a", {SDPA: WRONG, FLEX: 100})
    assert verdict_of(evidence).spoiled == ""


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
        return [item("a", who, timed(us), number, kind) for who, us in times.items()]

    # 1 full layer and 5 windows: 600 us against 200 + 5 * 60 us.
    evidence = layers("full", 1, {SDPA: 100, FLEX: 200}) + layers(
        "window", 5, {SDPA: 100, FLEX: 60}
    )
    assert verdict_of(evidence).winner.score == pytest.approx(500 / 600)
    assert verdict_of(evidence).why.endswith("over 1 workload")
    assert isinstance(verdict_on(evidence[:1] + evidence[3:], {"a": 1.0}), NoVerdict)


def test_a_plan_is_paid_once_a_step_and_not_once_a_layer() -> None:
    evidence = [
        item("a", SDPA, timed(10.0, plan_us=0.0), 10),
        item("a", FLEX, timed(5.0, plan_us=40.0), 10),
    ]
    assert verdict_of(evidence).winner.score == pytest.approx((10 * 5 + 40) / (10 * 10))


def test_one_candidate_alone() -> None:
    verdict = verdict_of(on("a", {FLEX: 100, BETA: FAILED}) + on("b", {FLEX: 100}))
    assert (verdict.winner.candidate, verdict.tie) == (FLEX, False)
    assert verdict.why == (
        "torch_flex:plain is the only candidate that was right and timed over 2 workloads"
    )


def test_nobody() -> None:
    verdict = verdict_on(on("a", {SDPA: FAILED, FLEX: WRONG}), {"a": 1.0})
    assert verdict == NoVerdict("no candidate was right and timed on every workload measured")


def test_no_evidence() -> None:
    assert verdict_on((), {"a": 1.0}) == NoVerdict("nothing was measured")


def test_variants_of_the_default_stay_in_their_own_order() -> None:
    padded, single = candidate("torch_sdpa", "padded"), candidate("torch_sdpa", "single")
    evidence = on("a", {FLEX: 99.9, padded: 100, single: 99.5})
    assert verdict_of(evidence).incumbent == padded


def test_an_eager_call_takes_as_long_as_the_slower_of_device_and_host() -> None:
    eager = {
        SDPA: replace(timed(50.0), call_us=10.0),
        FLEX: replace(timed(30.0), call_us=45.0),
        ALPHA: replace(timed(20.0), call_us=60.0),
    }
    verdict = verdict_of(on("a", eager))
    assert verdict.winner.candidate == FLEX
    scores = {r.candidate: r.score for r in verdict.ranking}
    assert scores == {SDPA: 1.0, FLEX: pytest.approx(0.9), ALPHA: pytest.approx(1.2)}


def test_a_graph_spares_the_host() -> None:
    def captured(gpu_us: float, call_us: float) -> Timed:
        return replace(timed(gpu_us), call_us=call_us, is_captured=True)

    verdict = verdict_of(on("a", {SDPA: captured(50.0, 10.0), FLEX: captured(30.0, 900.0)}))
    assert verdict.winner.candidate == FLEX
    assert verdict.winner.score == pytest.approx(0.6)


def test_whether_a_graph_holds_the_call_is_asked_workload_by_workload() -> None:
    slow_to_call = replace(timed(30.0), call_us=100.0)
    evidence = on("decode", {SDPA: 50, FLEX: replace(slow_to_call, is_captured=True)})
    evidence += on("prefill", {SDPA: 50, FLEX: slow_to_call})
    assert verdict_of(evidence).winner.candidate == SDPA
    assert verdict_of(evidence, {"decode": 1.0}).winner.score == pytest.approx(30 / 50)
    assert verdict_on(evidence, {"prefill": 1.0}) == verdict_on(
        on("decode", {SDPA: 50, FLEX: 100}) + on("prefill", {SDPA: 50, FLEX: 100}),
        {"prefill": 1.0},
    )


def test_a_host_that_dominates_is_as_noisy_as_the_device() -> None:
    quiet, noisy = (replace(timed(10.0, noise), call_us=95.0) for noise in (0.001, 0.2))
    assert verdict_of(on("a", {SDPA: 100, FLEX: quiet})).winner.candidate == FLEX
    assert verdict_of(on("a", {SDPA: 100, FLEX: noisy})).winner.candidate == SDPA


@pytest.mark.parametrize(("samples", "t_99"), [(5, 3.747), (8, 2.998), (15, 2.624)])
def test_the_bound_is_student_s(samples: int, t_99: float) -> None:
    few = replace(timed(80.0, noise=0.01), samples=samples)
    sampled = {SDPA: replace(timed(100.0), samples=samples), FLEX: few}
    expected = t_99 * 0.8 * 1.253 * 0.01 / samples**0.5
    assert verdict_of(on("a", sampled)).winner.bound == pytest.approx(expected, rel=1e-3)


def test_the_same_gain_is_clear_in_fifteen_rounds_and_not_in_five() -> None:
    def gain(samples: int) -> Candidate:
        times = {SDPA: timed(100.0, 0.02), FLEX: timed(97.7, 0.02)}
        sampled = {who: replace(time, samples=samples) for who, time in times.items()}
        return verdict_of(on("a", sampled)).winner.candidate

    assert (gain(5), gain(15)) == (SDPA, FLEX)


@pytest.mark.parametrize("samples", [1, 2])
def test_who_was_sent_home_delays_nobody_else(samples: int) -> None:
    home = replace(timed(130.0, noise=0.02), samples=samples)
    evidence = on("a", {SDPA: 100, FLEX: 90, ALPHA: home}) + on(
        "b", {SDPA: 100, FLEX: 90, ALPHA: 85}
    )
    with_it = verdict_of(evidence)
    without = verdict_of([item for item in evidence if item.candidate != ALPHA])
    assert with_it.winner == without.winner
    assert with_it.winner.candidate == FLEX
    assert verdict_of(evidence, standing=ALPHA).winner == without.winner


@pytest.mark.parametrize("samples", [1, 2])
def test_who_was_sent_home_once_may_still_win_where_it_counts(samples: int) -> None:
    home = replace(timed(130.0, noise=0.02), samples=samples)
    evidence = on("a", {SDPA: 100, FLEX: home}) + on("b", {SDPA: 100, FLEX: 50})
    verdict = verdict_of(evidence, {"a": 1, "b": 9})
    assert verdict.winner.candidate == FLEX
    raced = on("a", {SDPA: 100, FLEX: 130}) + on("b", {SDPA: 100, FLEX: 50})
    assert verdict.winner.bound > verdict_of(raced, {"a": 1, "b": 9}).winner.bound


def test_a_default_with_few_samples_makes_everybody_s_ratio_uncertain() -> None:
    home = replace(timed(100.0, noise=0.04), samples=2)
    assert verdict_of(on("a", {SDPA: timed(100.0), FLEX: 93})).winner.candidate == FLEX
    assert verdict_of(on("a", {SDPA: home, FLEX: 93})).winner.candidate == SDPA


def quiet(times_us: Mapping[Candidate, float]) -> tuple[Evidence, ...]:
    return on("a", {who: timed(us, noise=1e-6) for who, us in times_us.items()})


@pytest.mark.parametrize(("us", "winner"), [(77.7, FLEX), (77.5, ALPHA), (90.0, FLEX)])
def test_a_stored_winner_yields_to_three_percent(us: float, winner: Candidate) -> None:
    verdict = verdict_of(quiet({SDPA: 100, FLEX: 80, ALPHA: us}), standing=FLEX)
    assert verdict.winner.candidate == winner


def test_a_kept_winner_says_who_was_better_and_by_how_much() -> None:
    verdict = verdict_of(quiet({SDPA: 100, FLEX: 80, ALPHA: 78}), standing=FLEX)
    assert verdict.why == (
        "kept: torch_flex:plain, the stored winner; alpha:plain costs 2.5% (±0.0%) less"
        " over 1 workload, replacing it needs 3% and a clear 99 % bound"
    )
    assert [r.candidate for r in verdict.ranking] == [FLEX, ALPHA, SDPA]
    assert verdict.speedup_vs_default == pytest.approx(1.25)


def test_noise_larger_than_the_gain_keeps_the_stored_winner() -> None:
    noisy = {who: timed(us, noise=0.05) for who, us in {SDPA: 100, FLEX: 80, ALPHA: 77}.items()}
    verdict = verdict_of(on("a", noisy), standing=FLEX)
    assert verdict.winner.candidate == FLEX
    assert verdict.why.startswith(
        "kept: torch_flex:plain, the stored winner; alpha:plain costs 3.7%"
    )


def test_a_stored_winner_that_wins_again_needs_no_hysteresis() -> None:
    evidence = quiet({SDPA: 100, FLEX: 80, ALPHA: 90})
    assert verdict_of(evidence, standing=FLEX) == verdict_of(evidence)


def test_a_stored_winner_no_longer_clear_of_the_default_is_kept() -> None:
    verdict = verdict_of(on("a", {SDPA: 100, FLEX: 100.4}), standing=FLEX)
    assert verdict.winner.candidate == FLEX
    assert verdict.incumbent == SDPA
    assert verdict.speedup_vs_default < 1
    assert verdict.why.startswith(
        "kept: torch_flex:plain, the stored winner, costs 0.4% (±0.9%) more"
    )
    assert "than the default torch_sdpa:plain over 1 workload" in verdict.why


def test_a_stored_winner_slower_than_the_default_beyond_noise_goes_without_a_margin() -> None:
    evidence = on("a", {SDPA: 100, FLEX: 101.5})
    verdict = verdict_of(evidence, standing=FLEX)
    assert verdict.winner.candidate == SDPA
    assert verdict == verdict_of(evidence)
    faster = verdict_of(on("a", {SDPA: 100, FLEX: 101.5, ALPHA: 80}), standing=FLEX)
    assert faster.winner.candidate == ALPHA


def test_a_default_that_won_before_yields_to_three_percent_too() -> None:
    evidence = quiet({SDPA: 100, FLEX: 97.5})
    assert verdict_of(evidence).winner.candidate == FLEX
    kept = verdict_of(evidence, standing=SDPA)
    assert kept.winner.candidate == SDPA
    assert kept.why.startswith("kept: torch_sdpa:plain, the stored winner; torch_flex:plain costs")
    assert verdict_of(quiet({SDPA: 100, FLEX: 96.5}), standing=SDPA).winner.candidate == FLEX


@pytest.mark.parametrize("spoiled", [FAILED, WRONG, None])
def test_a_stored_winner_that_is_out_has_no_say(spoiled: Outcome | None) -> None:
    second = {SDPA: 100.0, ALPHA: 79.0} | ({} if spoiled is None else {FLEX: spoiled})
    evidence = on("a", {SDPA: 100, FLEX: 80, ALPHA: 79}) + on("b", second)
    assert verdict_of(evidence, standing=FLEX) == verdict_of(evidence)
    assert verdict_of(evidence, standing=FLEX).winner.candidate == ALPHA


def test_replacements_within_a_percent_go_by_the_default_s_order() -> None:
    times = {SDPA: 100.0, FLEX: 70.5, ALPHA: 70.3, BETA: 80.0}
    assert verdict_of(quiet(times), standing=BETA).winner.candidate == FLEX
    # FLEX is within a percent of ALPHA, but not three below BETA.
    times = {SDPA: 100.0, FLEX: 78.0, ALPHA: 77.5, BETA: 80.0}
    replaced = verdict_of(quiet(times), standing=BETA)
    assert replaced.winner.candidate == ALPHA
    assert replaced.why.startswith("alpha:plain costs 22.5%")


@pytest.mark.parametrize(
    ("waiting", "told"),
    [
        ((FLEX,), "; planning torch_flex:plain waits for the device"),
        ((SDPA,), "; planning torch_sdpa:plain waits for the device"),
        ((SDPA, FLEX), "; planning torch_flex:plain and torch_sdpa:plain waits for the device"),
    ],
)
def test_a_plan_that_waits_is_told_of_the_winner_and_the_default(
    waiting: tuple[Candidate, ...], told: str
) -> None:
    times = {
        who: replace(timed(us), plan_waits=who in waiting)
        for who, us in {SDPA: 100, FLEX: 80, ALPHA: 90}.items()
    }
    verdict = verdict_of(on("a", times))
    assert verdict.why.endswith(f"{told}, what that drains is in no cost")
    assert verdict.winner.score == pytest.approx(0.8)


def test_a_plan_that_waits_is_not_told_of_others() -> None:
    others = on("a", {SDPA: 100, FLEX: 80, ALPHA: replace(timed(90.0), plan_waits=True)})
    assert verdict_of(others).why == verdict_of(on("a", {SDPA: 100, FLEX: 80, ALPHA: 90})).why


def time_taken(
    gpu_us: float, host_ratio: float, plan_us: float, noise: float, samples: int, is_captured: bool
) -> Timed:
    call_us = gpu_us * host_ratio
    return Timed(gpu_us, call_us, plan_us, noise, samples, 0.5, is_captured=is_captured)


TIMES = st.builds(
    time_taken,
    st.floats(0.1, 1e7),
    st.floats(0.1, 10),
    st.floats(0, 1e5),
    st.floats(0, 1),
    st.integers(1, 40),
    st.booleans(),
)
OUTCOMES = st.one_of(TIMES, TIMES, TIMES, st.sampled_from([FAILED, WRONG]))
EVIDENCE = st.dictionaries(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from([SDPA, FLEX, ALPHA, BETA])),
    OUTCOMES,
    min_size=1,
).map(
    lambda found: tuple(
        item(workload, who, outcome, 3) for (workload, who), outcome in found.items()
    )
)
WEIGHTS = st.fixed_dictionaries({name: st.integers(0, 9) for name in "abc"})


def scaled(item: Evidence, factor: float) -> Evidence:
    if not isinstance(item.outcome, Timed):
        return item
    outcome = item.outcome
    slower = replace(
        outcome,
        gpu_us=outcome.gpu_us * factor,
        call_us=outcome.call_us * factor,
        plan_us=outcome.plan_us * factor,
    )
    return replace(item, outcome=slower)


@given(EVIDENCE, WEIGHTS, st.sampled_from([0.25, 2.0, 1024.0]))
def test_a_machine_that_is_slower_throughout_decides_the_same(
    evidence: tuple[Evidence, ...], weights: dict[str, int], factor: float
) -> None:
    # A power of two: the arithmetic stays exact.
    slower = tuple(scaled(item, factor) for item in evidence)
    assert verdict_on(slower, weights) == verdict_on(evidence, weights)


@given(EVIDENCE, WEIGHTS)
def test_nobody_slower_replaces_the_default(
    evidence: tuple[Evidence, ...], weights: dict[str, int]
) -> None:
    match verdict_on(evidence, weights):
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
    match verdict_on(evidence, weights):
        case Verdict(winner=winner, ranking=ranking):
            assert ranking[0] == winner
            assert {r.candidate for r in ranking} == legal
            assert len(ranking) == len(legal)
            rest = [r.score for r in ranking[1:]]
            assert rest == sorted(rest)
        case NoVerdict():
            assert not legal or not any(weights[workload] for workload in workloads)


@given(EVIDENCE, WEIGHTS, st.randoms(use_true_random=False))
def test_the_order_of_the_evidence_does_not_matter(
    evidence: tuple[Evidence, ...], weights: dict[str, int], chance: random.Random
) -> None:
    shuffled = list(evidence)
    chance.shuffle(shuffled)
    assert verdict_on(shuffled, weights) == verdict_on(evidence, weights)


STANDING = st.sampled_from([SDPA, FLEX, ALPHA, BETA])


@given(EVIDENCE, WEIGHTS, STANDING)
def test_a_stored_winner_is_replaced_only_for_a_reason(
    evidence: tuple[Evidence, ...], weights: dict[str, int], standing: Candidate
) -> None:
    match verdict_on(evidence, weights, standing):
        case Verdict(winner=winner, ranking=ranking, incumbent=incumbent):
            held = next((r for r in ranking if r.candidate == standing), None)
            if held is None:
                assert verdict_on(evidence, weights, standing) == verdict_on(evidence, weights)
            elif (
                held is not winner
                and held.score - held.bound <= 1
                and not held.regresses(Criteria())
            ):
                assert winner.candidate != incumbent
                assert winner.score <= held.score * (1 - REPLACE_MARGIN)
        case NoVerdict():
            assert isinstance(verdict_on(evidence, weights), NoVerdict)


@given(EVIDENCE, WEIGHTS, st.none() | STANDING)
def test_a_winner_stands_in_the_next_run(
    evidence: tuple[Evidence, ...], weights: dict[str, int], standing: Candidate | None
) -> None:
    match verdict_on(evidence, weights, standing):
        case Verdict(winner=winner):
            again = verdict_on(evidence, weights, winner.candidate)
            assert isinstance(again, Verdict)
            assert again.winner == winner
        case NoVerdict():
            pass


def test_nobody_is_taken_who_is_far_worse_where_it_weighs() -> None:
    evidence = on("a", {SDPA: 100, FLEX: 20, ALPHA: 95}) + on(
        "b", {SDPA: 100, FLEX: 151, ALPHA: 95}
    )
    verdict = verdict_of(evidence)
    assert verdict.winner.candidate == ALPHA
    alone = [each for each in evidence if each.candidate != ALPHA]
    kept = verdict_of(alone)
    assert (kept.winner.candidate, kept.ground) == (SDPA, "regression")
    assert kept.why.startswith("the default torch_sdpa:plain is kept: torch_flex:plain costs 14.5%")
    assert kept.why.endswith("but 1.51x the default's on b; 1.5x is allowed")
    assert [r.candidate for r in kept.ranking] == [SDPA, FLEX]
    # On what hardly weighs it may be slow.
    assert verdict_of(alone, {"a": 1, "b": 0.02}).winner.candidate == FLEX


@pytest.mark.parametrize(
    ("burden", "told"),
    [
        ({"compile_s": 61.0}, "torch_flex:plain, which takes 61 s to compile"),
        ({"workspace_bytes": 512 << 20}, "torch_flex:plain, which takes 512 MiB beside the KV"),
    ],
)
def test_of_equals_the_one_whose_start_costs_less(burden: Mapping[str, float], told: str) -> None:
    heavy = replace(timed(80.0), **burden)
    verdict = verdict_of(on("a", {SDPA: 100, FLEX: heavy, ALPHA: 80.4}))
    assert (verdict.winner.candidate, verdict.ground) == (ALPHA, "tie_broken")
    assert f"a tie with {told}" in verdict.why
    # Not where it is no tie.
    assert verdict_of(on("a", {SDPA: 100, FLEX: heavy, ALPHA: 90})).winner.candidate == FLEX


def test_regret_is_what_the_best_of_each_workload_would_save() -> None:
    evidence = on("a", {SDPA: 100, FLEX: 50}) + on("b", {SDPA: 100, FLEX: 120, ALPHA: 80})
    verdict = verdict_of(evidence, {"a": 3, "b": 1})
    assert verdict.winner.candidate == FLEX
    # Who was not timed everywhere is no winner, and still the best where it was.
    assert verdict.regret == pytest.approx((3 * 0.5 + 1.2) / (3 * 0.5 + 0.8) - 1)


@pytest.mark.parametrize(
    ("times", "ground"),
    [
        ({SDPA: 100, FLEX: 80}, "margin"),
        ({SDPA: 100, FLEX: 120}, "default_is_fastest"),
        ({SDPA: 100, FLEX: 99}, "margin_not_met"),
        ({SDPA: 100}, "only_candidate"),
        ({SDPA: 100, FLEX: 80.4, ALPHA: 80}, "tie_broken"),
    ],
)
def test_a_verdict_says_what_decided(times: Mapping[Candidate, float], ground: str) -> None:
    assert verdict_of(on("a", times)).ground == ground


@pytest.mark.parametrize(("unmeasured", "winner"), [(0.5, FLEX), (0.6, SDPA)])
def test_the_default_is_left_for_nobody_where_most_of_the_profile_was_not_measured(
    unmeasured: float, winner: Candidate
) -> None:
    """An H200's stored decodes of 256 requests decided for one request, by a prompt's 5 %."""
    terms = Terms({"a": 1.0}, ORDER, uncovered={"b": unmeasured})
    found = decide(on("a", {SDPA: 100, FLEX: 50}), terms)
    assert isinstance(found, Verdict)
    assert found.winner.candidate == winner
    if winner == SDPA:
        assert found.ground == "margin_not_met"
        assert "only 40% of the profile's weight was measured, 50% is needed" in found.why


def test_a_stored_winner_stays_where_most_of_the_profile_was_not_measured() -> None:
    terms = Terms({"a": 1.0}, ORDER, uncovered={"b": 0.9}, standing=FLEX)
    found = decide(on("a", {SDPA: 100, FLEX: 50, ALPHA: 40}), terms)
    assert isinstance(found, Verdict)
    assert found.winner.candidate == FLEX


def test_a_stored_winner_that_is_kept_says_so() -> None:
    assert verdict_of(on("a", {SDPA: 100, FLEX: 80, ALPHA: 79}), standing=FLEX).ground != "margin"
    kept = verdict_of(on("a", {SDPA: 100, FLEX: 80, ALPHA: 78.5}), standing=FLEX)
    assert (kept.winner.candidate, kept.ground) == (FLEX, "stored_winner_kept")


def test_other_criteria() -> None:
    evidence = on("a", {SDPA: 100, FLEX: 90})
    lenient = Terms({"a": 1.0}, ORDER)
    strict = Terms({"a": 1.0}, ORDER, criteria=Criteria(promotion=0.2))
    assert isinstance(found := decide(evidence, lenient), Verdict)
    assert found.winner.candidate == FLEX
    assert isinstance(kept := decide(evidence, strict), Verdict)
    assert kept.winner.candidate == SDPA
    assert "promotion needs 20%" in kept.why


@pytest.mark.parametrize(
    ("layer_us", "waits", "winner"),
    [
        (5_000.0, False, FLEX),
        # The device may have to wait for the host.
        (3_900.0, False, SDPA),
        (5_000.0, True, SDPA),
    ],
)
def test_an_engine_that_plans_ahead_hides_the_plan_of_a_long_step(
    layer_us: float, waits: bool, winner: Candidate
) -> None:
    own = replace(timed(layer_us, plan_us=layer_us), plan_waits=waits)
    evidence = on("a", {SDPA: layer_us / 0.9, FLEX: own})
    for engine, chosen in ((Engine("e", plans_ahead=True), winner), (Engine("e"), SDPA)):
        found = decide(evidence, Terms({"a": 1.0}, ORDER, engine))
        assert isinstance(found, Verdict)
        assert found.winner.candidate == chosen


def test_all_kinds_of_layers_make_a_long_step() -> None:
    own = timed(2_500.0, plan_us=2_000.0)
    one = on("a", {SDPA: 3_000.0, FLEX: own})
    both = [replace(item, kind=kind) for kind in ("full", "window") for item in one]
    for evidence, winner in ((one, SDPA), (both, FLEX)):
        found = decide(evidence, Terms({"a": 1.0}, ORDER, Engine("e", plans_ahead=True)))
        assert isinstance(found, Verdict)
        assert found.winner.candidate == winner


def test_no_share_of_a_plan_is_paid_where_none_is_asked_for() -> None:
    evidence = on("a", {SDPA: 100, FLEX: timed(80.0, plan_us=50.0)})
    ahead = Terms({"a": 1.0}, ORDER, criteria=Criteria(plan_share=0.0))
    assert verdict_of(evidence).winner.candidate == SDPA
    assert isinstance(found := decide(evidence, ahead), Verdict)
    assert found.winner.candidate == FLEX
