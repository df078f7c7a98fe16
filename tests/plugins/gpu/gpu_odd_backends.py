"""Decode in plain torch, safe for a CUDA graph, and others with one bad habit each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from kernels_bench.backends.base import PagedBatch
from kernels_bench.gather import gather_pages
from kernels_bench.spec import AttentionSpec, Support, Variant

Habit = Literal["", "frozen", "waits", "faults"]


class Decode:
    """One token a request; reads the lengths from the device, as a graph must."""

    def __init__(self, batch: PagedBatch, habit: Habit) -> None:
        self.batch, self.habit = batch, habit
        self.columns = -(-int(batch.seq_lens_cpu.max()) // batch.pages.size)

    def plan(self) -> None:
        if self.habit == "frozen":  # the lengths of the plan become a constant of the graph
            self.lens = self.batch.seq_lens_cpu.tolist()

    def run(self) -> None:
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
        weights = logits.softmax(3).to(value.dtype)
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
