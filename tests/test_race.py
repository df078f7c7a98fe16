"""Who runs when, how often, and what is made of the times: a clock that is told what it shows."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels_bench.clock import Contestant, ContestantError, Lap, OnTurn, Probe
from kernels_bench.health import NO_WATCH, GpuReading, Neighbour, Reading, Watch
from kernels_bench.host_clock import HostClock, wall_us
from kernels_bench.race import Heat, Laps, finalists, lineup, race, warm_up
from kernels_bench.rules import Rules
from kernels_bench.standings import Kept, Promoted

PATIENT = Rules(block_us=1.0, seconds=60.0)
FIXED = replace(PATIENT, min_rounds=4, max_rounds=4)
EVERYBODY = replace(FIXED, screen_ratio=math.inf)


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
class FakeBlocks:
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


@dataclass
class FakeClock:
    """Shows what it is told, and notes in which order contestants ran."""

    shows: Callable[[int, int], float]
    """Contestant and number of the round -> the device's time of a call."""
    host_us: Mapping[int, float] = field(default_factory=dict)
    """Contestant -> the host's, where somebody waits for it."""
    orders: list[tuple[int, ...]] = field(default_factory=list)

    def round(self, order: Sequence[int]) -> dict[int, Lap]:
        self.orders.append(tuple(order))
        return {
            index: Lap(self.shows(index, len(self.orders)), self.host_us.get(index))
            for index in order
        }


@dataclass
class FakeWatch:
    """Reads these clocks one after the other, and then the last for ever."""

    clocks_mhz: Sequence[int]
    looks: int = 0

    def read(self) -> Reading:
        self.looks += 1
        return GpuReading(self.clocks_mhz[min(self.looks, len(self.clocks_mhz)) - 1], 40)

    def others(self) -> tuple[Neighbour, ...]:
        return ()

    def close(self) -> None:
        """Nothing to let go of."""


def run_race(
    contestants: Sequence[Contestant],
    blocks: FakeBlocks,
    rules: Rules,
    on_turn: OnTurn = lambda _: None,
) -> Heat:
    clock = HostClock(blocks)
    probes = [clock.probe(each) for each in contestants]
    pairs = zip(contestants, probes, strict=True)
    timers = [clock.ready(each, probe, rules) for each, probe in pairs]

    def run_round(order: Sequence[int]) -> Laps:
        return clock.round(timers, order, on_turn)

    return race(run_round, [0.0] * len(timers), rules, NO_WATCH, random.Random(1))


def shown(times_us: Sequence[float], rules: Rules, watch: Watch = NO_WATCH) -> Heat:
    """A race of contestants that always take the same time."""
    return told(FakeClock(lambda index, _: times_us[index]), len(times_us), rules, watch)


def told(clock: FakeClock, contestants: int, rules: Rules, watch: Watch = NO_WATCH) -> Heat:
    return race(clock.round, [0.0] * contestants, rules, watch, random.Random(1))


def bound(*launches: FakeLaunch) -> Contestant:
    return Contestant(launches, batches=(), captured=False)


def contestant(name: str, log: list[str], us: float = 100.0, page_sets: int = 1) -> Contestant:
    return bound(*(FakeLaunch(f"{name}{i}", log, us) for i in range(page_sets)))


def calm(seed: int, noise: float, levels_us: Sequence[float]) -> FakeClock:
    """Independent normal noise."""
    draw = random.Random(seed)
    return FakeClock(lambda index, _: levels_us[index] * math.exp(draw.gauss(0.0, noise)))


@pytest.mark.parametrize(
    ("probes_us", "raced"),
    [
        ([100.0], (0,)),
        ([100.0, 100.0, 201.0, 200.0], (0, 1, 3)),
        ([1000.0, 100.0, 900.0], (0, 1)),  # the incumbent always
    ],
)
def test_who_is_hopelessly_behind_is_not_raced(
    probes_us: list[float], raced: tuple[int, ...]
) -> None:
    assert lineup(probes_us, Rules(hopeless=2.0)) == raced


