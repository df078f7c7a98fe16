"""What attention costs at the clocks that an engine's matrix products leave it.

python benchmarks/at_power.py MODEL WORKLOAD... [--heat-s 0.3] > at-power.md

MODEL is what `autotune --model` takes. Whoever vLLM can load, each kind of layer; a block as the
race reads it, in microseconds a call, and the clock and the power right behind it:

- alone: blocks of that candidate, one after the other (the clock follows a second later: only the
  first row's is that of a device which did nothing before);
- behind decodes, behind prompts: each block follows `--heat-s` seconds of matrix products of 256
  and of 8192 tokens with weights of 205 MB, without a pause.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import torch
from beside_weights import ROUNDS, WEIGHTS, kind_of, say
from engine_gauges import Meter
from race_methods import make_tasks

from autotune.wishes import Wishes
from kernels_bench.arena import Admitted, Arena
from kernels_bench.batch import make_contents
from kernels_bench.clock import Timer
from kernels_bench.gate import make_truth
from kernels_bench.messages import Task
from kernels_bench.workbench import Workbench, set_up

HEATS = {"decodes": 256, "prompts": 8192}
"""Tokens of a product."""
_ROUND_CALLS = 20


@dataclass(frozen=True)
class Seen:
    """One candidate under one heat."""

    block_us: float
    clock_mhz: float
    power_w: float

    def __str__(self) -> str:
        return f"{self.block_us:.1f} | {self.clock_mhz:.0f} | {self.power_w:.0f}"


class Heat:
    """Matrix products that are enqueued for about so long."""

    def __init__(self, tokens: int, seconds: float, device: torch.device) -> None:
        self._weights = torch.randn(WEIGHTS, dtype=torch.bfloat16, device=device)
        self._tokens = torch.randn((tokens, WEIGHTS[0]), dtype=torch.bfloat16, device=device)
        self._result = self._tokens @ self._weights
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        self._run(_ROUND_CALLS)
        end.record()
        torch.cuda.synchronize()
        self._calls = int(seconds * 1e3 / start.elapsed_time(end) * _ROUND_CALLS)

    def __call__(self) -> None:
        self._run(self._calls)

    def _run(self, calls: int) -> None:
        for _ in range(calls):
            torch.mm(self._tokens, self._weights, out=self._result)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("model")
    asked.add_argument("workload", nargs="+")
    asked.add_argument("--heat-s", type=float, default=0.3)
    given = asked.parse_args()
    columns = [f"{what} {unit}" for what in ("alone", *HEATS) for unit in ("us", "MHz", "W")]
    say(f"| workload | layer | candidate | {' | '.join(columns)} |")
    say("|---" * (3 + len(columns)) + "|")
    bench: Workbench[Any] | None = None
    heats: list[Heat] = []
    meter = Meter()
    for task in make_tasks(given.model, given.workload, Wishes("vllm", frozenset())):
        if bench is None:
            bench = set_up(task.device, task.torch_device)
            heats = [Heat(tokens, given.heat_s, bench.torch_device) for tokens in HEATS.values()]
        for label, seen in rows_of(task, bench, heats, meter):
            told = " | ".join(map(str, seen))
            say(f"| {task.workload.text} | {kind_of(task.spec)} | {label} | {told} |")


def rows_of(
    task: Task, bench: Workbench[Any], heats: list[Heat], meter: Meter
) -> Iterator[tuple[str, list[Seen]]]:
    """Those who are right."""
    contents = make_contents(task.spec, task.workload, bench.torch_device)
    arena = Arena(task, contents, make_truth(task.spec, contents))
    for entrant in task.entrants:
        found = arena.admit(entrant, bench.clock)
        if not isinstance(found, Admitted):
            sys.stderr.write(f"{entrant.label}: {found}\n")
            continue
        rules = replace(task.rules, heat=0.0)
        timer: Any = bench.clock.ready(found.contestant, found.probe, rules)
        befores = (timer.block.enqueue, *heats)
        yield entrant.label, [behind(before, timer, bench, meter) for before in befores]


def behind(before: Callable[[], object], timer: Timer, bench: Workbench[Any], meter: Meter) -> Seen:
    """Medians of the rounds."""
    laps = []
    for _ in range(ROUNDS):
        before()
        device_us = bench.clock.round([timer], [0], lambda _: None)[0].device_us
        look = meter.read()
        laps.append((device_us, look.clock_mhz, look.power_w))
    return Seen(*(median(column) for column in zip(*laps, strict=True)))


if __name__ == "__main__":
    main()
