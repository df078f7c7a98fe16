"""Who runs when, and what is made of the times: a clock that is told what it shows."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels_bench.host_clock import HostClock, wall_us
from kernels_bench.race import (
    Contestant,
    ContestantError,
    OnTurn,
    Result,
    Rules,
    race,
    summarise,
    turn_order,
)

QUICK = Rules(min_rounds=4, max_rounds=4, block_us=1.0, max_calls=8, seconds=60.0)


@dataclass
class FakeLaunch:
    """Notes what was asked of it."""

    name: str
    log: list[str]
    us: float = 100.0
    fails_at: str = ""
    """The note at which it raises: "plan" or "run"."""
    runs_before_failing: int = 0

    def plan(self) -> None:
        self._note("plan")

    def run(self) -> None:
        self._note("run")

    def _note(self, what: str) -> None:
        self.log.append(f"{self.name} {what}")
        if what == self.fails_at:
            if self.runs_before_failing == 0:
                raise RuntimeError(f"{self.name} cannot {what}")
            self.runs_before_failing -= 1


@dataclass
class FakeClock:
    """Runs the calls and shows what their launches say; every block is noted by its size."""

    drift: Callable[[int], float] = lambda _: 1.0
    """Block number -> factor."""
    blocks: list[int] = field(default_factory=list)

    def __call__(self, calls: Sequence[Callable[[], None]]) -> float:
        for call in calls:
            call()
        launches = [call.__self__ for call in calls]  # type: ignore[attr-defined]
        self.blocks.append(len(calls))
        mean_us = sum(launch.us for launch in launches) / len(launches)
        return mean_us * self.drift(len(self.blocks))


def run_race(
    contestants: Sequence[Contestant],
    block_us: FakeClock,
    rules: Rules,
    on_turn: OnTurn = lambda _: None,
) -> tuple[Result, ...]:
    clock = HostClock(block_us)
    timers = [clock.ready(each, rules) for each in contestants]
    return race(timers, clock, rules, on_turn)


def bound(*launches: FakeLaunch) -> Contestant:
    return Contestant(launches, batches=(), captured=False)


def contestant(name: str, log: list[str], us: float = 100.0, page_sets: int = 1) -> Contestant:
    return bound(*(FakeLaunch(f"{name}{i}", log, us) for i in range(page_sets)))


@pytest.mark.parametrize("count", range(1, 8))
def test_everybody_runs_once_a_round(count: int) -> None:
    for round_number in range(3 * count):
        assert sorted(turn_order(count, round_number)) == list(range(count))


@pytest.mark.parametrize("count", range(2, 8))
def test_everybody_stands_equally_often_at_every_place(count: int) -> None:
    orders = [turn_order(count, round_number) for round_number in range(2 * count)]
    for place in range(count):
        assert Counter(order[place] for order in orders) == dict.fromkeys(range(count), 2)


@pytest.mark.parametrize("count", range(2, 8))
def test_everybody_follows_a_neighbour_as_often_as_they_lead(count: int) -> None:
    followed = Counter(
        pair
        for round_number in range(2 * count)
        for order in [turn_order(count, round_number)]
        for pair in itertools.pairwise(order)
    )
    for (one, other), times in followed.items():
        assert followed[other, one] == times


def test_medians_ratios_and_spread_by_hand() -> None:
    rounds = [[100.0, 50.0], [110.0, 60.0], [90.0, 45.0]]
    incumbent, challenger = summarise(rounds, [(4.0, 5.0), (6.0, 7.0)])
    assert incumbent.run_us == pytest.approx(100.0)
    assert challenger.run_us == pytest.approx(50.0)
    assert (incumbent.plan_us, challenger.plan_us) == (5.0, 7.0)
    assert (incumbent.call_us, challenger.call_us) == (4.0, 6.0)
    assert (incumbent.samples, challenger.samples) == (3, 3)
    # |ln(110/100)| and |ln(90/100)|: the middle of 0, 0.0953 and 0.1054
    assert incumbent.noise == pytest.approx(1.4826 * math.log(1.1))
    # the ratios are 0.5, 0.545 and 0.5: the middle distance is none
    assert challenger.noise == pytest.approx(0.0)


@given(
    drift=st.lists(st.floats(0.2, 5.0), min_size=1, max_size=15),
    ratio=st.floats(0.05, 20.0),
)
def test_a_drift_that_hits_both_leaves_the_ratio(drift: list[float], ratio: float) -> None:
    rounds = [[100.0 * factor, 100.0 * ratio * factor] for factor in drift]
    incumbent, challenger = summarise(rounds, [(0.0, 0.0)] * 2)
    assert challenger.run_us / incumbent.run_us == pytest.approx(ratio)
    assert challenger.noise == pytest.approx(0.0, abs=1e-9)


@given(st.floats(1e-3, 1e6), st.integers(1, 9))
def test_steady_times_come_back_as_they_are(us: float, rounds: int) -> None:
    (only,) = summarise([[us]] * rounds, [(1.0, 1.0)])
    assert only.run_us == pytest.approx(us)
    assert only.noise == 0
    assert only.samples == rounds


def test_one_disturbed_round_moves_nothing() -> None:
    rounds = [[100.0, 80.0]] * 6 + [[100.0, 8000.0]]
    _, challenger = summarise(rounds, [(0.0, 0.0)] * 2)
    assert challenger.run_us == pytest.approx(80.0)
    assert challenger.noise == 0


def test_a_race_measures_what_the_clock_shows() -> None:
    log: list[str] = []
    results = run_race(
        [contestant("a", log, 100.0), contestant("b", log, 70.0)], FakeClock(), QUICK
    )
    assert [result.run_us for result in results] == pytest.approx([100.0, 70.0])
    assert [result.samples for result in results] == [4, 4]
    assert all(result.plan_us > 0 for result in results)


def test_a_drifting_clock_does_not_decide() -> None:
    """5 % slower with every block, and the incumbent no longer first in every round."""
    log: list[str] = []
    same = [contestant("a", log), contestant("b", log)]
    first, second = run_race(same, FakeClock(lambda block: 1.05**block), QUICK)
    assert second.run_us == pytest.approx(first.run_us, rel=0.01)


def test_turns_are_announced_before_they_are_run() -> None:
    log: list[str] = []
    contestants = [contestant(name, log) for name in "abc"]
    run_race(contestants, FakeClock(), QUICK, lambda turn: log.append(f"turn {turn}"))
    turns = [int(line.removeprefix("turn ")) for line in log if line.startswith("turn")]
    expected = [turn for round_number in range(4) for turn in turn_order(3, round_number)]
    assert turns == expected
    for line, following in itertools.pairwise(log):
        if line.startswith("turn"):
            assert following.startswith("abc"[int(line.removeprefix("turn "))])


def test_every_page_set_is_planned_before_the_first_run() -> None:
    log: list[str] = []
    run_race([contestant("a", log, page_sets=3)], FakeClock(), QUICK)
    assert log[:4] == ["a0 plan", "a1 plan", "a2 plan", "a0 run"]


def test_runs_walk_through_the_page_sets_without_a_break() -> None:
    log: list[str] = []
    run_race([contestant("a", log, page_sets=3)], FakeClock(), Rules(4, 4, 500.0, 8, 60.0))
    runs = [line for line in log if line.endswith("run")]
    assert runs == [f"a{i % 3} run" for i in range(len(runs))]
    assert len(runs) == 1 + 1 + 4 * 5


@pytest.mark.parametrize(
    ("us", "calls"), [(100.0, 5), (99.0, 6), (500.0, 1), (9000.0, 1), (1.0, 8), (0.0001, 8)]
)
def test_calls_are_repeated_until_a_block_is_long_enough(us: float, calls: int) -> None:
    clock = FakeClock()
    run_race([contestant("a", [], us)], clock, Rules(2, 2, 500.0, 8, 60.0))
    assert clock.blocks == [1, 1, calls, calls]


def test_the_clock_warms_up_before_it_is_believed() -> None:
    """The first call of all compiles or allocates: no block is sized by it."""
    clock = FakeClock(lambda block: 1000.0 if block == 1 else 1.0)
    (result,) = run_race([contestant("a", [], 100.0)], clock, Rules(2, 2, 500.0, 8, 60.0))
    assert clock.blocks == [1, 1, 5, 5]
    assert result.run_us == pytest.approx(100.0)


@pytest.mark.parametrize(
    ("rules", "rounds"),
    [
        (Rules(min_rounds=3, max_rounds=7, block_us=1.0, seconds=0.0), 3),
        (Rules(min_rounds=3, max_rounds=7, block_us=1.0, seconds=600.0), 7),
        (Rules(min_rounds=1, max_rounds=1, block_us=1.0, seconds=0.0), 1),
    ],
)
def test_a_race_ends_by_time_or_by_rounds(rules: Rules, rounds: int) -> None:
    (result,) = run_race([contestant("a", [])], FakeClock(), rules)
    assert result.samples == rounds


@pytest.mark.parametrize(("fails_at", "before"), [("run", 2), ("run", 3), ("plan", 1)])
@pytest.mark.parametrize("index", [0, 1, 2])
def test_who_raises_in_the_race_is_told_by_the_index(
    index: int, fails_at: str, before: int
) -> None:
    log: list[str] = []
    contestants = [contestant(name, log) for name in "abc"]
    bad = FakeLaunch("bad", log, fails_at=fails_at, runs_before_failing=before)
    contestants[index] = bound(bad)
    with pytest.raises(ContestantError, match=f"contestant {index}: bad cannot") as caught:
        run_race(contestants, FakeClock(), QUICK)
    assert caught.value.index == index
    assert isinstance(caught.value.error, RuntimeError)


@pytest.mark.parametrize("fails_at", ["plan", "run"])
def test_who_cannot_be_made_ready_raises_by_itself(fails_at: str) -> None:
    with pytest.raises(RuntimeError, match=f"bad cannot {fails_at}"):
        HostClock().ready(bound(FakeLaunch("bad", [], fails_at=fails_at)), QUICK)


def test_the_wall_clock_runs_every_call_and_shows_their_mean() -> None:
    called: list[str] = []
    shown = wall_us([lambda: called.append("a"), lambda: called.append("b")])
    assert called == ["a", "b"]
    assert shown > 0
