"""How often does the race leave a default that is as good as any, and how often does it find a
winner? The real `race` over a clock that shows synthetic or recorded noise; no GPU.

    python benchmarks/race_simulation.py > race-simulation.md
    python benchmarks/race_simulation.py --recorded rounds.jsonl > recorded.md

A line of the recorded file: {"workload": ..., "device": ..., "rounds": {candidate: [us, ...]}}.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from statistics import fmean, median
from textwrap import dedent
from typing import Any

import numpy as np

from kernels_bench.clock import Lap
from kernels_bench.health import NO_WATCH
from kernels_bench.race import race
from kernels_bench.rules import GPU_RULES
from kernels_bench.standings import Promoted

CANDIDATES = 6
BLOCKS = 400
"""More than any method uses in a run."""
BASE_US = 1_000.0
RULES = replace(GPU_RULES, seconds=math.inf)
SEED = 20_261_122
EQUAL_NOISES = (0.01, 0.02, 0.03)
NOISES = (0.005, 0.01, 0.02)
GAINS = (0.02, 0.03, 0.05, 0.20)
ROWS_TOGETHER = 5
"""Recorded rounds that follow each other stay together, so many at a time."""


@dataclass(frozen=True)
class World:
    """What disturbs a block, beside independent normal noise."""

    name: str
    drift: float = 0.0
    """Common to all: standard deviation of an AR(1) process, 0.98 from block to block."""
    outliers: float = 0.0
    """Share of blocks that take longer, by 20 % on average (exponential)."""
    ramp: float = 0.0
    """Common to all: the clock falls by so much over the first 60 blocks."""
    bias: float = 0.0
    """Standard deviation of a constant offset of each contestant."""
    uneven: float = 1.0
    """One challenger's noise over that of the others."""


EVERYTHING = World("everything", drift=0.02, outliers=0.03, ramp=0.05, bias=0.003)
WORLDS = (
    World("independent noise"),
    World("common drift of 2 %", drift=0.02),
    World("2 % outliers", outliers=0.02),
    World("5 % outliers", outliers=0.05),
    World("clock falls by 5 %", ramp=0.05),
    World("A/A bias of 0.3 %", bias=0.003),
    World("one challenger 3 times as noisy", uneven=3.0),
    EVERYTHING,
)


@dataclass
class Tape:
    """What a clock shows in one run; each method plays it from the start."""

    logs: np.ndarray[Any, Any]
    """[row, contestant]: the logarithm of a time."""
    rows_are_rounds: bool = False
    """A round is one row, and not a row a block."""
    blocks: int = 0
    row: int = 0

    def round_us(self, order: Sequence[int]) -> dict[int, float]:
        """A block of each, in this order."""
        times_us = {}
        for index in order:
            times_us[index] = BASE_US * math.exp(self.logs[self.row % len(self.logs), index])
            self.row += not self.rows_are_rounds
        self.row += self.rows_are_rounds
        self.blocks += len(order)
        return times_us

    @property
    def contestants(self) -> int:
        return self.logs.shape[1]


def ours(tape: Tape, seed: int) -> int:
    def run_round(order: Sequence[int]) -> dict[int, Lap]:
        return {index: Lap(us) for index, us in tape.round_us(order).items()}

    no_plans = [0.0] * tape.contestants
    standing = race(run_round, no_plans, RULES, NO_WATCH, random.Random(seed)).standing
    return standing.index if isinstance(standing, Promoted) else 0


def five_and_seven(tape: Tape, seed: int) -> int:  # noqa: ARG001
    """The scheme of vLLM's segmented-attention tuner: 5 interleaved rounds, the incumbent and two
    go on for 7, the largest median of paired speed-ups is promoted from 1.02 on.
    """

    def speedups(indices: Sequence[int], count: int) -> dict[int, float]:
        ratios: dict[int, list[float]] = {index: [] for index in indices}
        for number in range(count):
            us = tape.round_us(indices if number % 2 == 0 else indices[::-1])
            for index in indices:
                ratios[index].append(us[0] / us[index])
        return {index: median(values) for index, values in ratios.items()}

    screened = speedups(range(tape.contestants), 5)
    two = sorted(range(1, tape.contestants), key=lambda index: -screened[index])[:2]
    final = speedups((0, *two), 7)
    best = max(final, key=final.__getitem__)
    return best if final[best] >= 1.02 else 0


