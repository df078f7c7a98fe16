"""The verdict over two sides' runs."""

from __future__ import annotations

import math

import pytest
from engine_samples import LOAD, run, scores, side

from autotune.confirmation import MOST_DRIFT, Comparison, compare
from autotune.engine_messages import EngineRun

STEADY = run(100.0, 100.1, 99.9, 100.0, 100.0)


def against(*winner: EngineRun) -> Comparison:
    return compare(side("plain", STEADY, STEADY), side("swift", *winner), [LOAD])


def times(factor: float) -> EngineRun:
    return run(*(sample.tokens_per_s * factor for sample in STEADY.samples))


@pytest.mark.parametrize(
    ("factor", "verdict"),
    [(1.05, "confirmed"), (1.0, "confirmed"), (0.995, "confirmed"), (0.95, "revoked")],
)
def test_a_clear_loss_revokes(factor: float, verdict: str) -> None:
    found = against(times(factor), times(factor))
    assert found.verdict == verdict
    (speedup,) = found.speedups
    assert speedup is not None
    assert speedup.ratio == pytest.approx(factor, rel=1e-3)
    assert f"{abs(factor - 1):.1%}" in found.why


def test_a_loss_within_the_noise_is_no_verdict() -> None:
    found = against(times(0.9), times(1.05))
    assert found.verdict == "unconfirmed"
    assert "noise" in found.why


def test_a_gain_that_noise_may_have_made_is_no_verdict() -> None:
    found = against(times(0.8), times(1.3))
    assert found.verdict == "unconfirmed"
    assert "noise" in found.why


def test_one_process_knows_less_than_two() -> None:
    one, two = against(times(1.0)), against(times(1.0), times(1.0))
    assert one.speedups[0] is not None
    assert two.speedups[0] is not None
    assert one.speedups[0].bound > two.speedups[0].bound > 0.005


def test_other_numbers_revoke_however_fast_they_come() -> None:
    fast = run(500.0, 500.0, told=scores(shift=4 * MOST_DRIFT + 2.0))
    found = against(fast)
    assert found.verdict == "revoked"
    assert "log-probabilities" in found.why


def test_nan_is_another_number() -> None:
    assert against(run(500.0, 500.0, told=scores(shift=math.nan))).verdict == "revoked"


def test_drift_ends_where_the_answers_part() -> None:
    drift = against(run(100.0, told=scores(shift=0.4, last=5))).drift
    assert drift is not None
    # four of the prompts, two of the first answer and one of the second
    assert drift.mean == pytest.approx(0.4 / 7)
    assert drift.largest == pytest.approx(0.4)
    assert drift.top1_agreement == 1.0


def test_the_default_may_differ_from_itself() -> None:
    other = run(100.0, told=scores(shift=0.07))
    found = compare(side("plain", STEADY, other), side("swift", STEADY), [LOAD])
    assert found.drift is not None
    assert found.drift_floor is not None
    assert (found.drift.mean, found.drift_floor.mean) == (0.0, pytest.approx(0.07 / 8))


@pytest.mark.parametrize("is_winner_s", [True, False])
def test_a_run_that_broke_leaves_it_unconfirmed(is_winner_s: bool) -> None:
    broken = EngineRun(failure="MemoryError: no room")
    sides = (STEADY, broken) if is_winner_s else (broken, STEADY)
    found = compare(side("plain", sides[0]), side("swift", sides[1]), [LOAD])
    assert found.verdict == "unconfirmed"
    assert "MemoryError: no room" in found.why
    assert found.speedups == (None,)


def test_a_winner_that_was_never_started_is_unconfirmed() -> None:
    assert compare(side("plain", STEADY), side("swift"), [LOAD]).verdict == "unconfirmed"


def test_cold_and_warm_starts_are_told_apart() -> None:
    runs = (run(1.0, start_s=60.0), run(1.0, start_s=20.0))
    assert side("a", *runs).cold_start_s is None
    assert side("a", *runs).warm_start_s == 20.0
    cold = side("a", *runs, is_first_cold=True)
    assert (cold.cold_start_s, cold.warm_start_s) == (60.0, 20.0)
    assert side("a", runs[0], is_first_cold=True).warm_start_s is None