@pytest.mark.parametrize(
    ("screen", "chosen"),
    [
        ([], (0, 1, 2, 3)),
        ([{0: 100.0, 1: 125.0, 2: 126.0, 3: 80.0}], (0, 3)),
        ([{0: 100.0, 1: 900.0, 2: 125.0, 3: 126.0}] * 2, (0, 2)),
        ([{0: 1e2, 1: 9e2, 2: 9e2, 3: 9e2}, {0: 2e2, 1: 101.0, 2: 2e2, 3: 9e2}], (0, 1)),
        ([{0: 900.0, 1: 126.0, 2: 125.0, 3: 100.0}], (0, 2, 3)),
        ([{0: 24e3, 1: 21e3, 2: 23e3, 3: 22e3}], (0, 1, 3)),  # long: two challengers
        ([{0: 24e3, 1: 19e3, 2: 23e3, 3: 22e3}], (0, 1, 2, 3)),
    ],
)  # fmt: skip
def test_the_screen_sends_home_who_is_a_quarter_behind(
    screen: list[dict[int, float]], chosen: tuple[int, ...]
) -> None:
    assert finalists(screen, 4, Rules()) == chosen


def test_every_round_is_drawn_or_the_last_one_reversed() -> None:
    clock = FakeClock(lambda *_: 100.0)
    told(clock, 6, replace(PATIENT, min_rounds=10, max_rounds=10))
    assert len(clock.orders) == 2 + 10
    assert all(sorted(order) == list(range(6)) for order in clock.orders)
    assert all(clock.orders[i + 1] == clock.orders[i][::-1] for i in range(0, 12, 2))
    assert len(set(clock.orders[::2])) > 3


def test_a_race_measures_what_the_clock_shows() -> None:
    heat = run_race([contestant("a", []), contestant("b", [], 70.0)], FakeBlocks(), EVERYBODY)
    incumbent, challenger = heat.results
    assert (incumbent.run_us, challenger.run_us) == pytest.approx((100.0, 70.0))
    assert (incumbent.samples, challenger.samples) == (4, 4)
    assert challenger.rounds_us == (70.0,) * 4
    assert heat.standing == Promoted(1)


@given(drift=st.lists(st.floats(0.2, 5.0), min_size=6, max_size=6), ratio=st.floats(0.05, 20.0))
def test_a_drift_that_hits_both_leaves_the_ratio(drift: list[float], ratio: float) -> None:
    clock = FakeClock(lambda index, number: (100.0, 100.0 * ratio)[index] * drift[number - 1])
    incumbent, challenger = told(clock, 2, EVERYBODY).results
    assert challenger.run_us / incumbent.run_us == pytest.approx(ratio)
    assert challenger.noise == pytest.approx(0.002 * math.sqrt(2))


def test_a_drifting_clock_does_not_decide() -> None:
    """5 % slower with every block."""
    heat = run_race(
        [contestant("a", []), contestant("b", [])], FakeBlocks(lambda block: 1.05**block), EVERYBODY
    )
    incumbent, challenger = heat.results
    assert challenger.run_us == pytest.approx(incumbent.run_us, rel=0.01)
    assert isinstance(heat.standing, Kept)


def test_one_disturbed_block_moves_nothing() -> None:
    clock = FakeClock(lambda index, number: 8000.0 if (index, number) == (1, 5) else 100.0 - index)
    _, challenger = told(clock, 2, EVERYBODY).results
    assert challenger.run_us == pytest.approx(99.0)


def test_turns_are_announced_before_they_are_run() -> None:
    log: list[str] = []
    contestants = [contestant(name, log) for name in "abc"]
    run_race(contestants, FakeBlocks(), FIXED, lambda turn: log.append(f"turn {turn}"))
    turns = [line for line in log if line.startswith("turn")]
    assert len(turns) == 3 * (2 + 4)
    for line, following in itertools.pairwise(log):
        if line.startswith("turn"):
            assert following.startswith("abc"[int(line.removeprefix("turn "))])


def test_the_slower_side_sets_the_pace() -> None:
    """The first two are equal on the device; what hands them over differs."""
    device_us, host_us = (20.0, 20.0, 15.0), {0: 34.0, 1: 23.0, 2: 40.0}
    heat = told(FakeClock(lambda index, _: device_us[index], host_us), 3, PATIENT)
    assert heat.standing == Promoted(1)
    incumbent, winner, behind = heat.results
    assert (incumbent.run_us, incumbent.call_us) == pytest.approx((20.0, 34.0))
    assert (winner.run_us, winner.call_us) == pytest.approx((20.0, 23.0))
    assert winner.rounds_us == (20.0,) * 5
    assert (behind.run_us, behind.call_us, behind.samples) == (pytest.approx(15.0), 40.0, 2)


def test_a_layer_bears_its_share_of_the_plan() -> None:
    clock = FakeClock(lambda index, _: (24.0, 20.0)[index])
    heat = race(clock.round, [0.5, 9.0], PATIENT, NO_WATCH, random.Random(1))
    assert isinstance(heat.standing, Kept)
    assert heat.results[1].run_us == pytest.approx(20.0)
    assert heat.results[1].samples == 5  # 29 over 24.5: within the screen