def one_after_the_other(tape: Tape, seed: int) -> int:  # noqa: ARG001
    """Ten blocks of each, and the smallest mean."""
    means = [
        fmean(tape.round_us((index,))[index] for _ in range(10))
        for index in range(tape.contestants)
    ]
    return min(range(len(means)), key=means.__getitem__)


METHODS: dict[str, Callable[[Tape, int], int]] = {
    "race": ours, "fixed 5 + 7": five_and_seven, "one after the other": one_after_the_other,
}  # fmt: skip


@dataclass
class Tally:
    """Of one method in one cell."""

    left: int = 0
    found: int = 0
    blocks: list[int] = field(default_factory=list)


def synthetic(world: World, noise: float, gain: float, run: int) -> tuple[Tape, int]:
    """A tape and the index of the best: somebody drawn, whose time is 1 / (1 + gain)."""
    draw = np.random.default_rng((SEED, run))
    logs = noise * draw.standard_normal((BLOCKS, CANDIDATES))
    best, noisy = draw.integers(1, CANDIDATES, 2)
    logs[:, noisy] *= world.uneven
    struck = draw.random(logs.shape) < world.outliers
    logs += struck * np.log1p(draw.exponential(0.2, logs.shape))
    logs += world.bias * draw.standard_normal(CANDIDATES)
    logs += world.ramp * np.minimum(np.arange(BLOCKS) / 60, 1)[:, None]
    logs += world.drift * ar1(draw)[:, None]
    logs[:, best] -= math.log1p(gain)
    return Tape(logs), int(best)


def ar1(draw: np.random.Generator, memory: float = 0.98) -> np.ndarray[Any, Any]:
    """Of standard deviation 1, a value a block."""
    steps = draw.standard_normal(BLOCKS)
    values = np.empty(BLOCKS)
    values[0] = steps[0]
    for i in range(1, BLOCKS):
        values[i] = memory * values[i - 1] + math.sqrt(1 - memory**2) * steps[i]
    return values


