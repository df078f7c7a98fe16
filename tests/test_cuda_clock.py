"""What the GPU's clock decides, without a GPU."""

from __future__ import annotations

from itertools import count

import pytest
from fakes import CPU, H100

from kernels_bench.capture import is_captured
from kernels_bench.clock import Contestant
from kernels_bench.cuda_blocks import eager_block, fixed_part_us
from kernels_bench.cuda_clock import block_calls
from kernels_bench.rules import CPU_RULES, GPU_RULES, Rules, rules_for
from kernels_bench.spec import Phase, Variant

RULES = Rules(block_us=1000.0, max_calls=48)


class Launch:
    """Notes that it ran."""

    def __init__(self, page_set: int, log: list[int]) -> None:
        self.page_set, self.log = page_set, log

    def plan(self) -> None:
        """Nothing to do."""

    def run(self) -> None:
        self.log.append(self.page_set)


def contestant(page_sets: int, *, captured: bool, is_cold: bool, log: list[int]) -> Contestant:
    launches = tuple(Launch(page_set, log) for page_set in range(page_sets))
    return Contestant(launches, (), captured, is_cold)


@pytest.mark.parametrize(
    ("estimate_us", "page_sets", "is_cold", "captured", "eager"),
    [
        (100.0, 1, True, 10, 10),
        (99.0, 1, True, 11, 11),
        (5000.0, 1, True, 1, 1),
        (500.0, 5, True, 5, 2),  # a graph walks through every page set
        (5.0, 8, True, 48, 48),
        (5.0, 48, True, 48, 48),
        (5.0, 8, False, 8, 8),  # a second walk would find the first one's pages
        (5000.0, 1, False, 1, 1),
        (-3.0, 1, True, 48, 48),  # an estimate below what is subtracted
    ],
)
def test_how_many_calls_make_a_block(
    estimate_us: float, page_sets: int, is_cold: bool, captured: int, eager: int
) -> None:
    graph = contestant(page_sets, captured=True, is_cold=is_cold, log=[])
    calls = contestant(page_sets, captured=False, is_cold=is_cold, log=[])
    assert block_calls(graph, estimate_us, RULES) == captured
    assert block_calls(calls, estimate_us, RULES) == eager


def test_nobody_finds_in_the_cache_what_another_has_just_read() -> None:
    log: list[int] = []
    turns = count()
    one, other = (contestant(5, captured=False, is_cold=True, log=log) for _ in range(2))
    blocks = [eager_block(one, 2, 10.0, turns), eager_block(other, 3, 10.0, turns)]
    for block in (*blocks, *reversed(blocks)):
        block.enqueue()
    assert log == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]


def test_what_a_replay_costs_whatever_it_holds() -> None:
    # 15 us and 2 us a call: 17 us with one, 79 us with 32
    assert fixed_part_us(17.0, 79.0, 32) == pytest.approx(15.0)
    assert fixed_part_us(2.0, 64.0, 32) == pytest.approx(0.0)
    assert fixed_part_us(2.0, 95.0, 32) == 0.0  # never a gift


@pytest.mark.parametrize("phase", Phase)
def test_engines_capture_uniform_batches_on_a_gpu(phase: Phase) -> None:
    always = Variant("always")
    never = Variant("never", graph_phases=frozenset())
    uniform = phase in (Phase.DECODE, Phase.VERIFY)
    assert is_captured(H100, always, phase) == uniform
    assert not is_captured(H100, never, phase)
    assert not is_captured(CPU, always, phase)


def test_a_gpu_is_timed_in_short_blocks() -> None:
    assert rules_for(CPU) == CPU_RULES
    assert rules_for(H100) == GPU_RULES
    assert GPU_RULES.block_us < CPU_RULES.block_us
