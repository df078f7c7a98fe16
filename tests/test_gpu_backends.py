"""Every backend that says yes on this GPU, against the reference, in every phase."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from kernels_bench.bench import Bench
from kernels_bench.devices import find_device
from kernels_bench.messages import AskAll, Finished, Task
from kernels_bench.rules import Rules
from kernels_bench.spec import AttentionSpec, Timed
from kernels_bench.stack import full_stack
from kernels_bench.workload import parse_workload

pytestmark = pytest.mark.gpu

PLAIN = AttentionSpec(32, 8, 128, "bfloat16", num_layers=1)
SPECS = {
    "plain": PLAIN,
    "one KV head": replace(PLAIN, num_q_heads=8, num_kv_heads=1),
    "four KV heads": replace(PLAIN, num_kv_heads=4),
    "scale": replace(PLAIN, softmax_scale=0.05),
    "cap and window, 256": AttentionSpec(
        16, 8, 256, "bfloat16", 1, softmax_scale=0.2, sliding_window=200, logit_softcap=5.0
    ),
}
NOT_COMPILED = {
    "float16": replace(PLAIN, dtype="float16"),
    "narrow window": replace(PLAIN, sliding_window=128),
    "seven queries a KV head": replace(PLAIN, num_q_heads=28, num_kv_heads=4),
    "80": replace(PLAIN, head_dim=80),
    "sinks": replace(PLAIN, head_dim=64, has_sinks=True, num_q_heads=64),
    "alibi": replace(PLAIN, has_alibi=True, num_q_heads=8),
    "non-causal": replace(PLAIN, causal=False),
    "mixed windows": replace(PLAIN, has_mixed_windows=True),
}
"""Without FlashInfer, which would spend a minute of nvcc on each."""
WORKLOADS = ("5q1s700v80", "3q4s500", "q600_2q77", "q300s1000", "5q1s700v80_q160_q33s95")
RULES = Rules(min_rounds=2, max_rounds=2, block_us=100.0, max_calls=4, seconds=1.0)


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with Bench() as bench:
        yield bench


@pytest.mark.parametrize("text", WORKLOADS)
@pytest.mark.parametrize("name", [*SPECS, *NOT_COMPILED])
def test_everyone_who_says_yes_is_right(bench: Bench, name: str, text: str) -> None:
    found, workload = find_device("cuda:0"), parse_workload(text)
    spec = {**SPECS, **NOT_COMPILED}[name]
    survey = bench.survey(AskAll(found.device, full_stack(found), (spec,), (workload.phase,)))
    entrants = tuple(
        answer.entrant
        for answer in survey.answers
        if answer.support and not (name in NOT_COMPILED and answer.backend == "flashinfer")
    )
    # One of torch's own has every feature: torch_flex lacks sinks, torch_sdpa ALiBi on a GPU.
    assert {"torch_flex", "torch_sdpa"} & {e.backend for e in entrants}, survey.answers
    answer = bench.measure(
        Task(found.device, found.selector, spec, workload, 4096, entrants, RULES)
    )
    assert isinstance(answer, Finished), answer
    outcomes = dict(zip((e.label for e in entrants), answer.outcomes, strict=True))
    others = {label: o for label, o in outcomes.items() if not isinstance(o, Timed)}
    assert others == {}
