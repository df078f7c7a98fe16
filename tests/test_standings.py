"""What rounds say, by hand; and Student's t against its table."""

from __future__ import annotations

import math
import random
from statistics import NormalDist, fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels_bench.standings import (
    LEAST_NOISE,
    Kept,
    Promoted,
    Round,
    Undecided,
    bounds,
    log_ratio,
    noise_of,
    standing,
    t_quantile,
)

LOOKS = 11


def rounds_of(*times_us: float, rounds: int = 15) -> list[Round]:
    """Without noise: bounds are those of the least noise."""
    return [dict(enumerate(times_us))] * rounds


def noisy(seed: int, rounds: int, *noises: float) -> list[Round]:
    """Equal contestants."""
    draw = random.Random(seed)
    return [
        {index: math.exp(draw.gauss(0.0, noise)) for index, noise in enumerate(noises)}
        for _ in range(rounds)
    ]


def judge(rounds: list[Round], is_last: bool = False) -> object:
    return standing(rounds, sorted(rounds[-1]), LOOKS, is_last)


# Table of Student's t, one-sided (for example NIST/SEMATECH e-Handbook, 1.3.6.7.2).
@pytest.mark.parametrize(
    ("probability", "degrees", "t"),
    [
        (0.95, 1, 6.314), (0.95, 7, 1.895), (0.90, 3, 1.638), (0.975, 5, 2.571),
        (0.99, 1, 31.821), (0.99, 2, 6.965), (0.99, 4, 3.747), (0.99, 10, 2.764),
        (0.99, 30, 2.457), (0.99, 100, 2.364), (0.999, 2, 22.327), (0.999, 10, 4.144),
        (0.999, 60, 3.232),
    ],
)  # fmt: skip
def test_student_s_t_is_that_of_the_table(probability: float, degrees: int, t: float) -> None:
    assert t_quantile(probability, degrees) == pytest.approx(t, abs=1e-3)


@pytest.mark.parametrize("probability", [0.6, 0.9, 0.999])
def test_with_one_degree_it_is_cauchy_s_and_with_many_the_normal_s(probability: float) -> None:
    assert t_quantile(probability, 1) == pytest.approx(math.tan(math.pi * (probability - 0.5)))
    normal = NormalDist().inv_cdf(probability)
    assert t_quantile(probability, 1e6) == pytest.approx(normal, abs=1e-4)


@given(st.floats(0.51, 0.9999), st.floats(1.0, 200.0))
def test_it_falls_with_degrees_and_never_below_the_normal_s(
    probability: float, degrees: float
) -> None:
    few, more = t_quantile(probability, degrees), t_quantile(probability, 2 * degrees)
    assert few > more > NormalDist().inv_cdf(probability)


def test_the_middle_of_it_is_zero() -> None:
    assert t_quantile(0.5, 3) == pytest.approx(0.0, abs=1e-8)


@pytest.mark.parametrize("probability", [0.49, 1.0])
def test_what_it_cannot_answer_is_refused(probability: float) -> None:
    with pytest.raises(ValueError, match="and below 1"):
        t_quantile(probability, 3)


@pytest.mark.parametrize(
    ("times_us", "said"),
    [
        ((100.0, 90.0), Promoted(1)),
        ((100.0, 97.99), Promoted(1)),
        ((100.0, 98.01), Undecided((0, 1))),
        ((100.0, 98.1, 97.5), Promoted(2)),  # 98.1 is close, but not 2 % ahead by itself
        ((100.0, 90.5, 110.0, 90.0), Promoted(1)),  # within 1 %: the default's order
        ((100.0, 91.5, 90.0), Promoted(2)),  # 1.7 %: another class
        ((100.0, 100.0), Kept("no challenger can be 2 % faster")),
        ((100.0, 130.0, 101.0), Kept("no challenger can be 2 % faster")),
        ((100.0, 99.9, 98.2), Undecided((0, 2))),
        ((100.0,), Kept("there is no challenger")),
    ],
)
def test_quiet_rounds_are_judged_by_the_margins(times_us: tuple[float, ...], said: object) -> None:
    assert judge(rounds_of(*times_us)) == said


def test_the_incumbent_is_never_sent_home() -> None:
    scale = (2.0, 1.0, 0.99)
    rounds = [{i: us * scale[i] for i, us in times.items()} for times in noisy(2, 5, *(0.02,) * 3)]
    assert judge(rounds) == Undecided((0, 1, 2))


