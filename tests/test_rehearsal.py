"""A candidate's first run: on the shapes of real workloads, over few pages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
import torch
from bench_tasks import SPEC, entrant, rehearsals
from fakes import H100

from kernels_bench import rehearsal as module
from kernels_bench.batch import Batch
from kernels_bench.binding import prepared
from kernels_bench.memory import Memory
from kernels_bench.messages import Rehearsed
from kernels_bench.method import SEED
from kernels_bench.rehearsal import rehearse, shared_pages, stand_in
from kernels_bench.spec import Device, Failed, Pages
from kernels_bench.workload import parse_workload

CPU = torch.device("cpu")


class CompilationError(Exception):
    __module__ = "triton.compiler.errors"


@dataclass
class FakeLaunch:
    """Notes what was asked of it, and may raise."""

    batch: Batch
    log: list[str]
    error: Exception | None = None

    def plan(self) -> None:
        self.log.append("plan")

    def run(self) -> None:
        self.log.append("run")
        if self.error is not None:
            raise self.error


@dataclass
class FakeBinding:
    """As `prepared`: a launch a batch."""

    error_at: Callable[[int], Exception | None] = lambda _: None
    """Number of the batch -> what its run raises."""
    log: list[str] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)

    def prepared(self, _: object, __: object, batch: Batch) -> FakeLaunch:
        self.log.append("prepare")
        self.batches.append(batch)
        return FakeLaunch(batch, self.log, self.error_at(len(self.batches) - 1))


def run(
    monkeypatch: pytest.MonkeyPatch, fake: FakeBinding, device: Device | None = None
) -> Rehearsed | Failed:
    (asked,) = rehearsals("torch_sdpa")
    monkeypatch.setattr(module, "prepared", fake.prepared)
    return rehearse(replace(asked, device=device or asked.device), CPU, Memory(CPU))


def test_every_workload_is_run_once_in_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeBinding()
    ready = run(monkeypatch, fake)
    assert isinstance(ready, Rehearsed)
    assert ready.seconds > 0
    assert ready.workspace_bytes is None  # nobody counts on a CPU
    assert fake.log == ["prepare", "plan", "run"] * 4
    assert [batch.seq_lens.tolist() for batch in fake.batches] == [
        [40, 40, 40], [24], [60], [40, 40, 40, 24],
    ]  # fmt: skip


def test_what_does_not_compile_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeBinding(lambda number: CompilationError("no such op") if number == 1 else None)
    assert run(monkeypatch, fake) == Failed("compile", "CompilationError: no such op")
    assert len(fake.batches) == 2


@pytest.mark.parametrize("error", [MemoryError("3 TiB"), ValueError("too wide")], ids=repr)
def test_who_fails_on_one_workload_is_rehearsed_on_the_others(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    fake = FakeBinding(lambda number: error if number == 0 else None)
    assert isinstance(run(monkeypatch, fake), Rehearsed)
    assert len(fake.batches) == 4


def test_what_was_allocated_without_end_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the driver finds no room for the next one's kernels."""
    given_back: list[str] = []
    monkeypatch.setattr(Memory, "give_back", lambda _: given_back.append("now"))
    errors = [ValueError("too wide"), MemoryError("3 TiB"), None, None]
    run(monkeypatch, FakeBinding(lambda number: errors[number]))
    assert given_back == ["now"]


def test_who_loses_the_device_has_failed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is run behind it would be blamed for it."""
    monkeypatch.setattr(Memory, "survives", lambda _: False)
    fake = FakeBinding(lambda _: RuntimeError("CUDA error: an illegal memory access"))
    failed = run(monkeypatch, fake)
    assert failed == Failed("exception", "RuntimeError: CUDA error: an illegal memory access")
    assert len(fake.batches) == 1


def test_what_an_engine_captures_is_as_wide_as_the_engine_captures_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = FakeBinding()
    run(monkeypatch, fake, H100)
    decode, prefill, extend, mixed = fake.batches
    assert decode.max_seq_len == 4096
    assert decode.block_table.shape == (3, 256)
    assert [batch.max_seq_len for batch in (prefill, extend, mixed)] == [24, 60, 40]
    assert mixed.block_table.shape == (4, 3)


@pytest.mark.parametrize("text", ["q1s4k", "8q1s1kv80", "q300", "2q64s2k", "4q4s300", "3q1s40_q24"])
@pytest.mark.parametrize("pages", [Pages(16), Pages(256), Pages(32, "HND")], ids=str)
def test_a_stand_in_has_the_shapes_of_the_batch_it_stands_for(text: str, pages: Pages) -> None:
    workload = parse_workload(text)
    requests = workload.requests(SEED)
    batch = stand_in(shared_pages(SPEC, pages, CPU), workload, longest_tokens=0)
    lengths = [request.total_tokens for request in requests]
    tokens = sum(request.new_tokens for request in requests)
    assert batch.seq_lens.tolist() == batch.seq_lens_cpu.tolist() == lengths
    assert batch.query.shape == (tokens, SPEC.num_q_heads, SPEC.head_dim)
    assert batch.output.shape == (tokens, SPEC.num_q_heads, SPEC.value_dim)
    assert batch.query_start_loc.tolist()[-1] == tokens
    assert batch.max_query_len == max(request.new_tokens for request in requests)
    assert batch.max_seq_len == max(lengths)
    assert batch.block_table.shape == (len(requests), -(-max(lengths) // pages.size))
    assert batch.block_table.dtype == torch.int32
    assert batch.pages == pages


def test_a_stand_in_takes_few_pages_and_none_that_nobody_owns() -> None:
    batch = stand_in(shared_pages(SPEC, Pages(16), CPU), parse_workload("q1s64k"), longest_tokens=0)
    assert len(batch.key_cache) < 100
    used = batch.block_table.unique().long()
    assert torch.isfinite(batch.key_cache[used]).all()
    assert torch.isfinite(batch.value_cache[used]).all()


@pytest.mark.parametrize("text", ["3q1s40", "q24", "2q20s60", "3q1s40_q24"])
def test_an_honest_backend_runs_on_a_stand_in(text: str) -> None:
    batch = stand_in(shared_pages(SPEC, Pages(16), CPU), parse_workload(text), longest_tokens=4096)
    batch.output.fill_(torch.nan)
    launch = prepared(entrant("torch_sdpa"), SPEC, batch)
    launch.plan()
    launch.run()
    assert torch.isfinite(batch.output).all()
