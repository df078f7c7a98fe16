"""Where one backend overtakes another, for engines that can dispatch by batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from fakes import candidate, timed

from autotune.costs import Evidence
from autotune.policy import Terms, Verdict, decide
from autotune.ranking import Candidate, Crossover
from kernels_bench.spec import Pages, Phase

FLASH, TRITON = candidate("flash"), candidate("triton")
ORDER = ("flash", "triton")
BATCHES = (1, 8, 32, 128)


def decodes(times: Mapping[Candidate, tuple[float, ...]]) -> list[Evidence]:
    return [
        Evidence("full", 1, f"{batch}q1s1k" if batch > 1 else "q1s1k", Phase.DECODE, who, timed(us))
        for who, column in times.items()
        for batch, us in zip(BATCHES, column, strict=True)
    ]


def crossovers_of(evidence: list[Evidence]) -> tuple[Crossover, ...]:
    weights = {each.workload: 1.0 for each in evidence}
    found = decide(evidence, Terms(weights, ORDER))
    assert isinstance(found, Verdict)
    return found.crossovers


def test_one_overtakes_the_other_between_two_measured_batches() -> None:
    (found,) = crossovers_of(decodes({FLASH: (100, 100, 100, 100), TRITON: (80, 85, 120, 140)}))
    assert (found.axis, found.low, found.high) == ("batch", TRITON, FLASH)
    assert (found.last_low, found.first_high) == (8, 32)
    assert found.gain == pytest.approx(1 - (0.8 + 0.85 + 2) / 4)


@pytest.mark.parametrize(
    "times",
    [
        {FLASH: (100, 100, 100, 100), TRITON: (98, 98, 120, 140)},  # one side wins by 2 % alone
        {FLASH: (100, 100, 100, 100), TRITON: (80, 80, 80, 80)},  # one is better throughout
        {FLASH: (100, 100, 100, 100), TRITON: (99, 101, 99, 101)},  # a checkerboard
    ],
)
def test_no_crossover(times: Mapping[Candidate, tuple[float, ...]]) -> None:
    assert crossovers_of(decodes(times)) == ()


def test_two_that_cannot_share_a_cache_do_not_cross() -> None:
    other = replace(TRITON, pages=Pages(64))
    evidence = decodes({FLASH: (100, 100, 100, 100), other: (80, 85, 120, 140)})
    assert crossovers_of(evidence) == ()


def test_a_pair_that_somebody_beats_alone_is_none() -> None:
    best = candidate("best")
    evidence = decodes(
        {FLASH: (100, 100, 100, 100), TRITON: (80, 85, 120, 140), best: (70, 70, 70, 70)}
    )
    assert crossovers_of(evidence) == ()


def test_new_tokens_are_those_of_all_requests() -> None:
    evidence = [
        Evidence("full", 1, workload, phase, who, timed(us))
        for workload, phase, times in (
            ("q512", Phase.PREFILL, {FLASH: 100, TRITON: 60}),
            ("2q1ks2k", Phase.EXTEND, {FLASH: 100, TRITON: 70}),
            ("q8k", Phase.PREFILL, {FLASH: 100, TRITON: 200}),
        )
        for who, us in times.items()
    ]
    (found,) = crossovers_of(evidence)
    assert (found.axis, found.low, found.last_low, found.first_high) == (
        "new_tokens", TRITON, 2048, 8192,
    )  # fmt: skip
