"""What a candidate on a GPU may do wrong, in a trial, in a rehearsal and in a race."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest
from bench_tasks import PLUGINS

from kernels_bench.bench import Bench
from kernels_bench.candidates import Entrant
from kernels_bench.devices import find_device
from kernels_bench.messages import (
    Examination,
    Examined,
    Finished,
    Passed,
    Rehearsal,
    Rehearsed,
    Task,
)
from kernels_bench.rules import Rules
from kernels_bench.spec import AttentionSpec, Failed, Outcome, Pages, Phase, Timed, Variant, Wrong
from kernels_bench.workload import parse_workload

pytestmark = pytest.mark.gpu

SPEC = AttentionSpec(8, 2, 64, "bfloat16", num_layers=1)
RULES = Rules(min_rounds=3, max_rounds=3, block_us=200.0, max_calls=16, seconds=1.0)
WORKLOAD = parse_workload("4q1s300v80")
CAPTURED, EAGER = Variant("plain"), Variant("plain", graph_phases=frozenset())
MAX_MODEL_LEN = 8192
HOLD = """
import sys
import torch
held = torch.zeros(1 << 30, dtype=torch.uint8, device="cuda:0")
torch.cuda.synchronize()
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PLUGINS / "gpu"))


@pytest.fixture
def bench() -> Iterator[Bench]:
    with Bench() as bench:
        yield bench


def entrants(backends: tuple[str, ...], variant: Variant) -> tuple[Entrant, ...]:
    return tuple(Entrant(name, variant, Pages(16)) for name in backends)


def raced(
    bench: Bench,
    *backends: str,
    variant: Variant = CAPTURED,
    rules: Rules = RULES,
) -> tuple[Outcome, ...]:
    found = find_device("cuda:0")
    asked = entrants(backends, variant)
    task = Task(found.device, found.selector, SPEC, WORKLOAD, MAX_MODEL_LEN, asked, rules)
    answer = bench.measure(task)
    assert isinstance(answer, Finished), answer
    return answer.outcomes


def examined(
    bench: Bench, *backends: str, variant: Variant = CAPTURED
) -> tuple[Passed | Wrong | Failed, ...]:
    found = find_device("cuda:0")
    asked = entrants(backends, variant)
    examination = Examination(
        found.device, found.selector, SPEC, Phase.DECODE, MAX_MODEL_LEN, asked
    )
    answer = bench.examine(examination)
    assert isinstance(answer, Examined), answer
    return answer.outcomes


def rehearsed(bench: Bench, *backends: str) -> tuple[object, ...]:
    found = find_device("cuda:0")
    return bench.rehearse(
        [
            Rehearsal(found.device, found.selector, SPEC, (WORKLOAD,), MAX_MODEL_LEN, entrant)
            for entrant in entrants(backends, CAPTURED)
        ]
    )


def test_a_right_graph_passes_every_scene_those_with_empty_rows_too(bench: Bench) -> None:
    assert examined(bench, "follows") == (Passed(plan_waits=False),)
    assert examined(bench, "follows", variant=EAGER) == (Passed(plan_waits=False),)


def test_who_freezes_the_lengths_of_the_capture_fails_the_trial(bench: Bench) -> None:
    frozen, follows = examined(bench, "frozen", "follows")
    assert isinstance(frozen, Wrong), frozen
    assert isinstance(follows, Passed), follows


def test_a_plan_that_waits_for_the_device_is_known(bench: Bench) -> None:
    waits, follows = examined(bench, "plan_waits", "follows")
    assert waits == Passed(plan_waits=True)
    assert follows == Passed(plan_waits=False)


def test_work_on_another_stream_is_not_there_when_the_trial_looks(bench: Bench) -> None:
    captured, follows = examined(bench, "other_stream", "follows")
    # Its graph is empty, or its temporaries cannot be allocated beside a capture.
    assert isinstance(captured, Wrong | Failed), captured
    assert isinstance(follows, Passed), follows
    eager, later, follows = examined(
        bench, "other_stream", "other_stream_later", "follows", variant=EAGER
    )
    assert isinstance(eager, Wrong), eager
    assert eager.check == "finite"
    assert isinstance(later, Wrong), later
    assert later.check == "needles: finite"
    assert isinstance(follows, Passed), follows


@pytest.mark.parametrize("backend", ["other_stream", "other_stream_later"])
def test_work_on_another_stream_is_seen_behind_the_clock(bench: Bench, backend: str) -> None:
    """The probe waits for the whole device, and so its check finds the output filled."""
    cheats, follows = raced(bench, backend, "follows", variant=EAGER)
    assert isinstance(cheats, Failed), cheats
    assert cheats.kind == "exception"
    assert cheats.message.startswith("UnfinishedError: the device worked for ")
    assert isinstance(follows, Timed), follows


def test_a_graph_without_the_work_is_no_time(bench: Bench) -> None:
    cheats, follows = raced(bench, "other_stream", "follows")
    assert isinstance(cheats, Wrong | Failed), cheats
    assert isinstance(follows, Timed), follows


def test_who_allocates_until_it_fails_leaves_the_memory_to_the_others(bench: Bench) -> None:
    ready, also = rehearsed(bench, "allocates", "follows")
    assert isinstance(ready, Rehearsed), ready
    assert isinstance(also, Rehearsed), also
    told, passed = examined(bench, "allocates", "follows")
    assert isinstance(told, Failed), told
    assert told.kind == "memory"
    assert isinstance(passed, Passed), passed
    failed, timed = raced(bench, "allocates", "follows")
    assert isinstance(failed, Failed), failed
    assert failed.kind == "memory"
    assert "out of memory" in failed.message
    assert isinstance(timed, Timed), timed


def test_an_illegal_access_is_a_crash_wherever_it_happens(bench: Bench) -> None:
    ready, faulty = rehearsed(bench, "follows", "faults")
    assert isinstance(ready, Rehearsed), ready
    assert ready.seconds > 0
    assert ready.workspace_bytes is not None
    assert ready.workspace_bytes > 0
    # Eagerly, since its indexing waits for the device, which no capture permits.
    in_trial = examined(bench, "faults", variant=EAGER)
    for answers in ((faulty,), in_trial, raced(bench, "faults")):
        (failed,) = answers
        assert isinstance(failed, Failed), failed
        assert failed.kind == "crash"
        assert "CUDA error" in failed.message
    (timed,) = raced(bench, "follows")
    assert isinstance(timed, Timed), timed


def test_a_fault_among_interleaved_blocks_is_traced_to_who_made_it(bench: Bench) -> None:
    many = replace(RULES, min_rounds=60, max_rounds=60)
    follows, faulty = raced(bench, "follows", "faults_late", variant=EAGER, rules=many)
    assert isinstance(faulty, Failed), faulty
    assert faulty.kind == "crash"
    assert isinstance(follows, Timed), follows


def neighbours(outcome: Outcome) -> list[str]:
    assert isinstance(outcome, Timed), outcome
    return [each for each in outcome.health.warnings if re.match(r"pid \d+ .*the GPU$", each)]


def test_another_process_on_the_gpu_is_named_beside_the_times() -> None:
    with Bench() as bench:
        alone = neighbours(*raced(bench, "follows"))
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        with Bench() as bench:  # a new process looks around as it starts
            beside = neighbours(*raced(bench, "follows"))
        other.communicate()
    # In a container the driver names processes as the host numbers them.
    (told,) = set(beside) - set(alone)
    size = re.search(r"uses (\d+\.\d) GiB of the GPU$", told)
    assert size is None or float(size[1]) >= 1.0
