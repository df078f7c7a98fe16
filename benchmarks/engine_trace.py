"""What a worker of vLLM does with its time: kernels by name, idle gaps, the metadata's builders.

As `autotune.in_vllm.running`, with a traced repeat of each load behind the timed ones, or of the
loads that ENGINE_TRACE_LOADS lists; the sums go to the file that ENGINE_TRACE names, a line of JSON
a load.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from autotune.engine_loads import Load, parse_load
from autotune.engine_messages import EngineJob
from autotune.in_vllm.running import SEED, main, once
from autotune.in_vllm.witness import Witness

_DIVISOR = 4
_NAMES = 30
"""Kernels that are told by name, those that took longest."""


class Tracer(Witness):
    """Extends a worker."""

    def start_trace(self) -> None:
        import torch

        self._watch_builders()
        activities = torch.profiler.ProfilerActivity
        # Without a device this is a rehearsal, whose host's events are not counted.
        kind = activities.CUDA if torch.cuda.is_available() else activities.CPU
        self._trace = torch.profiler.profile(activities=[kind])
        self._trace.start()

    def stop_trace(self) -> dict[str, Any]:
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self._trace.stop()
        spans = sorted(
            (event.start_ns(), event.duration_ns(), event.name())
            for event in self._trace.profiler.kineto_results.events()
            if event.device_type() == torch.autograd.DeviceType.CUDA
        )
        found = _summed(spans)
        return found | {"builders": {who: list(sums) for who, sums in self._builders.items()}}

    def _watch_builders(self) -> None:
        """Count and time every `build`, once and for all."""
        if hasattr(self, "_builders"):
            self._builders.clear()
            return
        self._builders: dict[str, list[float]] = defaultdict(lambda: [0, 0.0])
        for groups in self.model_runner.attn_groups:
            for group in groups:
                for builder in group.metadata_builders:
                    self._watch(builder)

    def _watch(self, builder: Any) -> None:
        build, sums, who = builder.build, self._builders, type(builder).__name__

        def timed(*given: Any, **named: Any) -> Any:
            began = time.perf_counter()
            made = build(*given, **named)
            sums[who][0] += 1
            sums[who][1] += time.perf_counter() - began
            return made

        builder.build = timed


def _summed(spans: list[tuple[int, int, str]]) -> dict[str, Any]:
    """Device time by kernel, and how long the device had nothing to do in between."""
    durations_us: defaultdict[str, list[float]] = defaultdict(list)
    busy_us, ends = 0.0, 0
    for start, duration, name in spans:
        durations_us[name].append(duration / 1e3)
        # Kernels of two streams may overlap.
        busy_us += max(0, start + duration - max(start, ends)) / 1e3
        ends = max(ends, start + duration)
    span_us = (ends - spans[0][0]) / 1e3 if spans else 0.0
    totals = sorted(((sum(each), name) for name, each in durations_us.items()), reverse=True)
    return {
        "span_us": span_us,
        "busy_us": busy_us,
        "kernels": [(name[:160], us, len(durations_us[name])) for us, name in totals[:_NAMES]],
        # Two kinds of layers, or prompts beside decodes, may share a kernel's name.
        "quartiles_us": [_quartiles(durations_us[name]) for _, name in totals[:_NAMES]],
        "other_us": sum(us for us, _ in totals[_NAMES:]),
    }


def _quartiles(values: list[float]) -> list[float]:
    return statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3


def trace(llm: Any, job: EngineJob) -> None:
    """Each load with a quarter of its answers' tokens; or those that were named, whole."""
    draw = random.Random(SEED + 1)
    named = [parse_load(text) for text in os.environ.get("ENGINE_TRACE_LOADS", "").split()]
    pairs = [(load, load) for load in named] or [(load, _quarter(load)) for load in job.loads]
    with Path(os.environ["ENGINE_TRACE"]).open("a") as file:
        for load, traced in pairs:
            llm.collective_rpc("start_trace")
            sample = once(llm, traced, draw)
            told = llm.collective_rpc("stop_trace")[0]
            told |= {"load": load.text, "traced": traced.text, "wall_s": sample.wall_s}
            file.write(json.dumps(told) + "\n")


def _quarter(load: Load) -> Load:
    return Load(load.requests, load.input_tokens, max(2, load.output_tokens // _DIVISOR))


if __name__ == "__main__":
    main(trace)
