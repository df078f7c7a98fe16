"""A whole vLLM under loads, one process a backend: raw repeats as lines of JSON.

python benchmarks/engine.py --model llama-3.1-8b --out FILE [--arm default --arm TRITON_ATTN ...]
    [--load 256x1k+128 ...] [--layers N] [--repeats 5] [--most-s S] [--cache FILE] [--trace FILE]

An arm is `default` (vLLM alone), a backend that is forced (FLASH_ATTN, FLASHINFER, TRITON_ATTN,
FLASH_ATTN_2), `read:PROFILE`, our plug-in with --cache, or `tune:PROFILE`, which tunes first where
that has no answer. All import vLLM side by side and then have the device one after the other.
`engine_table.py` makes tables of the file.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from engine_gauges import Gauge, Gauges
from engine_models import MODELS, longest_context, write_model

from autotune.engine_loads import CHAT, DECODE_HEAVY, LONG, SINGLE, parse_load
from autotune.engine_messages import EngineEvent, EngineJob, EngineRun, Sample, Started
from autotune.engine_process import Deadlines, EngineProcess

_LOADS = (CHAT, LONG, DECODE_HEAVY, SINGLE)
_FORCED: Mapping[str, Mapping[str, object]] = {
    "default": {},
    "FLASH_ATTN": {"attention_backend": "FLASH_ATTN"},
    "FLASH_ATTN_2": {"attention_config": {"backend": "FLASH_ATTN", "flash_attn_version": 2}},
    "FLASHINFER": {"attention_backend": "FLASHINFER"},
    "TRITON_ATTN": {"attention_backend": "TRITON_ATTN"},
}


@dataclass(frozen=True)
class Arm:
    """One way to start the engine."""

    name: str
    options: Mapping[str, object]
    environ: Mapping[str, str]


def arm_named(name: str, cache: str | None) -> Arm:
    """From the command line's word."""
    if name in _FORCED:
        return Arm(name, _FORCED[name], {"AUTOTUNE_MODE": "off"})
    mode, _, profile = name.partition(":")
    said = {"AUTOTUNE_MODE": mode, "AUTOTUNE_PROFILE": profile}
    where = {} if cache is None else {"AUTOTUNE_CACHE": str(Path(cache).resolve())}
    return Arm(name, {}, said | where)


def measure(given: argparse.Namespace, arms: list[Arm], folder: Path) -> None:
    """Every arm, and a line of JSON each as soon as it has ended."""
    model = write_model(given.model, folder, given.layers)
    traced = {} if given.trace is None else {"ENGINE_TRACE": str(Path(given.trace).resolve())}
    module = "autotune.in_vllm.running" if given.trace is None else "engine_trace"
    job = EngineJob(
        model=str(model),
        arguments=json.loads(given.arguments),
        loads=tuple(
            load.within(longest_context(given.model))
            for load in (tuple(map(parse_load, given.load)) or _LOADS)
        ),
        repeats=given.repeats,
        most_s=given.most_s,
        extension="engine_trace.Tracer" if given.trace else EngineJob.extension,
    )
    with ExitStack() as stack, Path(given.out).open("a") as out:
        gauges = stack.enter_context(closing(Gauges()))
        processes = [
            stack.enter_context(
                EngineProcess(
                    dataclasses.replace(job, arguments={**job.arguments, **arm.options}),
                    {**os.environ, **traced, **arm.environ},
                    Path(f"{given.out}.{given.model}.{arm.name.replace(':', '-')}.log"),
                    module,
                )
            )
            for arm in arms
        ]
        ends_at = time.monotonic() + given.total_s
        for arm, process in zip(arms, processes, strict=True):
            began = time.monotonic()
            arm_ends_at = min(ends_at, began + given.deadline_s)
            listener = Listener(gauges)
            run = process.run(Deadlines(400.0, 200.0), arm_ends_at, listener.hear)
            line = {"model": given.model, "layers": given.layers, "arm": arm.name}
            line |= {"took_s": round(time.monotonic() - began, 1), **_facts(given, run)}
            line["gauges"] = [each and dataclasses.asdict(each) for each in listener.gauges]
            out.write(json.dumps(line) + "\n")
            out.flush()
            print(f"== {given.model} {arm.name} {line['took_s']} s {run.failure}", flush=True)


def _facts(given: argparse.Namespace, run: EngineRun) -> dict[str, object]:
    return {
        "arguments": json.loads(given.arguments),
        "host": {"python": platform.python_version(), "cores": os.cpu_count()},
        **dataclasses.asdict(run),
    }


class Listener:
    """Prints what an engine says, and keeps how its GPU ran in each repeat."""

    def __init__(self, gauges: Gauges) -> None:
        self._all = gauges
        self.gauges: list[Gauge | None] = []

    def hear(self, event: EngineEvent) -> None:
        match event:
            case Started():
                kv = f"{event.kv_tokens} tokens of cache, hash {event.config_hash[:10]}"
                print(f"   {'+'.join(event.backends)} in {event.start_s:.1f} s, {kv}", flush=True)
            case Sample():
                now = time.monotonic()
                self.gauges.append(self._all.during(now - event.wall_s, now))
                each = f"{event.ttft_ms:.0f} ms, {event.tbt_ms:.2f} ms"
                print(f"   {event.load} {event.wall_s:.2f} s {event.tokens_per_s:.0f}/s {each}")


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--model", choices=list(MODELS), required=True)
    asked.add_argument("--out", required=True)
    asked.add_argument("--arm", action="append", default=[])
    asked.add_argument("--load", action="append", default=[])
    asked.add_argument("--layers", type=int)
    asked.add_argument("--repeats", type=int, default=5)
    asked.add_argument("--most-s", type=float, default=1e9, help="repeats of one arm begin within")
    asked.add_argument("--deadline-s", type=float, default=1e9, help="one arm is killed after")
    asked.add_argument("--total-s", type=float, default=1e9, help="all end after; none is lost")
    asked.add_argument("--cache")
    asked.add_argument("--trace")
    asked.add_argument("--arguments", default="{}", help="of vllm.LLM, as JSON")
    given = asked.parse_args()
    arms = [arm_named(name, given.cache) for name in given.arm or _FORCED]
    with tempfile.TemporaryDirectory() as folder:
        measure(given, arms, Path(folder))


if __name__ == "__main__":
    main()