def test_a_clear_race_ends_after_the_fewest_rounds() -> None:
    heat = shown([100.0, 90.0, 110.0], PATIENT)
    assert heat.standing == Promoted(1)
    assert [result.samples for result in heat.results] == [5, 5, 5]


def test_who_the_screen_sends_home_has_the_time_of_the_screen() -> None:
    clock = FakeClock(lambda index, number: (100.0, 300.0)[index] * number)
    incumbent, behind = told(clock, 2, PATIENT).results
    assert incumbent.run_us == pytest.approx(500.0)  # rounds 3 to 7
    assert behind.run_us == pytest.approx(1500.0)
    assert (behind.samples, behind.rounds_us) == (2, ())


def test_who_falls_behind_takes_part_no_more() -> None:
    """A close winner keeps the race going; the slow one is out at the first look."""
    heat = told(calm(3, 0.006, [100.0, 97.6, 115.0]), 3, PATIENT)
    incumbent, winner, slow = heat.results
    assert heat.standing == Promoted(1)
    assert slow.samples == 5 < winner.samples == incumbent.samples
    assert slow.run_us == pytest.approx(115.0, rel=0.02)
    assert len(slow.rounds_us) == 5


@pytest.mark.parametrize(
    ("rules", "rounds"),
    [
        (replace(PATIENT, seconds=0.0), 5),
        (PATIENT, 40),
        (replace(PATIENT, noisy=0.5), 15),
        (replace(PATIENT, min_rounds=7, max_rounds=7), 7),
        (replace(PATIENT, min_rounds=1, max_rounds=1), 1),
    ],
)
def test_an_unclear_race_ends_by_time_or_by_rounds(rules: Rules, rounds: int) -> None:
    heat = told(calm(1, 0.1, [100.0, 98.0]), 2, rules)
    assert isinstance(heat.standing, Kept)
    assert "ambiguous" in heat.standing.why
    assert heat.results[0].samples == rounds


def test_of_long_calls_two_challengers_go_on_for_eight_rounds() -> None:
    heat = told(calm(1, 0.01, [25e3, 24.5e3, 25.7e3, 24.6e3, 30e3]), 5, PATIENT)
    assert [result.samples for result in heat.results] == [8, 8, 2, 8, 2]


def test_one_alone_runs_the_fewest_rounds_and_no_screen() -> None:
    heat = shown([100.0], PATIENT)
    assert heat.results[0].rounds_us == (100.0,) * 5
    assert heat.standing == Kept("there is no challenger")


@pytest.mark.parametrize(
    ("clocks_mhz", "voided"),
    [
        ([1980, 1980], 0),
        ([1980, 1900], 0),  # 4 %
        ([1980, 1410], 1),
        ([1410, 1980, 1980, 1410, 1980], 3),
        ([1980, 1410] * 20, 5),  # after so many they count
    ],
)
def test_a_round_in_which_the_clock_moved_is_run_again(clocks_mhz: list[int], voided: int) -> None:
    clock = FakeClock(lambda index, _: (100.0, 50.0)[index])
    idle_mhz = 345
    heat = told(clock, 2, EVERYBODY, FakeWatch([idle_mhz, *clocks_mhz]))
    assert heat.voided_rounds == voided
    assert heat.results[1].samples == 4
    assert len(clock.orders) == 2 + 4 + voided
    assert len(heat.readings) == 1 + len(clock.orders)


def test_what_a_voided_round_showed_is_forgotten() -> None:
    clock = FakeClock(lambda _, number: 1e9 if number == 3 else 100.0)
    heat = told(clock, 2, FIXED, FakeWatch([345, 1980, 1980, 1000, 1000]))
    assert heat.voided_rounds == 1
    assert heat.results[0].rounds_us == (100.0,) * 4


def test_equal_candidates_leave_the_default_alone() -> None:
    """As benchmarks/race_simulation.py with 1,000 runs: at most 2 in 100."""
    left = sum(
        isinstance(told(calm(seed, 0.02, [100.0] * 6), 6, PATIENT).standing, Promoted)
        for seed in range(100)
    )
    assert left <= 2


def test_a_win_of_five_percent_is_found() -> None:
    levels_us = [100.0] * 5 + [95.0]
    found = [
        told(calm(seed, 0.01, levels_us), 6, PATIENT).standing == Promoted(5) for seed in range(200)
    ]
    assert sum(found) >= 198


