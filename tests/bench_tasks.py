"""Small tasks for real measuring processes, and the plug-ins that they know."""

from __future__ import annotations

from pathlib import Path

import kernels_bench
from kernels_bench.bench import Bench
from kernels_bench.candidates import Entrant
from kernels_bench.messages import AskAll, Examination, Finished, Rehearsal, Task
from kernels_bench.rules import Rules
from kernels_bench.spec import AttentionSpec, Device, Outcome, Pages, Phase, Timed, Variant
from kernels_bench.workload import parse_workload

PLUGINS = Path(__file__).parent / "plugins"
ROOT = Path(kernels_bench.__file__).parents[1]
DEVICE = Device("cpu", "CPU", "x86_64", 1, 16 << 30, last_level_cache_bytes=1 << 10)
SPEC = AttentionSpec(2, 1, 16, "bfloat16", num_layers=1)
WORKLOAD = parse_workload("3q1s40_q24")
RULES = Rules(min_rounds=2, max_rounds=2, block_us=1.0, max_calls=1, seconds=1.0)
STACK = {"torch": "2.13.0"}
SURVEY = AskAll(DEVICE, STACK, (SPEC,), (Phase.DECODE,))


def entrant(backend: str) -> Entrant:
    return Entrant(backend, Variant("padded" if backend == "torch_sdpa" else "plain"), Pages(16))


def task(*backends: str) -> Task:
    return Task(DEVICE, "cpu", SPEC, WORKLOAD, 4096, tuple(map(entrant, backends)), RULES)


def rehearsals(*backends: str) -> tuple[Rehearsal, ...]:
    """One a backend, of a workload of every phase but verify."""
    workloads = tuple(map(parse_workload, ("3q1s40", "q24", "q20s60", "3q1s40_q24")))
    return tuple(
        Rehearsal(DEVICE, "cpu", SPEC, workloads, 4096, entrant(backend)) for backend in backends
    )


def examination(*backends: str, phase: Phase = Phase.DECODE) -> Examination:
    return Examination(DEVICE, "cpu", SPEC, phase, 4096, tuple(map(entrant, backends)))


def outcomes(bench: Bench, *backends: str) -> tuple[Outcome, ...]:
    answer = bench.measure(task(*backends))
    assert isinstance(answer, Finished), answer
    assert len(answer.outcomes) == len(backends)
    return answer.outcomes


def assert_timed(outcome: Outcome) -> None:
    assert isinstance(outcome, Timed), outcome
    assert outcome.gpu_us > 0
    assert outcome.call_us > 0
    assert outcome.plan_us > 0
    assert outcome.noise >= 0
    assert outcome.samples == 2
    assert outcome.floor_fraction > 0
