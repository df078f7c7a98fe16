"""What `cache show` prints of many candidates on many workloads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cli_runs import run, run_json
from fakes import FULL, H100_FOUND, WINDOW, FakeBackend, FakeBench, make_model, refusing

from autotune._store import Store, decision_measurements, list_decisions
from autotune.keys import spec_keys_of
from autotune.profiles import BALANCED
from autotune.tuner import Job, warm
from autotune.wishes import Wishes
from kernels_bench.bench import Answer
from kernels_bench.messages import Finished, Task
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


def answer(task: Task) -> Answer | None:
    outcomes = {**OUTCOMES}
    if task.workload.text == "q8k":
        outcomes["slow:two"] = Failed("memory", "out of memory")
    return Finished(tuple(outcomes[entrant.label] for entrant in task.entrants))


def tune(file: Path, max_model_len: int = 131072) -> None:
    model = make_model(FULL, WINDOW, max_model_len=max_model_len)
    with Store.open(file) as store:
        bench = FakeBench({}, BACKENDS, on_task=answer)
        warm(Job(model, H100_FOUND, BALANCED, Wishes("any")), store, bench)


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
    (stored,) = list_decisions(file)
    rows = decision_measurements(file, stored.device.key, spec_keys_of(stored.model.fingerprint))
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
    (stored,) = list_decisions(file)
    rows = decision_measurements(file, stored.device.key, spec_keys_of(stored.model.fingerprint))
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