def resampled(residuals: np.ndarray[Any, Any], gain: float, run: int) -> tuple[Tape, int]:
    """Recorded rounds in a new order, a few neighbours at a time; candidates change places."""
    draw = np.random.default_rng((SEED, run))
    starts = draw.integers(0, len(residuals), BLOCKS // ROWS_TOGETHER)
    rows = (starts[:, None] + np.arange(ROWS_TOGETHER)).ravel() % len(residuals)
    logs = residuals[rows][:, draw.permutation(residuals.shape[1])]
    best = int(draw.integers(1, logs.shape[1]))
    logs[:, best] -= math.log1p(gain)
    return Tape(logs, rows_are_rounds=True), best


def play(make: Callable[[int], tuple[Tape, int]], runs: int) -> dict[str, Tally]:
    """Every method over the same tapes."""
    tallies = {name: Tally() for name in METHODS}
    for run in range(runs):
        tape, best = make(run)
        for name, method in METHODS.items():
            own = replace(tape)
            winner = method(own, run)
            tallies[name].left += winner != 0
            tallies[name].found += winner == best
            tallies[name].blocks.append(own.blocks)
    return tallies


def recorded(file: Path) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """Name and residuals [round, candidate] of every line; whoever was sent home early is left out,
    and so is a line with fewer than two candidates or five rounds.
    """
    for line in file.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        longest = max(map(len, entry["rounds"].values()))
        columns = [us for us in entry["rounds"].values() if len(us) == longest]
        if len(columns) >= 2 and longest >= 5:
            logs = np.log(np.array(columns[:CANDIDATES])).T
            yield f"{entry['workload']}, {entry['device']}", logs - np.median(logs, axis=0)


def print_head(first: str) -> None:
    columns = [first, *METHODS, *(f"blocks: {name}" for name in METHODS)]
    print(f"\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")


def print_row(name: str, gain: float, tallies: dict[str, Tally], runs: int) -> None:
    """How often the default was left, and where somebody is better, how often for the best."""
    told = []
    for tally in tallies.values():
        left = f"left {100 * tally.left / runs:.1f} %"
        told.append(f"best {100 * tally.found / runs:.1f} %, {left}" if gain else left)
    blocks = [f"{fmean(tally.blocks):.0f}" for tally in tallies.values()]
    print(f"| {name} | {' | '.join(told + blocks)} |", flush=True)


def print_conditions(runs: int, noise: str) -> None:
    print("# Simulated races\n")
    print(
        f"`benchmarks/race_simulation.py`, {date.today()}; no GPU. Python"
        f" {platform.python_version()}, numpy {np.__version__}, seed {SEED}; {runs} runs a cell."
    )
    print("\n" + dedent(noise).strip())


SYNTHETIC = f"""
    {CANDIDATES} candidates, the first is the default; every method over the same times. `left`:
    somebody else than the default was chosen; `best`: the one that takes 1 / (1 + x) of the others'
    time. `race` is the real one with a GPU's rules, without a limit of seconds; `fixed 5 + 7`
    screens in 5 interleaved rounds, goes on with the default and two for 7, and promotes from a
    median speed-up of 1.02 on; `one after the other` is ten blocks each and the smallest mean.
    Blocks include the screen's.

    Noise is that of a block, normal and independent, and in the worlds that say so: a common drift
    (AR(1), 0.98 from block to block); outliers, longer by 20 % on average; a clock that falls by
    5 % over 60 blocks and stays; an A/A bias, a constant offset of every contestant, normal with a
    deviation of 0.3 %: two of them are 0.3 % apart in the median, as one kernel under two names was
    on an H100. The worst pair there was 8 % apart: not simulated, and it would win any race.
    `everything`: a drift of 2 %, 3 % outliers, a clock that falls by 5 %, the bias.
"""
RECORDED = f"""
    Residuals of recorded rounds around each candidate's median, resampled {ROWS_TOGETHER}
    neighbouring rounds at a time, candidates permuted; a round is drawn whole, so that what its
    candidates share stays shared. Somebody is made better by x. Methods and columns as in the
    synthetic table.
"""


def print_synthetic(runs: int) -> None:
    print_conditions(runs, SYNTHETIC)
    print("\n## World by world: all equal at 2 %, and a win of 5 % at 1 %")
    print_head("cell")
    for world in WORLDS:
        for noise, gain in ((0.02, 0.0), (0.01, 0.05)):
            tallies = play(lambda run, w=world, n=noise, g=gain: synthetic(w, n, g, run), runs)
            print_row(f"{world.name}: {cell(noise, gain)}", gain, tallies, runs)
    print("\n## All cells, in the world that has everything")
    print_head("cell")
    cells = [(noise, 0.0) for noise in EQUAL_NOISES]
    for noise, gain in cells + [(noise, gain) for gain in GAINS for noise in NOISES]:
        tallies = play(lambda run, n=noise, g=gain: synthetic(EVERYTHING, n, g, run), runs)
        print_row(cell(noise, gain), gain, tallies, runs)


def print_recorded(file: Path, runs: int) -> None:
    print_conditions(runs, RECORDED)
    for name, residuals in recorded(file):
        rounds, candidates = residuals.shape
        print(f"\n## {name}: {rounds} rounds of {candidates}")
        print_head("cell")
        for gain in (0.0, *GAINS):
            tallies = play(lambda run, e=residuals, g=gain: resampled(e, g, run), runs)
            print_row(f"best +{100 * gain:.0f} %" if gain else "all equal", gain, tallies, runs)


def cell(noise: float, gain: float) -> str:
    return (f"best +{100 * gain:.0f} %" if gain else "all equal") + f", noise {100 * noise:g} %"


def main() -> None:
    parser = argparse.ArgumentParser(description="Simulated races, as markdown.")
    parser.add_argument("--recorded", type=Path)
    parser.add_argument("--runs", type=int, default=1000)
    given = parser.parse_args()
    started = time.perf_counter()
    if given.recorded is None:
        print_synthetic(given.runs)
    else:
        print_recorded(given.recorded, given.runs)
    print(f"{time.perf_counter() - started:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
