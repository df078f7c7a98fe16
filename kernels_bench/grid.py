"""The standard workloads, and how they are fitted to a model, a device and an engine's limits.

The GPU grid replays public traces through a scheduler model: Azure 2023 conversation and code
(Splitwise), Mooncake FAST'25; decode at short context and speculative verify are added because
whole-engine runs on an H100 showed that their winners differ.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from kernels_bench.spec import AttentionSpec, Device, Phase
from kernels_bench.workload import (
    LONGEST_OVER_MEAN,
    VERIFY_MAX_NEW_TOKENS,
    Segment,
    Workload,
    parse_workload,
)

Effort: TypeAlias = Literal["quick", "full"]

GPU_FULL = (
    "q1s1k", "q1s16k", "8q1s1228v80", "8q1s16kv80", "32q1s1228v80", "32q1s16kv80", "128q1s2kv80",
    "256q1s1228v80", "64q1s512", "128q1s256", "256q1s320",
    "q512", "q220_q1000_q1050_q1800", "q4k", "q8k",
    "q2ks4k", "q8ks16k", "q8ks40k", "q512s8704",
    "16q4s4k",
    "32q1s1228v80_q1k", "100q1s2kv80_5q1200", "256q1s1228v80_2q1k", "24q1s15kv80_q8ks24k",
)  # fmt: skip
GPU_QUICK = (
    "8q1s1228v80", "32q1s1228v80", "32q1s16kv80", "256q1s1228v80", "128q1s256",
    "q8k", "q8ks40k", "16q4s4k", "100q1s2kv80_5q1200", "24q1s15kv80_q8ks24k",
)  # fmt: skip
# A CPU moves about a hundredth of a GPU's bytes a second: the same phases, lengths that end in
# seconds on two cores.
CPU_FULL = (
    "q1s512", "q1s1k", "q1s4k", "4q1s1kv80", "8q1s512v80", "16q1s256",
    "q256", "q512", "q1k", "q60_q250_q260",
    "q256s1k", "q128s4k",
    "2q4s1k", "8q4s512",
    "4q1s512v80_q128", "8q1s512v80_q256", "4q1s1kv80_q128s1k",
)  # fmt: skip
CPU_QUICK = ("q1s1k", "8q1s512v80", "q512", "q256s1k", "2q4s1k", "4q1s512v80_q128")


_LEAST_NEW_TOKENS = {
    Phase.PREFILL: 2,
    Phase.EXTEND: VERIFY_MAX_NEW_TOKENS + 1,
    Phase.DECODE: 1,
    Phase.VERIFY: 2,
}
"""A request with fewer is one of another phase."""


@dataclass(frozen=True)
class Limits:
    """What an engine would ever put into one batch."""

    max_model_len: int
    max_num_batched_tokens: int = 8192
    max_num_seqs: int = 1024
    """vLLM's defaults for an API server on a GPU of 70 GB or more: engine/arg_utils.py, 0.33."""

    @property
    def text(self) -> str:
        """For people, in the engine's own words."""
        return (
            f"max_model_len {self.max_model_len}, max_num_batched_tokens"
            f" {self.max_num_batched_tokens}, max_num_seqs {self.max_num_seqs}"
        )


@dataclass(frozen=True)
class GridPoint:
    """A workload to measure, and the standard one that it stands for."""

    standard: str
    """What a traffic profile weighs; differs from the workload where that was clipped."""
    workload: Workload


@dataclass(frozen=True)
class LeftOut:
    """A workload that was not measured, and why."""

    workload: str
    why: str
    spec: str | None = None
    """The kind of layer; None: all of them."""


@dataclass(frozen=True)
class Grid:
    """What to measure."""

    points: tuple[GridPoint, ...]
    left_out: tuple[LeftOut, ...] = ()

    @property
    def workloads(self) -> tuple[Workload, ...]:
        """Each workload once: clipping can make two points alike."""
        return tuple(dict.fromkeys(point.workload for point in self.points))


def make_grid(
    device: Device,
    specs: tuple[AttentionSpec, ...],
    limits: Limits,
    effort: Effort,
    also: tuple[str, ...] = (),
) -> Grid:
    """Fit the device's standard workloads, and those of somebody's own, to the limits; what does
    not fit is named.
    """
    points: list[GridPoint] = []
    left_out: list[LeftOut] = []
    for text in dict.fromkeys((*standard(device, effort), *also)):
        workload = clip(parse_workload(text), limits)
        if workload is None:
            left_out.append(LeftOut(text, f"no batch of its phase fits {limits.text}"))
            continue
        needed = max((kv_bytes(spec, workload) for spec in specs), default=0)
        if needed > scratch_bytes(device):
            why = f"needs {needed >> 20} MiB of KV cache, {scratch_bytes(device) >> 20} MiB allowed"
            left_out.append(LeftOut(text, why))
        else:
            points.append(GridPoint(text, workload))
    return Grid(tuple(points), tuple(left_out))


def clip(workload: Workload, limits: Limits) -> Workload | None:
    """Shorten a batch to what the engine would schedule; None where its phase would be lost.

    A decode takes its tokens first and a prompt the rest of the step's budget, as engines do; a
    segment for which nothing is left is dropped.
    """
    clipped: list[Segment] = []
    seats, budget_tokens = limits.max_num_seqs, limits.max_num_batched_tokens
    for index, segment in enumerate(workload.segments):
        kept_seats = len(workload.segments) - index - 1  # one for each segment that follows
        own_seats = min(seats, max(1, seats - kept_seats))
        fitted = _clip_segment(segment, limits.max_model_len, own_seats, budget_tokens)
        if fitted is not None:
            clipped.append(fitted)
            seats -= fitted.count
            budget_tokens -= fitted.count * fitted.new_tokens
    shortened = Workload(tuple(clipped))
    return shortened if clipped and shortened.phase is workload.phase else None


def _clip_segment(
    segment: Segment, max_tokens: int, seats: int, budget_tokens: int
) -> Segment | None:
    """None where not even one request of the segment's phase fits."""
    least = _LEAST_NEW_TOKENS[segment.phase]
    count = min(segment.count, seats, budget_tokens // least)
    longest = max_tokens // LONGEST_OVER_MEAN if segment.variation_pct else max_tokens
    total = min(segment.total_tokens, longest)
    if count < 1 or total < least:
        return None
    new = min(segment.new_tokens, budget_tokens // count)
    if segment.new_tokens == segment.total_tokens:
        new = total = min(new, total)
    elif total <= new:  # an extend keeps something cached, or it would be a prefill
        new = max(least, total // 2)
    fitted = replace(segment, count=count, new_tokens=new, total_tokens=total)
    return fitted if fitted.phase is segment.phase else None


def kv_bytes(spec: AttentionSpec, workload: Workload) -> int:
    """Bytes of one layer's KV cache for the batch, at the length of its mean request."""
    tokens = sum(segment.count * segment.total_tokens for segment in workload.segments)
    return tokens * spec.num_kv_heads * (spec.head_dim + spec.value_dim) * spec.kv_element_bytes


def scratch_bytes(device: Device) -> int:
    """The most KV cache that one workload may take: page sets, a reference and the gather of a
    candidate come on top, and the engine that embeds us needs the rest.
    """
    return device.memory_bytes // 16


def standard(device: Device, effort: Effort) -> tuple[str, ...]:
    """The workloads of a kind of device."""
    if device.kind == "cpu":
        return CPU_FULL if effort == "full" else CPU_QUICK
    return GPU_FULL if effort == "full" else GPU_QUICK
