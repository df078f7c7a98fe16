"""What `cache show` prints of many candidates on many workloads."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from cache_examples import unpack_h100_run
from cli_runs import run, run_json
from fakes import FULL, H100_FOUND, WINDOW, FakeBackend, FakeBench, make_model, refusing

from autotune._store import MeasurementRow, Store, decision_measurements, list_decisions
from autotune.job import Job
from autotune.keys import spec_keys_of
from autotune.profiles import BALANCED
from autotune.tuner import warm
from autotune.wishes import Wishes
from kernels_bench.messages import Finished, Rehearsed, Task
from kernels_bench.spec import Failed, Outcome, Timed, Wrong

BACKENDS = (
    FakeBackend("slow", ("one", "two")), FakeBackend("flash_attn", ("fa3",)),
    FakeBackend("swift"), FakeBackend("zeros"), refusing("other", "device cuda: runs on rocm"),
)  # fmt: skip
OUTCOMES: dict[str, Outcome] = {
    "slow:one": Timed(1234.0, 40.5, 3.25, 0.004, 200, 0.02),
    "slow:two": Timed(900.0, 40.5, 3.25, 0.004, 200, 0.02),
    "flash_attn:fa3": Timed(41.5, 12.25, 3.0, 0.012, 180, 0.61),
    "swift:plain": Timed(20.75, 12.25, 3.0, 0.012, 180, 0.92),
    "zeros:plain": Wrong("values", 1.0, 0.01),
}

READINESS = {
    "slow": Rehearsed(0.53, None),
    "flash_attn": Rehearsed(4.25, 3 << 20),
    "swift": Rehearsed(61.25, 394 << 20),
}


def answer(task: Task) -> Finished:
    outcomes = {**OUTCOMES}
    if task.workload.text == "q8k":
        outcomes["slow:two"] = Failed("memory", "out of memory")
    return Finished(tuple(outcomes[entrant.label] for entrant in task.entrants))


def tune(file: Path, max_model_len: int = 131072) -> None:
    model = make_model(FULL, WINDOW, max_model_len=max_model_len)
    with Store.open(file) as store:
        bench = FakeBench({}, BACKENDS, on_task=answer, readiness=READINESS)
        warm(Job(model, H100_FOUND, BALANCED, Wishes("any")), store, bench)


def stored_rows(file: Path) -> tuple[MeasurementRow, ...]:
    (stored,) = list_decisions(file)
    specs = spec_keys_of(stored.model.fingerprint)
    return decision_measurements(file, stored.device.key, specs)


def table(said: str, title: str) -> list[str]:
    """Its lines under the heads of the columns, with single spaces."""
    lines = iter(said.partition(f"\n{title} ")[2].splitlines()[2:])
    return [" ".join(line.split()) for line in takewhile(lambda line: line[:1] == " ", lines)]


def blocks(said: str) -> list[list[list[str]]]:
    """The table of times: blocks of lines, as words."""
    table = said.partition("Time of one layer")[2].partition("Without a time")[0]
    lines = [line.split() for line in table.splitlines()[2:]]
    found: list[list[list[str]]] = [[]]
    for line in lines:
        if line:
            found[-1].append(line)
        else:
            found.append([])
    return [block for block in found if block]


def test_times_stand_by_workload_the_fastest_first(file: Path) -> None:
    tune(file)
    said = run("cache", "show", "1").stdout
    found = blocks(said)
    rows = stored_rows(file)
    timed = {(row.spec_key, row.workload) for row in rows if row.outcome == "timed"}
    assert len(found) == len(timed) > 10
    for block in found:
        assert len({(line[0], line[1]) for line in block}) == 1
        in_order = ["swift:plain", "flash_attn:fa3", "slow:two", "slow:one"]
        if block[0][1] == "q8k":
            in_order.remove("slow:two")
        assert [line[2] for line in block] == in_order
        assert block[1][3:] == [
            "16", "NHD", "41.5", "us", "±1.2%", "2.00x", "61%", "12.2", "us", "3", "us", "180",
            "default",
        ]  # fmt: skip
        assert block[0][-1] == "winner"
        assert block[2][-1] == "200"
    kinds = [block[0][0] for block in found]
    assert kinds == sorted(kinds, key=["full", "window"].index)


def test_who_has_no_time_stands_apart_with_every_place(file: Path) -> None:
    tune(file)
    said = run("cache", "show", "1").stdout.partition("Without a time")[2]
    lines = [" ".join(line.split()) for line in said.splitlines()]
    refused = "prefill, extend, decode, verify, mixed cannot: device cuda: runs on rocm"
    assert f"full other:plain {refused}" in lines
    assert f"window other:plain {refused}" in lines
    assert "full slow:two q8k memory: out of memory" in lines
    (zeros,) = [line for line in lines if line.startswith("full zeros:plain") and "wrong" in line]
    assert zeros.endswith("wrong: values 1, allowed 0.01")


def test_the_decision_comes_first(file: Path) -> None:
    tune(file)
    lines = run("cache", "show", "1").stdout.splitlines()
    assert lines[0] == "decision 1: swift:plain, pages of 16 tokens (NHD)"
    assert lines[1] == "  1.98x the default flash_attn:fa3"
    assert "  for: tiny, tp 1, engine any, profile balanced" in lines
    (on,) = [line for line in lines if line.startswith("  on: ")]
    assert on.startswith("  on: NVIDIA H100 80GB HBM3 (sm_90, 132 multiprocessors, 80 GiB")
    assert on.endswith("power limit 700 W")
    (versions,) = [line for line in lines if line.startswith("  with: ")]
    assert "nvidia-driver 580.1, torch " in versions


def test_outcomes_of_other_versions_are_left_out_of_the_tables_alone(file: Path) -> None:
    tune(file)
    shown = run("cache", "show", "1").stdout
    rows = stored_rows(file)
    other = [
        replace(rows[-1], key='{"n":1}', versions='{"torch":"1.0"}'),
        replace(rows[-1], key='{"n":2}', method=0),
        replace(rows[-1], key='{"n":3}', versions="{"),
    ]
    with Store.open(file) as store:
        store.put_measurements(other)
    said = run("cache", "show", "1").stdout
    line = "  3 outcomes of other versions or maxima are left out; --json has them\n"
    assert said.replace(line, "") == shown
    assert len(run_json("cache", "show", "1")["measurements"]) == len(rows) + 3


def test_outcomes_of_another_maximum_are_another_decision_s(file: Path) -> None:
    tune(file)
    shown = run("cache", "show", "1").stdout
    (stored,) = list_decisions(file)
    specs = spec_keys_of(stored.model.fingerprint)
    before = len(decision_measurements(file, stored.device.key, specs))
    tune(file, 65536)
    more = len(decision_measurements(file, stored.device.key, specs)) - before
    assert more > 0
    line = f"  {more} outcomes of other versions or maxima are left out; --json has them\n"
    assert run("cache", "show", "1").stdout.replace(line, "") == shown


def test_what_a_start_pays_stands_by_candidate_the_slowest_to_compile_first(file: Path) -> None:
    tune(file)
    rows = stored_rows(file)
    flash = next(row for row in rows if row.backend == "flash_attn" and row.outcome == "timed")
    with Store.open(file) as store:
        store.put_measurements([replace(flash, plan_waits=True, compile_s=9.96)])
    assert table(run("cache", "show", "1").stdout, "What a start pays") == [
        "swift:plain 61 s 394 MiB",
        "flash_attn:fa3 10 s 3 MiB yes",
        "slow:one 0.53 s",
        "slow:two 0.53 s",
    ]


def test_what_speaks_against_numbers_is_told_with_its_places(file: Path) -> None:
    tune(file)
    assert table(run("cache", "show", "1").stdout, "Health") == []
    hot, shared = "slowed down by heat", "two others use the GPU"
    changed = [
        replace(row, voided_rounds=2, warnings=json.dumps([hot, shared]))
        if row.workload == "q8k"
        else replace(row, voided_rounds=1, warnings=json.dumps([shared]))
        for row in stored_rows(file)
        if row.outcome == "timed" and row.workload in ("q8k", "16q4s4k")
    ]
    with Store.open(file) as store:
        store.put_measurements(changed)
    assert sorted(table(run("cache", "show", "1").stdout, "Health")) == [
        f"{hot} full q8k, window q8k",
        f"{shared} full q8k, full 16q4s4k, window q8k, window 16q4s4k",
    ]


def test_what_concerns_every_workload_is_not_told_one_by_one(file: Path) -> None:
    tune(file)
    timed = [row for row in stored_rows(file) if row.outcome == "timed"]
    with Store.open(file) as store:
        store.put_measurements(replace(row, warnings='["a guest"]') for row in timed)
    count = len({(row.spec_key, row.workload) for row in timed})
    assert table(run("cache", "show", "1").stdout, "Health") == [f"a guest all {count}"]


def test_json_has_the_rounds_and_the_start(file: Path) -> None:
    tune(file)
    timed = next(row for row in stored_rows(file) if row.backend == "swift")
    with Store.open(file) as store:
        store.put_measurements([replace(timed, rounds_us="[20.5, 21.0]")])
    rows = run_json("cache", "show", "1")["measurements"]
    (found,) = [row for row in rows if row.get("rounds_us")]
    assert found["rounds_us"] == [20.5, 21.0]
    assert (found["compile_s"], found["workspace_bytes"]) == (61.25, 394 << 20)
    assert found["health"] == {"warnings": [], "voided_rounds": 0}


def test_a_file_from_before_schema_2_is_shown_without_what_nobody_recorded(file: Path) -> None:
    unpack_h100_run(file)
    before = file.read_bytes()
    said = run("cache", "show", "1").stdout
    assert said.startswith("decision 1: flash_attn:fa3@vllm, pages of 16 tokens (NHD)\n")
    assert len(blocks(said)) == 24
    assert table(said, "Ranking")
    assert (table(said, "What a start pays"), table(said, "Health")) == ([], [])
    outcomes = run_json("cache", "show", "1")["measurements"]
    decode = next(row for row in outcomes if row["phase"] == "decode")
    assert decode["captured_len"] == 131072
    assert [row for row in outcomes if row.keys() & {"compile_s", "health", "rounds_us"}] == []
    assert file.read_bytes() == before
