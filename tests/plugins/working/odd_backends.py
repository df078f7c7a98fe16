"""Backends of another distribution: one that is right, and others with one bad habit each."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kernels_bench.backends.base import Launch, PagedBatch
from kernels_bench.backends.torch_sdpa import BACKEND as SDPA
from kernels_bench.spec import AttentionSpec, Support, Variant

PLAIN = Variant("plain", ("odd-backends",), engine_options={"vllm": {"attention_backend": "ODD"}})
CHECKED, TIMED = 1, 4
"""Which run of a launch is the first of all, and the first of a race: before its check a probe runs
it three times. A trial asks four questions on a CPU."""

Habit = Callable[[int, PagedBatch], None]
"""Hears the number of the run that was just done; a prepare is number 0."""


class OddLaunch:
    """torch's own attention, then the habit."""

    def __init__(self, launch: Launch, batch: PagedBatch, habit: Habit) -> None:
        self.launch, self.batch, self.habit, self.runs = launch, batch, habit, 0

    def plan(self) -> None:
        self.launch.plan()

    def run(self) -> None:
        self.launch.run()
        self.runs += 1
        self.habit(self.runs, self.batch)


@dataclass(frozen=True)
class OddBackend:
    name: str
    habit: Habit

    def variants(self, *_: object) -> tuple[Variant, ...]:
        return (PLAIN,)

    def supports(self, *_: object) -> Support:
        return Support()

    def prepare(self, _variant: Variant, spec: AttentionSpec, batch: PagedBatch) -> Launch:
        self.habit(0, batch)
        variant = SDPA.variants(None, spec, {})[0]
        return OddLaunch(SDPA.prepare(variant, spec, batch), batch, self.habit)


def do_nothing(_run: int, _batch: PagedBatch) -> None:
    pass


def compute_wrong(run: int, batch: PagedBatch) -> None:
    if run:
        batch.output[0] *= 1.5


def go_stale(run: int, batch: PagedBatch) -> None:
    if run >= TIMED:
        batch.output[0] *= 1.5


def raise_at(moment: int, error: Exception) -> Habit:
    def habit(run: int, _batch: PagedBatch) -> None:
        if run == moment:
            raise error

    return habit


def exit_when_checked(run: int, _batch: PagedBatch) -> None:
    if run == CHECKED:
        os.write(2, b"an assertion in C++\nabort: the last line\n")
        os._exit(3)


def die_when_timed(run: int, _batch: PagedBatch) -> None:
    if run == TIMED:
        os.kill(os.getpid(), signal.SIGSEGV)


def hang(run: int, _batch: PagedBatch) -> None:
    """As a compiler that never ends; notes who hangs: this process, and the compiler."""
    if run == CHECKED:
        with subprocess.Popen(["sleep", "3600"]) as compiler:
            Path(os.environ["ODD_BACKENDS_NOTE"]).write_text(f"{os.getpid()} {compiler.pid}\n")


def print_rubbish(_run: int, _batch: PagedBatch) -> None:
    sys.stdout.write("rubbish\n")
    sys.stdout.flush()
    os.write(1, b"\x00\xff more rubbish\n" * 1000)


RIGHT = OddBackend("right", do_nothing)
WRONG = OddBackend("wrong", compute_wrong)
STALE = OddBackend("stale", go_stale)
RAISES_IN_PREPARE = OddBackend("raises_in_prepare", raise_at(0, ValueError("no such tile\nmore")))
RAISES_WHEN_CHECKED = OddBackend("raises_when_checked", raise_at(CHECKED, RuntimeError("too wide")))
RAISES_WHEN_TIMED = OddBackend("raises_when_timed", raise_at(TIMED, RuntimeError("too often")))
EXITS_WHEN_CHECKED = OddBackend("exits_when_checked", exit_when_checked)
KILLED_WHEN_TIMED = OddBackend("killed_when_timed", die_when_timed)
HANGS = OddBackend("hangs", hang)
PRINTS = OddBackend("prints", print_rubbish)
OUT_OF_MEMORY = OddBackend("out_of_memory", raise_at(CHECKED, MemoryError("3 TiB")))
