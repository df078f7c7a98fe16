"""Decode in plain torch, safe for a CUDA graph, and others with one bad habit each."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import Literal

import torch

from kernels_bench.backends.base import PagedBatch
from kernels_bench.gather import gather_pages
from kernels_bench.spec import AttentionSpec, Support, Variant

Habit = Literal[
    "",
    "frozen",
    "waits",
    "plan_waits",
    "faults",
    "faults_late",
    "allocates",
    "other_stream",
    "other_stream_later",
]
GIB = 1 << 30
SIDE_CYCLES = 10_000_000
"""About 5 ms: what goes on behind the last event must be seen."""


_runs_of_all = count()
LATE = 40
"""Runs of this process: more than a check and a probe make, fewer than many rounds."""


class Decode:
    """One token a request; reads the lengths from the device, as a graph must."""

    def __init__(self, batch: PagedBatch, habit: Habit) -> None:
        self.batch, self.habit, self.runs = batch, habit, 0
        self.side = torch.cuda.Stream()
        self.columns = -(-int(batch.seq_lens_cpu.max()) // batch.pages.size)

    def plan(self) -> None:
        if self.habit == "frozen":  # the lengths of the plan become a constant of the graph
            self.lens = self.batch.seq_lens_cpu.tolist()
        if self.habit == "plan_waits":
            self.batch.seq_lens.max().item()

    def run(self) -> None:
        self.runs += 1
        if self.habit == "faults_late" and next(_runs_of_all) > LATE:
            self.habit = "faults"
        if self.habit == "allocates":
            held = []
            while True:
                held.append(torch.empty(GIB, dtype=torch.uint8, device=self.batch.query.device))
        if not self.habit.startswith("other_stream"):
            self._attend()
            return
        with torch.cuda.stream(self.side):
            torch.cuda._sleep(SIDE_CYCLES)
            self._attend()
        if self.habit == "other_stream_later" and self.runs == 1:
            torch.cuda.current_stream().wait_stream(self.side)

    def _attend(self) -> None:
        batch = self.batch
        if self.habit == "waits":
            batch.seq_lens.sum().item()
        if self.habit == "faults":
            batch.output.flatten()[batch.seq_lens.long() + 2**40] = 0.0
        table = batch.block_table[:, : self.columns]
        key = gather_pages(batch.key_cache, table, batch.pages)
        value = gather_pages(batch.value_cache, table, batch.pages)
        groups = batch.query.shape[1] // key.shape[1]
        positions = torch.arange(key.shape[2], device=key.device)
        if self.habit == "frozen":
            columns = [positions < length for length in self.lens]
            seen = torch.stack(columns)[:, None, None]
        else:
            seen = (positions < batch.seq_lens[:, None])[:, None, None]
        key = key.repeat_interleave(groups, 1).float()
        logits = torch.einsum("bhd,bhkd->bhk", batch.query.float(), key)
        logits = (logits * batch.softmax_scale)[:, :, None].masked_fill(~seen, float("-inf"))
        weights = logits.softmax(3).nan_to_num(0.0).to(value.dtype)  # a row of padding sees nothing
        batch.output.copy_((weights @ value.repeat_interleave(groups, 1))[:, :, 0])


@dataclass(frozen=True)
class GpuOddBackend:
    name: str
    habit: Habit

    def variants(self, *_: object) -> tuple[Variant, ...]:
        return (Variant("plain", ("gpu-odd-backends",)),)

    def supports(self, *_: object) -> Support:
        return Support()

    def prepare(self, _variant: Variant, spec: AttentionSpec, batch: PagedBatch) -> Decode:
        return Decode(batch, self.habit)


FOLLOWS = GpuOddBackend("follows", "")
FROZEN = GpuOddBackend("frozen", "frozen")
WAITS = GpuOddBackend("waits", "waits")
FAULTS = GpuOddBackend("faults", "faults")
FAULTS_LATE = GpuOddBackend("faults_late", "faults_late")
PLAN_WAITS = GpuOddBackend("plan_waits", "plan_waits")
ALLOCATES = GpuOddBackend("allocates", "allocates")
OTHER_STREAM = GpuOddBackend("other_stream", "other_stream")
OTHER_STREAM_LATER = GpuOddBackend("other_stream_later", "other_stream_later")
