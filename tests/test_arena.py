"""What a candidate is bound to, on the CPU and as on a GPU."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from bench_tasks import DEVICE, SPEC, entrant, task
from fakes import H100

from kernels_bench.arena import Admitted, Arena, page_sets
from kernels_bench.batch import make_contents
from kernels_bench.candidates import Entrant
from kernels_bench.clock import Contestant
from kernels_bench.gate import make_truth
from kernels_bench.host_clock import HostClock
from kernels_bench.messages import Task
from kernels_bench.spec import Device, Pages, Variant
from kernels_bench.workbench import room_bytes
from kernels_bench.workload import parse_workload

ALWAYS = Entrant("torch_sdpa", Variant("padded"), Pages(16))
NEVER = Entrant("torch_sdpa", Variant("padded", graph_phases=frozenset()), Pages(16))


def small_task(workload: str, device: Device = DEVICE) -> Task:
    return replace(task("torch_sdpa"), workload=parse_workload(workload), device=device)


def admit(task: Task, *entrants: Entrant) -> list[Contestant]:
    """The tensors stay on the CPU whatever device the task names."""
    contents = make_contents(task.spec, task.workload, torch.device("cpu"))
    arena = Arena(task, contents, make_truth(task.spec, contents))
    admitted = [arena.admit(each, HostClock()) for each in entrants]
    assert all(isinstance(each, Admitted) for each in admitted), admitted
    return [each.contestant for each in admitted if isinstance(each, Admitted)]


SMALL_GPU = replace(H100, last_level_cache_bytes=1 << 10)


@pytest.mark.parametrize("workload", ["3q1s40", "2q4s40"])
def test_what_an_engine_captures_gets_the_engine_s_maxima(workload: str) -> None:
    captured, eager = admit(small_task(workload, SMALL_GPU), ALWAYS, NEVER)
    assert (captured.captured, eager.captured) == (True, False)
    assert {batch.max_seq_len for batch in captured.batches} == {4096}
    assert {batch.max_seq_len for batch in eager.batches} == {40}
    assert captured.batches[0].block_table.shape[1] == 4096 // 16
    assert captured.batches[0].key_cache is eager.batches[0].key_cache


@pytest.mark.parametrize(
    ("workload", "device"), [("q40", SMALL_GPU), ("3q1s40_q24", SMALL_GPU), ("3q1s40", DEVICE)]
)
def test_everything_else_gets_the_batch_s_own(workload: str, device: Device) -> None:
    (eager,) = admit(small_task(workload, device), ALWAYS)
    assert not eager.captured
    assert eager.batches[0].max_seq_len == 40
    assert eager.batches[0].block_table.shape[1] == 3


@pytest.mark.parametrize(("cache_bytes", "is_cold"), [(1 << 10, True), (1 << 30, False)])
def test_whether_the_page_sets_fill_the_cache(cache_bytes: int, is_cold: bool) -> None:
    device = replace(DEVICE, last_level_cache_bytes=cache_bytes)
    (contestant,) = admit(small_task("3q1s40", device), entrant("torch_sdpa"))
    assert contestant.is_cold == is_cold
    assert len(contestant.launches) == len(contestant.batches)


def test_a_window_touches_less_and_so_needs_more_page_sets() -> None:
    device = replace(DEVICE, last_level_cache_bytes=64 << 10)
    full = small_task("q1s1k", device)
    window = replace(full, spec=replace(SPEC, sliding_window=256))
    assert page_sets(full) == 3
    assert page_sets(window) == 12


def test_room_grows_with_what_must_lie_in_memory() -> None:
    few, many = small_task("3q1s40"), small_task("300q1s40")
    kv_bytes = 300 * 40 * 2 * 16 * 2
    assert room_bytes(many) > room_bytes(few) > 2 << 30
    assert room_bytes(many) - room_bytes(few) > kv_bytes
