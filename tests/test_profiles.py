"""Traffic: weights over standard workloads, whatever was measured of them."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
from fakes import CPU, FULL, H100

from autotune.errors import ProfileError
from autotune.profiles import BALANCED, Profile, find_profile
from kernels_bench.grid import CPU_FULL, GPU_FULL, GridPoint, Limits, make_grid
from kernels_bench.spec import Phase
from kernels_bench.workload import parse_workload


def points(*texts: str) -> tuple[GridPoint, ...]:
    return tuple(GridPoint(text, parse_workload(text)) for text in texts)


def test_listed_points_keep_their_weight() -> None:
    profile = Profile("mine", {"q1s1k": 3, "q512": 5})
    assert profile.weigh(points("q512", "q1s1k")) == {"q512": 5, "q1s1k": 3}


def test_unlisted_points_share_the_weight_of_their_phase() -> None:
    profile = Profile("mine", {"q1s1k": 3, "8q1s1k": 5, "q512": 4})
    weights = profile.weigh(points("q1s7", "q1s9", "q64", "2q4s64"))
    # Nothing in the profile is a verify.
    assert weights == {"q1s7": 4, "q1s9": 4, "q64": 4, "2q4s64": 0}


def test_points_clipped_to_the_same_workload_add_up() -> None:
    clipped = parse_workload("q1s256")
    profile = Profile("mine", {"q1s1k": 3, "q1s16k": 5})
    both = (GridPoint("q1s1k", clipped), GridPoint("q1s16k", clipped))
    assert profile.weigh(both) == {"q1s256": 8}


def test_on_a_cpu_every_phase_has_the_weight_it_has_on_a_gpu() -> None:
    limits = Limits(1 << 20, max_num_batched_tokens=1 << 20)
    totals = []
    for device in (CPU, H100):
        grid = make_grid(device, (FULL,), limits, "full")
        weights = BALANCED.weigh(grid.points)
        by_phase = dict.fromkeys(Phase, 0.0)
        for workload in grid.workloads:
            by_phase[workload.phase] += weights[workload.text]
        totals.append(by_phase)
    assert totals[0] == pytest.approx(totals[1])
    assert all(total > 0 for total in totals[0].values())


def test_balanced_weighs_every_standard_workload_of_a_gpu_and_none_of_a_cpu_s_own() -> None:
    assert set(BALANCED.weights) == set(GPU_FULL)
    assert set(CPU_FULL) - set(GPU_FULL)


def test_an_unknown_profile_lists_the_names() -> None:
    assert find_profile("balanced") is BALANCED
    known = "balanced, chat, code, long-context, decode-heavy, or a file of weights, requests or"
    for name in ("nope", "", ".", "~nobody/x", "a\0b"):
        with pytest.raises(ProfileError, match=rf"^profile .*: expected one of {known}"):
            find_profile(name)
    with pytest.raises(ProfileError) as caught:
        find_profile("x" * 5000)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("name", ["balanced", "chat", "code", "long-context", "decode-heavy"])
def test_a_built_in_profile_weighs_standard_workloads_alone(name: str) -> None:
    profile = find_profile(name)
    assert (profile.name, profile.key, profile.is_own) == (name, name, False)
    assert set(profile.weights) <= set(GPU_FULL)
    assert all(weight > 0 for weight in profile.weights.values())


def test_the_built_in_weights_are_those_that_the_traces_give() -> None:
    sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
    try:
        derived = importlib.import_module("profile_weights").DERIVED
    finally:
        sys.path.pop(0)
    for each in derived:
        assert dict(find_profile(each.name).weights) == each.weights()


def test_one_s_own_profile_is_exact_and_says_what_nothing_stands_for() -> None:
    own = Profile("mine", {"q1s1k": 3, "8q1s1k": 1, "q512": 4}, is_own=True)
    there = points("q1s1k", "q1s7", "q64")
    assert own.weigh(there) == {"q1s1k": 3, "q1s7": 0, "q64": 0}
    assert own.uncovered(there) == {"8q1s1k": 1 / 8, "q512": 0.5}
    # A built-in one's decodes are stood for by decodes that it does not list.
    built_in = Profile("built-in", own.weights)
    assert built_in.uncovered(points("q1s7")) == {"q512": 0.5}
    assert built_in.uncovered(points("q1s1k")) == {"8q1s1k": 1 / 8, "q512": 0.5}


def test_a_key_follows_the_weights_and_not_their_scale() -> None:
    one = Profile("mine", {"q1s1k": 1, "q8k": 2}, is_own=True)
    assert one.key == Profile("mine", {"q8k": 4.0, "q1s1k": 2.0}, is_own=True).key
    assert one.key != Profile("mine", {"q1s1k": 1, "q8k": 3}, is_own=True).key
    assert one.key.startswith("mine#")
