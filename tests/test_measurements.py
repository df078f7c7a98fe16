"""The table of measurements, for few candidates and for many."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fakes import FULL

from autotune.measurements import print_measurements
from autotune.run import Observed
from kernels_bench.candidates import Answer
from kernels_bench.spec import Failed, Outcome, Pages, Phase, Support, Timed, Variant, Wrong

if TYPE_CHECKING:
    import pytest


def observed(outcomes: dict[str, Outcome], workload: str = "8q1s1k") -> list[Observed]:
    return [
        Observed(
            Answer(name, Variant("v"), FULL, Phase.DECODE, Pages(16), Support()),
            "full",
            workload,
            outcome,
        )
        for name, outcome in outcomes.items()
    ]


def timed(us: float) -> Timed:
    return Timed(us, us, 1.0, 0.01, 9, 0.5)


def printed(capsys: pytest.CaptureFixture[str], items: list[Observed]) -> list[list[str]]:
    print_measurements(items)
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_few_candidates_stand_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, observed({"a": timed(100.0), "b": Failed("memory", "3 TiB")}))
    assert ["full", "8q1s1k", "100", "us", "±1.0%", "memory:", "3", "TiB"] in lines


MANY: dict[str, Outcome] = {
    name: timed(us) for name, us in zip("bcde", (60, 50, 70, 55), strict=True)
}


def test_of_many_the_fastest_the_next_and_the_default_are_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    everyone = {"a": timed(100.0), **MANY, "f": Wrong("relative_l2", 0.5, 0.005)}
    lines = printed(capsys, observed(everyone))
    best = ["full", "8q1s1k", "c:v", "50", "us", "±1.0%"]
    assert [*best, "e:v", "1.10x", "a:v", "2.00x", "5", "of", "6"] in lines
    assert ["full", "8q1s1k:", "f:v:", "wrong:", "relative_l2", "0.5,", "allowed", "0.005"] in lines


def test_a_workload_that_nobody_finished_is_shown_as_well(
    capsys: pytest.CaptureFixture[str],
) -> None:
    nobody = dict.fromkeys("abcdef", Failed("memory", "3 TiB"))
    lines = printed(
        capsys, observed({**MANY, "a": timed(1.0), "f": timed(2.0)}) + observed(nobody, "q8k")
    )
    assert ["full", "q8k", "nobody", "0", "of", "6"] in lines
    assert len([line for line in lines if line[2:3] == ["a:v:"]]) == 1
