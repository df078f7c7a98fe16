"""The table of measurements, for few candidates and for many."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes import FULL

from autotune.commands.progress import show_progress
from autotune.measurements import print_measurements
from autotune.run import Observed, Progress
from autotune.text import mebibytes_text, seconds_text
from kernels_bench.candidates import Answer
from kernels_bench.spec import (
    Failed,
    Health,
    Outcome,
    Pages,
    Phase,
    Reason,
    Rejected,
    Support,
    Timed,
    Variant,
    Wrong,
)


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
    assert ["full", "8q1s1k", "100", "us", "±1.0%", "memory"] in lines
    assert lines[-1] == ["b:v:", "memory:", "3", "TiB", "(full", "8q1s1k)"]


def test_a_reason_is_told_once_with_its_places_or_their_number(
    capsys: pytest.CaptureFixture[str],
) -> None:
    refused: dict[str, Outcome] = {
        "a": timed(1.0),
        "b": Failed("exception", "no such symbol"),
        "c": Rejected((Reason("dtype", "dtype fp8"),)),
    }
    workloads = ("q1s1k", "q8k", "q1k", "q4k")
    items = [each for workload in workloads for each in observed(refused, workload)]
    few = [*observed({"a": timed(1.0), "d": Failed("memory", "3 TiB")}, "q2k"), *items]
    assert notes(capsys, few) == [
        "d:v: memory: 3 TiB (full q2k)",
        "b:v: exception: no such symbol (4 workloads)",
        "c:v: cannot: dtype fp8 (4 workloads)",
    ]


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
    wrong = ["f:v:", "wrong:", "relative_l2", "0.5,", "allowed", "0.005", "(full", "8q1s1k)"]
    assert wrong in lines


def test_a_workload_that_nobody_finished_is_shown_as_well(
    capsys: pytest.CaptureFixture[str],
) -> None:
    nobody = dict.fromkeys("abcdef", Failed("memory", "3 TiB"))
    lines = printed(
        capsys, observed({**MANY, "a": timed(1.0), "f": timed(2.0)}) + observed(nobody, "q8k")
    )
    assert ["full", "q8k", "nobody", "0", "of", "6"] in lines
    assert len([line for line in lines if line[:1] == ["a:v:"]]) == 1


def notes(capsys: pytest.CaptureFixture[str], items: list[Observed]) -> list[str]:
    """What stands below the table."""
    print_measurements(items)
    lines = capsys.readouterr().out.splitlines()
    return [line for line in lines[2:] if not line.startswith(" ")]


def test_a_start_that_costs_little_is_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    cheap = replace(timed(1.0), compile_s=29.9, workspace_bytes=255 << 20)
    assert notes(capsys, observed({"a": cheap, "b": timed(2.0)})) == []


def test_a_start_that_costs_much_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    costly: dict[str, Outcome] = {
        "a": timed(1.0),
        "flashinfer": replace(timed(1.0), compile_s=61.25, workspace_bytes=394 << 20),
        "c": replace(timed(1.0), compile_s=4920.0),
        "d": replace(timed(1.0), workspace_bytes=256 << 20),
        "e": Failed("compile", "no compiler"),
    }
    less = dict.fromkeys(costly, timed(1.0))
    assert notes(capsys, observed(costly) + observed({**less}, "q8k")) == [
        "e:v: compile: no compiler (full 8q1s1k)",
        "flashinfer:v: compiled in 61 s, takes 394 MiB beside the KV cache",
        "c:v: compiled in 4920 s",
        "d:v: takes 256 MiB beside the KV cache",
    ]


def test_a_log_has_a_reason_once(capsys: pytest.CaptureFixture[str]) -> None:
    outcomes: dict[str, Outcome] = {"a": timed(1.0), "b": Failed("exception", "no such symbol")}
    with show_progress() as tell:
        for done, what in enumerate(("full q1s1k", "full q8k"), 1):
            tell(Progress(done, 2, what, outcomes))
    assert capsys.readouterr().err.splitlines() == [
        "[1/2] full q1s1k: a 1 us ±1.0%, b exception: no such symbol",
        "[2/2] full q8k: a 1 us ±1.0%, b exception",
    ]


def test_all_warnings_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    shared, hot = "two others use the GPU", "slowed down by heat"
    ill = replace(timed(1.0), health=Health((shared,)))
    worse = replace(timed(1.0), health=Health((shared, hot), voided_rounds=2))
    items = observed({"a": ill, "b": ill}) + observed({"a": worse, "b": worse}, "q8k")
    told = [f"warning: {shared} (2 workloads); {hot} (1 workload)"]
    assert notes(capsys, items) == told
    many: dict[str, Outcome] = {**MANY, "a": worse, "f": ill}
    assert notes(capsys, items + observed(many, "q1")) == [
        f"warning: {shared} (3 workloads); {hot} (2 workloads)"
    ]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.004, "0.004 s"), (4.25, "4.2 s"), (9.6, "10 s"), (4920.0, "4920 s")]
)
def test_seconds_are_told_in_plain_digits(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 MiB"), (4096, "< 1 MiB"), (394 << 20, "394 MiB"), (12 << 30, "12288 MiB")],
)
def test_a_workspace_that_rounds_to_nothing_is_something(size_bytes: int, text: str) -> None:
    assert mebibytes_text(size_bytes) == text