def noisy_win(noise: float) -> list[Round]:
    """Number 2 takes 4 % less; number 3 is far behind."""
    scale = {0: 1.0, 1: 1.0, 2: 0.96, 3: 1.5}
    return [
        {index: us * scale[index] for index, us in times.items()}
        for times in noisy(7, 5, *(noise,) * 4)
    ]


def test_what_is_within_the_noise_waits_and_who_is_far_behind_leaves() -> None:
    assert judge(noisy_win(0.02)) == Undecided((0, 1, 2))


def test_the_last_round_keeps_the_default_where_the_bound_is_not_clear() -> None:
    assert judge(noisy_win(0.02), is_last=True) == Kept(
        "nobody is 2 % faster beyond the noise: ambiguous"
    )


def test_the_last_round_promotes_though_a_rival_could_be_better() -> None:
    """Both are clear of the default; which of them is better is not known, and costs little."""
    rounds = [
        {index: us * (1.0, 0.90, 0.89)[index] for index, us in times.items()}
        for times in noisy(2, 5, 0.01, 0.01, 0.01)
    ]
    assert isinstance(judge(rounds), Undecided)
    assert isinstance(judge(rounds, is_last=True), Promoted)


def test_one_round_decides_nothing() -> None:
    assert judge(rounds_of(100.0, 10.0, rounds=1)) == Undecided((0, 1))
    assert isinstance(judge(rounds_of(100.0, 10.0, rounds=1), is_last=True), Kept)


def test_ratios_are_medians_over_the_rounds_of_both() -> None:
    rounds = [{0: 100.0, 1: 50.0}, {0: 110.0, 1: 60.0}, {0: 90.0, 1: 45.0}, {0: 1.0}]
    assert log_ratio(rounds, 1, 0) == pytest.approx(math.log(0.5))
    assert log_ratio(rounds, 0, 1) == pytest.approx(-math.log(0.5))


def test_noise_by_hand() -> None:
    rounds = [{0: 100.0, 1: 100.0}, {0: 100.0, 1: 101.0}, {0: 100.0, 1: 99.0}]
    # distances from the middle of three: 0, ln 1.01, -ln 0.99; short by 3 / 1.8
    assert noise_of(rounds).pooled == pytest.approx(1.4826 * math.log(1.01) * 3 / 1.8)


@pytest.mark.parametrize("contestants", [2, 3, 6])
@pytest.mark.parametrize("rounds", [5, 8, 15, 40])
def test_noise_is_that_of_a_ratio(contestants: int, rounds: int) -> None:
    noises = [noise_of(noisy(seed, rounds, *[0.02] * contestants)).pooled for seed in range(300)]
    assert fmean(noises) == pytest.approx(0.02 * math.sqrt(2), rel=0.1)


@given(drift=st.lists(st.floats(0.1, 10.0), min_size=5, max_size=5))
def test_what_hits_all_of_a_round_is_no_noise(drift: list[float]) -> None:
    rounds = [{0: 100.0 * factor, 1: 90.0 * factor, 2: 80.0 * factor} for factor in drift]
    assert noise_of(rounds).pooled == pytest.approx(LEAST_NOISE)


def test_the_noise_of_one_alone_is_that_of_its_times() -> None:
    rounds = [{0: 100.0}, {0: 101.0}, {0: 99.0}]
    spread = 1.4826 * math.log(1.01) * 3 / 1.8
    assert noise_of(rounds).of(0) == pytest.approx(math.sqrt(2) * spread)


def test_who_left_early_still_tells_of_the_noise() -> None:
    rounds = noisy(4, 8, 0.02, 0.02, 0.02)
    shorter = [*rounds[:5], *({0: times[0], 1: times[1]} for times in rounds[5:])]
    assert noise_of(shorter).pooled != noise_of([{0: t[0], 1: t[1]} for t in rounds]).pooled
    assert set(noise_of(shorter).own) == {0, 1, 2}


def test_who_is_noisier_than_the_others_has_a_wider_bound() -> None:
    widths = bounds(noisy(5, 15, 0.01, 0.01, 0.01, 0.01, 0.05), range(5), LOOKS)
    assert widths[4] > 1.5 * max(widths[index] for index in range(4))


def test_bounds_narrow_with_rounds_and_widen_with_looks() -> None:
    few, many = rounds_of(1.0, 1.0, rounds=5), rounds_of(1.0, 1.0, rounds=15)
    assert bounds(many, (0, 1), LOOKS)[1] < bounds(few, (0, 1), LOOKS)[1]
    assert bounds(few, (0, 1), 36)[1] > bounds(few, (0, 1), LOOKS)[1]
