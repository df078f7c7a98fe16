"""The measuring process on a real GPU: graphs, faults, memory, and a parent without a context."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from bench_tasks import PLUGINS

from kernels_bench.bench import Bench
from kernels_bench.candidates import Entrant
from kernels_bench.devices import find_device
from kernels_bench.messages import Finished, HarnessFailed, Task
from kernels_bench.rules import Rules
from kernels_bench.spec import AttentionSpec, Failed, Outcome, Pages, Timed, Variant, Wrong
from kernels_bench.workload import parse_workload

pytestmark = pytest.mark.gpu

SPEC = AttentionSpec(8, 2, 64, "bfloat16", num_layers=1)
RULES = Rules(min_rounds=3, max_rounds=3, block_us=200.0, max_calls=16, seconds=1.0)


@pytest.fixture(autouse=True)
def _plugins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(PLUGINS / "gpu"))
    return


@pytest.fixture
def bench() -> Iterator[Bench]:
    with Bench() as bench:
        yield bench


def task(*backends: str, workload: str = "4q1s300v80") -> Task:
    found = find_device("cuda:0")
    entrants = tuple(Entrant(name, Variant("plain"), Pages(16)) for name in backends)
    return Task(found.device, found.selector, SPEC, parse_workload(workload), 8192, entrants, RULES)


def outcomes(bench: Bench, *backends: str) -> tuple[Outcome, ...]:
    answer = bench.measure(task(*backends))
    assert isinstance(answer, Finished), answer
    return answer.outcomes


def test_a_graph_is_replayed_at_the_batch_s_own_lengths(bench: Bench) -> None:
    (timed,) = outcomes(bench, "follows")
    assert isinstance(timed, Timed), timed
    assert timed.gpu_us > 0
    assert timed.call_us > 0
    assert timed.samples == 3
    assert timed.is_captured
    assert 0 < timed.floor_fraction < 1


def test_who_freezes_the_lengths_of_the_capture_is_wrong(bench: Bench) -> None:
    frozen, follows = outcomes(bench, "frozen", "follows")
    assert isinstance(frozen, Wrong), frozen
    assert isinstance(follows, Timed), follows


def test_who_waits_for_the_device_cannot_be_captured(bench: Bench) -> None:
    waits, follows = outcomes(bench, "waits", "follows")
    assert isinstance(waits, Failed), waits
    assert "captur" in waits.message
    assert isinstance(follows, Timed), follows


def test_an_illegal_access_costs_the_process_and_nobody_else(bench: Bench) -> None:
    follows, faults, again = outcomes(bench, "follows", "faults", "follows")
    assert isinstance(faults, Failed), faults
    assert faults.kind == "crash"
    assert "CUDA error" in faults.message
    assert isinstance(follows, Timed), follows
    assert isinstance(again, Timed), again


def test_a_workload_that_does_not_fit_is_left_out_by_name(bench: Bench) -> None:
    device = find_device("cuda:0").device
    much = replace(task("follows"), device=replace(device, memory_bytes=device.memory_bytes * 100))
    tokens = device.memory_bytes // (2 * 2 * 64 * 2)
    answer = bench.measure(replace(much, workload=parse_workload(f"q1s{tokens}")))
    assert isinstance(answer, HarnessFailed), answer
    assert "MiB are free on cuda:0" in answer.message
    assert device.name in answer.message


def test_the_parent_makes_no_context(bench: Bench) -> None:
    outcomes(bench, "follows")
    import torch

    assert not torch.cuda.is_initialized()
