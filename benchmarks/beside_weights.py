"""Is attention as fast in a step of a model as in our blocks of nothing but attention?

python benchmarks/beside_weights.py MODEL WORKLOAD... [--walk 4] > beside-weights.md

MODEL is what `autotune --model` takes. Decodes alone, whoever vLLM can load, each kind of layer:

- block: the time that `autotune` would store;
- kernels: the same block's kernels, summed by CUPTI, without what lies between them;
- walk: as block, over more page sets, so that nothing of the first is left in the cache;
- beside weights: the kernels where a matrix product with weights of 205 MB precedes every call, as
  in a layer of an 8B model: caches are cold, and the device draws more power.

What a whole engine's kernels take at the same lengths is what `engine.py --trace` records.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import cycle, islice
from statistics import median
from typing import Any

import torch

from autotune.models import ModelRequest, load_model
from autotune.plan import make_plan
from autotune.tuner import look_around
from autotune.wishes import Wishes
from kernels_bench.arena import Admitted, Arena
from kernels_bench.batch import at_maxima, make_contents
from kernels_bench.bench import Bench
from kernels_bench.clock import Contestant
from kernels_bench.devices import find_device
from kernels_bench.gate import make_truth
from kernels_bench.grid import Grid, GridPoint
from kernels_bench.messages import Task
from kernels_bench.workbench import Workbench, set_up
from kernels_bench.workload import parse_workload

ROUNDS = 7
CALLS = 8
WEIGHTS = (3584, 28672)
"""Of Gemma-2-9B's gate and up projections in bfloat16: four times an H100's cache."""


@dataclass(frozen=True)
class Row:
    """One candidate on one workload and kind of layer; microseconds of a call."""

    label: str
    block_us: float
    kernels_us: float
    walk_us: float
    beside_us: float


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("model")
    asked.add_argument("workload", nargs="+")
    asked.add_argument("--walk", type=int, default=4)
    given = asked.parse_args()
    say("| workload | layer | candidate | block | kernels | walk | beside weights |")
    say("|---|---|---|---|---|---|---|")
    bench: Workbench[Any] | None = None
    for kind, task in tasks_of(given.model, given.workload):
        bench = bench or set_up(task.device, task.torch_device)
        for row in rows_of(task, bench, given.walk):
            times = (row.block_us, row.kernels_us, row.walk_us, row.beside_us)
            told = " | ".join(f"{us:.1f}" for us in times)
            say(f"| {task.workload.text} | {kind} | {row.label} | {told} |")


def tasks_of(model: str, workloads: Iterable[str]) -> list[tuple[str, Task]]:
    """With the layer's kind."""
    points = (GridPoint(text, parse_workload(text)) for text in workloads)
    with Bench() as bench:
        found = find_device("cuda:0")
        situation = look_around(
            load_model(ModelRequest(model)), found, Wishes("vllm", frozenset()), bench
        )
    plan = make_plan(situation, Grid(tuple(points)))
    return [
        (situation.kind_of(step.spec), plan.task(step, tuple(a.entrant for a in step.answers)))
        for step in plan.steps
    ]


def rows_of(task: Task, bench: Workbench[Any], walk: int) -> list[Row]:
    """Those who are right."""
    contents = make_contents(task.spec, task.workload, bench.torch_device)
    arena, wide = (Arena(task, contents, make_truth(task.spec, contents)) for _ in range(2))
    wide._page_sets = walk  # what it asks of memory is for whoever calls this to know
    weights = torch.randn(WEIGHTS, dtype=torch.bfloat16, device=bench.torch_device)
    tokens = torch.randn(len(contents.query), WEIGHTS[0], dtype=torch.bfloat16, device="cuda")
    result = tokens @ weights

    def product() -> None:
        torch.mm(tokens, weights, out=result)

    rows = []
    for entrant in task.entrants:
        narrow, walked = (each.admit(entrant, bench.clock) for each in (arena, wide))
        if not isinstance(narrow, Admitted) or not isinstance(walked, Admitted):
            sys.stderr.write(f"{entrant.label}: {narrow}\n")
            continue
        one = narrow.contestant
        products = kernels_us(graph_of(one, product, lambda _: None))
        row = Row(
            entrant.label,
            block_us(task, bench, narrow),
            kernels_us(graph_of(one, lambda: None, lambda launch: launch.run())),
            block_us(task, bench, walked),
            kernels_us(graph_of(one, product, lambda launch: launch.run())) - products,
        )
        rows.append(row)
    return rows


def block_us(task: Task, bench: Workbench[Any], admitted: Admitted) -> float:
    """As the race reads it, without a rival."""
    rules = replace(task.rules, screen_rounds=0)
    timer = bench.clock.ready(admitted.contestant, admitted.probe, rules)
    laps = [bench.clock.round([timer], [0], lambda _: None)[0].device_us for _ in range(ROUNDS)]
    return median(laps)


def graph_of(
    contestant: Contestant, before: Callable[[], None], run: Callable[[Any], None]
) -> torch.cuda.CUDAGraph:
    """Calls and what precedes each, captured as `kernels_bench` does."""
    graph = torch.cuda.CUDAGraph()
    with at_maxima(contestant.batches):
        contestant.plan()
        torch.cuda.synchronize()
        with torch.cuda.graph(graph):
            for launch in islice(cycle(contestant.launches), CALLS):
                before()
                run(launch)
    contestant.plan()
    return graph


def kernels_us(graph: torch.cuda.CUDAGraph) -> float:
    """Sum of its kernels' times, a call's part; the median of a few replays."""
    sums = []
    for _ in range(ROUNDS):
        graph.replay()
        torch.cuda.synchronize()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as traced:
            graph.replay()
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
