"""What a candidate may do to the machine: tried in a process of its own, since a limit stays."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from typing import Any

import pytest
from bench_tasks import ROOT

from kernels_bench.limits import bound_memory

GIB = 1 << 30
TRY = """
import json, resource, sys
from pathlib import Path
from kernels_bench.limits import bound_memory

allowed, wanted, hard = map(int, sys.argv[1:])
if hard:
    resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
bound_memory(allowed)
try:
    held = len(bytearray(wanted))  # zeros that nobody touches: the kernel gives no page for them
except MemoryError:
    held = 0
print(json.dumps({
    "limits": resource.getrlimit(resource.RLIMIT_DATA),
    "held": held,
    "score": int(Path("/proc/self/oom_score_adj").read_text()),
}))
"""


def bounded(allowed_bytes: int, wanted_bytes: int, hard_bytes: int = 0) -> Any:
    arguments = map(str, (allowed_bytes, wanted_bytes, hard_bytes))
    done = subprocess.run(
        [sys.executable, "-c", TRY, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    return json.loads(done.stdout)


linux = pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts so on Linux alone")


@linux
def test_whoever_asks_for_more_than_is_allowed_is_refused() -> None:
    found = bounded(GIB, wanted_bytes=GIB)
    assert found["held"] == 0
    assert found["limits"][0] <= 0.75 * GIB


@linux
def test_whoever_asks_for_less_gets_it() -> None:
    wanted_bytes = 64 << 20
    assert bounded(GIB, wanted_bytes)["held"] == wanted_bytes


@linux
def test_no_more_is_promised_than_the_machine_has() -> None:
    assert bounded(1 << 50, wanted_bytes=1 << 46)["held"] == 0


@linux
def test_a_limit_that_is_there_is_not_raised() -> None:
    hard_bytes = GIB // 2
    found = bounded(4 * GIB, wanted_bytes=hard_bytes, hard_bytes=hard_bytes)
    assert found["limits"] == [hard_bytes, hard_bytes]
    assert found["held"] == 0


@linux
def test_this_process_goes_first_should_the_machine_run_out_all_the_same() -> None:
    assert bounded(GIB, wanted_bytes=1)["score"] == 1000


def test_elsewhere_nothing_is_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    before = resource.getrlimit(resource.RLIMIT_DATA)
    bound_memory(GIB)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
