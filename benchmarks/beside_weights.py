"""Is attention as fast in a step of a model as in our blocks of nothing but attention?

python benchmarks/beside_weights.py MODEL WORKLOAD... [--walk 8] > beside-weights.md

MODEL is what `autotune --model` takes. Decodes, whoever vLLM can load, each kind of layer; of a
call, in microseconds:

- block: the time that `autotune` would store;
- walk: over more page sets, so that nothing of the first is left in a cache, its address neither;
- joint: keys and values of a page side by side, as vLLM 0.24 allocates them;
- kernels: of the first and of the last of these, summed by CUPTI, without what lies between them;
- beside weights: the last's kernels where a matrix product with weights of 205 MB precedes every
  call, as in a layer of an 8B model: caches are cold, and the device draws more power.

What a whole engine's kernels take at the same lengths is what `engine.py --trace` records.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import torch
from race_methods import make_tasks

from autotune.wishes import Wishes
from kernels_bench import batch
from kernels_bench.arena import Admitted, Arena
from kernels_bench.backends.base import Launch
from kernels_bench.batch import make_contents
from kernels_bench.clock import Contestant
from kernels_bench.cuda_blocks import captured_block
from kernels_bench.gate import make_truth
from kernels_bench.messages import Task
from kernels_bench.pool import Pool
from kernels_bench.spec import AttentionSpec
from kernels_bench.workbench import Workbench, set_up

ROUNDS = 7
CALLS = 24
WEIGHTS = (3584, 28672)
"""Of Gemma-2-9B's gate and up projections in bfloat16: four times an H100's cache."""
_COLUMNS = (
    "block",
    "walk",
    "joint",
    "joint walk",
    "kernels",
    "joint walk kernels",
    "beside weights",
)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("model")
    asked.add_argument("workload", nargs="+")
    asked.add_argument("--walk", type=int, default=8)
    given = asked.parse_args()
    say(f"| workload | layer | candidate | {' | '.join(_COLUMNS)} |")
    say("|---" * (3 + len(_COLUMNS)) + "|")
    bench: Workbench[Any] | None = None
    for task in make_tasks(given.model, given.workload, Wishes("vllm", frozenset())):
        kind = kind_of(task.spec)
        bench = bench or set_up(task.device, task.torch_device)
        for label, times_us in rows_of(task, bench, given.walk):
            told = " | ".join(f"{us:.1f}" for us in times_us)
            say(f"| {task.workload.text} | {kind} | {label} | {told} |")


def rows_of(
    task: Task, bench: Workbench[Any], walk: int
) -> Iterator[tuple[str, tuple[float, ...]]]:
    """Those who are right, with a time for each column."""
    contents = make_contents(task.spec, task.workload, bench.torch_device)
    truth = make_truth(task.spec, contents)
    plain, walked, joint, joint_walked = (Arena(task, contents, truth) for _ in range(4))
    walked._page_sets = joint_walked._page_sets = walk  # its memory is the caller's to know
    weights = torch.randn(WEIGHTS, dtype=torch.bfloat16, device=bench.torch_device)
    tokens = torch.randn(
        (len(contents.query), WEIGHTS[0]), dtype=torch.bfloat16, device=bench.torch_device
    )
    result = tokens @ weights

    def product() -> None:
        torch.mm(tokens, weights, out=result)

    for entrant in task.entrants:
        found = [arena.admit(entrant, bench.clock) for arena in (plain, walked)]
        with keys_beside_values():
            found += [arena.admit(entrant, bench.clock) for arena in (joint, joint_walked)]
        admitted = [each for each in found if isinstance(each, Admitted)]
        if len(admitted) < len(found):
            sys.stderr.write(f"{entrant.label}: {found}\n")
            continue
        first, last = admitted[0].contestant, admitted[-1].contestant
        both, alone = (behind(product, last, is_run) for is_run in (True, False))
        yield (
            entrant.label,
            (
                *(block_us(task, bench, each) for each in admitted),
                *(kernels_us(each) for each in (first, last)),
                kernels_us(both) - kernels_us(alone),
            ),
        )


@dataclass(frozen=True)
class Behind:
    """A launch, and what a model runs before it; or that alone, to be taken off again."""

    before: Callable[[], None]
    launch: Launch
    is_run: bool

    def plan(self) -> None:
        self.launch.plan()

    def run(self) -> None:
        self.before()
        if self.is_run:
            self.launch.run()


def behind(before: Callable[[], None], contestant: Contestant, is_run: bool) -> Contestant:
    launches = tuple(Behind(before, launch, is_run) for launch in contestant.launches)
    return replace(contestant, launches=launches)


@contextmanager
def keys_beside_values() -> Iterator[None]:
    """Pools that are made meanwhile have a page's keys and values in one piece of memory."""
    make_pool = batch.make_pool

    def make_joint(*given: Any) -> Pool:
        pool = make_pool(*given)
        both = torch.stack((pool.key_cache, pool.value_cache), dim=1)
        return replace(pool, key_cache=both[:, 0], value_cache=both[:, 1])

    batch.make_pool = make_joint
    try:
        yield
    finally:
        batch.make_pool = make_pool


def kind_of(spec: AttentionSpec) -> str:
    return "full" if spec.sliding_window is None else f"window {spec.sliding_window}"


def block_us(task: Task, bench: Workbench[Any], admitted: Admitted) -> float:
    """As the race reads it, without a rival."""
    timer = bench.clock.ready(admitted.contestant, admitted.probe, task.rules)
    laps = [bench.clock.round([timer], [0], lambda _: None)[0].device_us for _ in range(ROUNDS)]
    return median(laps)


def kernels_us(contestant: Contestant) -> float:
    """Sum of the kernels' times of a call, from a graph of several; the median of a few replays."""
    block, sums = captured_block(contestant, CALLS), list[int]()
    for _ in range(ROUNDS):
        block.enqueue()
        torch.cuda.synchronize()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as traced:
            block.enqueue()
            torch.cuda.synchronize()
        spans = traced.profiler.kineto_results.events()
        on_device = torch.autograd.DeviceType.CUDA
        sums.append(sum(e.duration_ns() for e in spans if e.device_type() == on_device))
    return median(sums) / 1e3 / CALLS


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
