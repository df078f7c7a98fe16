"""Three ways to pick a winner, side by side on one GPU, over the same candidates in one process:

- ours: screen, interleaved rounds, early stop, a promotion margin;
- `triton.testing.do_bench` one candidate after the other, and the smallest mean;
- a fixed 5 + 7 interleaved rounds behind a flush of 256 MiB, promoted at 2 % (the scheme of vLLM's
  segmented-attention tuner).

python benchmarks/race_methods.py llama-3.1-8b 4 rounds.jsonl > methods.md

`rounds.jsonl` gets 40 rounds of everybody who is raced, and of the incumbent bound once more: the
noise that `race_simulation.py --recorded` draws from, and what two bindings of one kernel differ.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from autotune.models import ModelRequest, load_model
from autotune.plan import make_plan
from autotune.tuner import look_around
from autotune.wishes import Wishes
from kernels_bench.arena import Admitted, Arena
from kernels_bench.batch import make_contents
from kernels_bench.bench import Bench
from kernels_bench.clock import Contestant, Lap
from kernels_bench.cuda_blocks import Block, read
from kernels_bench.devices import find_device
from kernels_bench.gate import make_truth
from kernels_bench.grid import Grid, GridPoint
from kernels_bench.messages import Task
from kernels_bench.method import SEED
from kernels_bench.race import Heat, lineup, race
from kernels_bench.rules import Rules
from kernels_bench.standings import Promoted
from kernels_bench.workbench import Workbench, set_up
from kernels_bench.workload import parse_workload

WORKLOADS = ("q1s512", "8q1s1k", "32q1s2k", "64q1s4k", "q1k", "100q1s2kv80_5q1200")
ROUNDS = 40
NOT_RACED = frozenset({"torch_sdpa", "torch_flex"})
FLUSH_BYTES = 256 << 20
MARGIN = 0.98


@dataclass(frozen=True)
class Field:
    """Who is compared on a workload; the incumbent first."""

    task: Task
    labels: tuple[str, ...]
    contestants: tuple[Contestant, ...]
    bench: Workbench[Any]
    shuffle: random.Random


Method = Callable[[Field], int]
"""The index of the winner."""


def main() -> None:
    model, repeats, record = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    tasks = make_tasks(model, WORKLOADS, Wishes("any", NOT_RACED))
    bench = set_up(tasks[0].device, tasks[0].torch_device)
    methods: dict[str, Method] = {
        "ours": ours, "do_bench + smallest": do_bench_smallest, "fixed 5 + 7": five_and_seven,
    }  # fmt: skip
    seconds = dict.fromkeys(methods, 0.0)
    rows = []
    for task in tasks:
        field, twin = admitted(task, bench)
        with record.open("a") as file:
            file.write(json.dumps(recorded(field, twin)) + "\n")
        winners: dict[str, list[str]] = {name: [] for name in methods}
        for _ in range(repeats):
            for name, method in methods.items():
                started = time.perf_counter()
                winners[name].append(field.labels[method(field)])
                seconds[name] += time.perf_counter() - started
        rows.append((task.workload.text, len(field.labels), winners))
        print(task.workload.text, winners, file=sys.stderr)
    print_table(rows, seconds, repeats)


def make_tasks(model: str, workloads: Iterable[str], wishes: Wishes) -> list[Task]:
    """On the first GPU, each kind of layer."""
    points = (GridPoint(text, parse_workload(text)) for text in workloads)
    config = load_model(ModelRequest(model))
    with Bench() as bench:
        situation = look_around(config, find_device("cuda:0"), wishes, bench)
    plan = make_plan(situation, Grid(tuple(points)))
    return [plan.task(step, tuple(a.entrant for a in step.answers)) for step in plan.steps]


def admitted(task: Task, bench: Workbench[Any]) -> tuple[Field, Contestant]:
    """Those who are right, warm; and the incumbent, bound once more."""
    contents = make_contents(task.spec, task.workload, bench.torch_device)
    arena = Arena(task, contents, make_truth(task.spec, contents))
    pairs = [(entrant.label, arena.admit(entrant, bench.clock)) for entrant in task.entrants]
    right = [(label, each) for label, each in pairs if isinstance(each, Admitted)]
    twin = arena.admit(task.entrants[0], bench.clock)
    assert isinstance(twin, Admitted), twin
    for _, admitted in right:
        admitted.contestant.plan()
    labels = tuple(label for label, _ in right)
    contestants = tuple(admitted.contestant for _, admitted in right)
    return Field(task, labels, contestants, bench, random.Random(SEED)), twin.contestant


def ours(field: Field) -> int:
    clock, rules = field.bench.clock, field.task.rules
    probes = [clock.probe(each) for each in field.contestants]
    chosen = lineup([probe.run_us for probe in probes], rules)
    timers = [clock.ready(field.contestants[index], probes[index], rules) for index in chosen]
    heat = raced(field, timers, rules)
    return chosen[heat.standing.index] if isinstance(heat.standing, Promoted) else 0


def recorded(field: Field, twin: Contestant) -> dict[str, Any]:
    """Rounds of a fixed number, without a screen."""
    clock = field.bench.clock
    rules = replace(field.task.rules, min_rounds=ROUNDS, max_rounds=ROUNDS, screen_rounds=0)
    everybody = [*field.contestants, twin]
    probes = [clock.probe(each) for each in everybody]
    chosen = [*lineup([probe.run_us for probe in probes[:-1]], rules), len(probes) - 1]
    timers = [clock.ready(everybody[index], probes[index], rules) for index in chosen]
    heat = raced(field, timers, replace(rules, seconds=60.0))
    labels = [*field.labels, f"{field.labels[0]} again"]
    return {
        "workload": field.task.workload.text,
        "device": field.task.device.name,
        "rounds": {
            labels[index]: result.rounds_us
            for index, result in zip(chosen, heat.results, strict=True)
        },
    }


def raced(field: Field, timers: list[Any], rules: Rules) -> Heat:
    """By the device's time alone, as the other methods."""

    def run_round(order: Sequence[int]) -> dict[int, Lap]:
        laps = field.bench.clock.round(timers, order, lambda _: None)
        return {index: Lap(lap.device_us) for index, lap in laps.items()}

    return race(run_round, [0.0] * len(timers), rules, field.bench.watch, field.shuffle)


