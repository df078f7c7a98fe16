from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels_bench.health import (
    NO_WATCH,
    CpuReading,
    GpuReading,
    Neighbour,
    NoReading,
    Unwatched,
    disturbed,
    verdict,
)
from kernels_bench.spec import Health

STEADY = GpuReading(1980, 60)
HOT = GpuReading(1980, 91, ("HW thermal",))
SLOW = GpuReading(1410, 64)


def cpu(ran_s: float, waited_s: float) -> CpuReading:
    return CpuReading(ran_s, waited_s)


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        (GpuReading(1980, 60), GpuReading(1980, 61), None),
        (GpuReading(1980, 60), GpuReading(1881, 60), None),
        (GpuReading(1980, 60), GpuReading(1880, 60), "the clock moved from 1980 to 1880 MHz"),
        (GpuReading(1410, 60), GpuReading(1980, 60), "the clock moved from 1410 to 1980 MHz"),
        (STEADY, HOT, "the GPU slowed itself down (HW thermal)"),
        (
            STEADY,
            GpuReading(None, None, ("HW slowdown", "HW power brake")),
            "the GPU slowed itself down (HW slowdown, HW power brake)",
        ),
        (cpu(1.0, 0.0), cpu(1.91, 0.09), None),
        (cpu(1.0, 0.5), cpu(1.3, 0.8), "others, or a quota, took the CPU away 50 % of the time"),
    ],
)
def test_a_round_is_thrown_away_for_a_reason(before, after, why):
    assert disturbed(before, after) == why


def test_a_slowdown_that_ended_before_the_round_does_not_void_it():
    assert disturbed(HOT, STEADY) is None


@pytest.mark.parametrize("mhz", [1980, 1100, 345, 0])
def test_a_clock_that_stays_low_is_no_reason(mhz):
    assert disturbed(GpuReading(mhz, 60), GpuReading(mhz, 60)) is None


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (GpuReading(None, None), SLOW),
        (SLOW, GpuReading(None, 60)),
        (NoReading(), NoReading()),
        (NoReading("no driver"), STEADY),
        (cpu(0.0, 0.0), cpu(0.0, 0.0)),
        (cpu(9.0, 5.0), cpu(4.0, 1.0)),
    ],
)
def test_what_nobody_tells_voids_nothing(before, after):
    assert disturbed(before, after) is None


@given(st.integers(1, 4000), st.integers(1, 4000))
def test_a_clock_that_rises_is_judged_as_one_that_falls(first, last):
    up = disturbed(GpuReading(first, None), GpuReading(last, None))
    down = disturbed(GpuReading(last, None), GpuReading(first, None))
    assert (up is None) == (down is None)


def test_a_quiet_race_has_nothing_to_tell_but_clock_and_heat():
    readings = [GpuReading(1980, 60), GpuReading(1965, 63), GpuReading(1980, 62)]
    assert verdict(readings, 0, ()) == Health(clock_mhz=1980, temperature_c=63)


def test_an_unwatched_race_has_nothing_to_tell():
    assert verdict([NO_WATCH.read(), NO_WATCH.read()], 0, NO_WATCH.others()) == Health()
    assert verdict([], 0, ()) == Health()


def test_what_a_gpu_does_not_tell_stays_unknown():
    assert verdict([GpuReading(None, None)], 0, ()) == Health()


def test_a_watch_that_could_not_be_opened_is_told_of_once():
    watch = Unwatched("nvidia-ml-py is not installed")
    assert verdict([watch.read()] * 15, 0, watch.others()).warnings == (
        "clocks and other processes cannot be read: nvidia-ml-py is not installed",
    )


@pytest.mark.parametrize(
    ("neighbour", "text"),
    [
        (
            Neighbour(4711, int(31.2 * 2**30), "/usr/bin/python"),
            "pid 4711 (python) uses 31.2 GiB of the GPU",
        ),
        (Neighbour(4711, 512 << 20, ""), "pid 4711 uses 0.5 GiB of the GPU"),
        (Neighbour(4711, None, "python"), "pid 4711 (python) uses the GPU"),
        (Neighbour(4711, 0, ""), "pid 4711 uses the GPU"),
    ],
)
def test_every_neighbour_is_named(neighbour, text):
    assert verdict([STEADY], 0, [neighbour]).warnings == (text,)


def test_slowdowns_are_counted_and_named_once_each():
    readings = [STEADY, HOT, STEADY, HOT, GpuReading(1980, 88, ("HW thermal", "HW power brake"))]
    assert verdict(readings, 0, ()).warnings == (
        "the GPU slowed itself down (HW thermal, HW power brake) in 3 of 5 looks, up to 91 C",
    )


def test_a_slowdown_of_unknown_heat_is_told_without_it():
    assert verdict([GpuReading(None, None, ("HW slowdown",))], 0, ()).warnings == (
        "the GPU slowed itself down (HW slowdown) in 1 of 1 looks",
    )


@pytest.mark.parametrize(
    ("readings", "voided", "text"),
    [
        (
            [STEADY, SLOW, SLOW],
            1,
            "1 round was thrown away: the clock moved from 1980 to 1410 MHz",
        ),
        (
            [STEADY, SLOW, STEADY, SLOW, STEADY],
            2,
            "2 rounds were thrown away, 2 more count although they were disturbed:"
            " the clock moved from 1980 to 1410 MHz",
        ),
        ([STEADY, STEADY], 3, "3 rounds were thrown away"),
    ],
)
def test_rounds_that_were_thrown_away_are_told_with_a_reason(readings, voided, text):
    health = verdict(readings, voided, ())
    assert health.warnings == (text,)
    assert health.voided_rounds == voided


def test_a_cpu_that_others_use_is_told_over_the_whole_race():
    readings = [cpu(1.0, 0.0), cpu(1.5, 0.2), cpu(1.64, 0.36)]
    assert verdict(readings, 0, ()).warnings == (
        "others, or a quota, took the CPU away 36 % of the time",
    )


def test_one_hiccup_of_a_cpu_voids_a_round_and_says_nothing_of_the_others():
    readings = [cpu(1.0, 0.0), cpu(1.1, 0.1), cpu(3.0, 0.1)]
    assert disturbed(readings[0], readings[1]) is not None
    assert verdict(readings, 0, ()).warnings == ()