def test_the_candidates_are_run_until_the_incumbent_is_steady() -> None:
    warming = FakeClock(lambda _, number: 100.0 + 50.0 / number**2)
    warm_up(warming.round, 2, replace(PATIENT, warm_seconds=0.0, max_warm_seconds=60.0))
    assert len(warming.orders) == 7  # rounds 5 to 7 are the first three within 1 %
    assert all(order == (0, 1) for order in warming.orders)


def test_a_clock_that_never_is_steady_ends_the_warming_up() -> None:
    restless = FakeClock(lambda _, number: 100.0 + 50.0 * (number % 2))
    warm_up(restless.round, 1, replace(PATIENT, max_warm_seconds=0.01))
    assert len(restless.orders) >= 1


def test_a_steady_clock_is_warmed_up_for_a_while_all_the_same() -> None:
    steady = FakeClock(lambda *_: 100.0)
    warm_up(steady.round, 1, replace(PATIENT, warm_seconds=0.01, max_warm_seconds=60.0))
    assert len(steady.orders) > 3


def test_every_page_set_is_planned_before_the_first_run() -> None:
    log: list[str] = []
    run_race([contestant("a", log, page_sets=3)], FakeBlocks(), FIXED)
    first_run = log.index("a0 run")
    assert log[:3] == ["a0 plan", "a1 plan", "a2 plan"]
    assert set(log[3:first_run]) == {"a0 plan"}  # its time
    assert not any(line.endswith("plan") for line in log[first_run:])


def test_runs_walk_through_the_page_sets_without_a_break() -> None:
    log: list[str] = []
    run_race([contestant("a", log, page_sets=3)], FakeBlocks(), replace(FIXED, block_us=500.0))
    runs = [line for line in log if line.endswith("run")]
    probed, raced = runs[:3], runs[3:]
    assert probed == ["a0 run"] * 3
    assert raced == [f"a{i % 3} run" for i in range(4 * 5)]


@pytest.mark.parametrize(
    ("us", "calls"), [(100.0, 5), (99.0, 6), (500.0, 1), (9000.0, 1), (1.0, 8), (0.0001, 8)]
)
def test_calls_are_repeated_until_a_block_is_long_enough(us: float, calls: int) -> None:
    blocks = FakeBlocks()
    rules = Rules(2, 2, block_us=500.0, max_calls=8)
    run_race([contestant("a", [], us)], blocks, rules)
    assert blocks.blocks == [1, 1, calls, calls]


def test_a_probe_believes_the_better_of_two_readings() -> None:
    """One late reading would make blocks too short, and send a candidate home."""
    blocks = FakeBlocks(lambda block: 1000.0 if block == 1 else 1.0)
    assert HostClock(blocks).probe(contestant("a", [], 100.0)).run_us == pytest.approx(100.0)


@pytest.mark.parametrize("before", [3, 4])
@pytest.mark.parametrize("index", [0, 1, 2])
def test_who_raises_in_the_race_is_told_by_the_index(index: int, before: int) -> None:
    log: list[str] = []
    contestants = [contestant(name, log) for name in "abc"]
    bad = FakeLaunch("bad", log, fails_at="run", runs_before_failing=before)
    contestants[index] = bound(bad)
    with pytest.raises(ContestantError, match=f"contestant {index}: bad cannot run") as caught:
        run_race(contestants, FakeBlocks(), FIXED)
    assert caught.value.index == index
    assert isinstance(caught.value.error, RuntimeError)


@pytest.mark.parametrize("fails_at", ["plan", "run"])
def test_who_cannot_be_probed_raises_by_itself(fails_at: str) -> None:
    with pytest.raises(RuntimeError, match=f"bad cannot {fails_at}"):
        HostClock().probe(bound(FakeLaunch("bad", [], fails_at=fails_at)))


def test_on_a_cpu_the_host_does_the_work() -> None:
    log: list[str] = []
    clock, one = HostClock(), contestant("a", log)
    probe = clock.probe(one)
    assert probe.call_us is None
    assert probe.plan_us > 0
    assert not clock.waits(one.plan)
    clock.deployed(one)()
    assert log[-1] == "a0 run"


def test_the_last_page_set_is_run_again_for_the_check() -> None:
    log: list[str] = []
    HostClock().ready(contestant("a", log, page_sets=3), Probe(100.0, None, 0.0), FIXED).rerun()
    assert log == ["a2 run"]


def test_the_wall_clock_runs_every_call_and_shows_their_mean() -> None:
    called: list[str] = []
    shown = wall_us([lambda: called.append("a"), lambda: called.append("b")])
    assert called == ["a", "b"]
    assert shown > 0