def do_bench_smallest(field: Field) -> int:
    import triton.testing

    means = [triton.testing.do_bench(each.launches[0].run) for each in field.contestants]
    return min(range(len(means)), key=means.__getitem__)


def five_and_seven(field: Field) -> int:
    """Medians of paired speed-ups; eager calls, as that tuner makes them."""
    import torch

    flush = torch.empty(FLUSH_BYTES // 4, dtype=torch.int32, device="cuda")
    runs = [Block(each.launches[0].run, delay_us=300.0) for each in field.contestants]

    def rounds(indices: list[int], count: int) -> dict[int, float]:
        ratios: dict[int, list[float]] = {index: [] for index in indices}
        for number in range(count):
            us = {}
            for index in indices if number % 2 == 0 else indices[::-1]:
                flush.zero_()
                us[index] = read(runs[index]).device_us
            for index in indices:
                ratios[index].append(us[0] / us[index])
        return {index: median(values) for index, values in ratios.items()}

    everybody = list(range(len(runs)))
    screened = rounds(everybody, 5)
    best = sorted(everybody[1:], key=lambda index: -screened[index])[:2]
    final = rounds([0, *best], 7)
    winner = max(final, key=lambda index: final[index])
    return winner if final[winner] >= 1 / MARGIN else 0


def print_table(
    rows: list[tuple[str, int, dict[str, list[str]]]], seconds: dict[str, float], repeats: int
) -> None:
    names = list(seconds)
    print(f"| workload | candidates | {' | '.join(names)} |")
    print(f"|---|---|{'---|' * len(names)}")
    for workload, count, winners in rows:
        cells = [told(winners[name]) for name in names]
        print(f"| `{workload}` | {count} | {' | '.join(cells)} |")
    spent = " | ".join(f"{seconds[name]:.1f} s" for name in names)
    print(f"| seconds, {repeats} repeats | | {spent} |")
    differ = " | ".join(
        f"{sum(len(set(winners[name])) > 1 for _, _, winners in rows)} of {len(rows)}"
        for name in names
    )
    print(f"| workloads whose winner differs between repeats | | {differ} |")


def told(winners: list[str]) -> str:
    counts = Counter(winners).most_common()
    return ", ".join(f"{label} {count}" if len(counts) > 1 else label for label, count in counts)


if __name__ == "__main__":
    main()
