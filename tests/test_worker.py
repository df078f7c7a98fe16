"""What the measuring process decides by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest
from bench_tasks import DEVICE, examination, rehearsals, task

from kernels_bench.arena import page_sets
from kernels_bench.errors import NoRoomError, one_line
from kernels_bench.failures import failure
from kernels_bench.messages import Event, HarnessFailed, Request, Step
from kernels_bench.spec import Failed
from kernels_bench.worker import Worker
from kernels_bench.workload import parse_workload


@pytest.mark.parametrize(
    ("cache_bytes", "memory_bytes", "sets"),
    [
        (1, 16 << 30, 1),
        (64 << 10, 16 << 30, 3),  # 3 x 64 KiB over batches of 64 KiB
        (65 << 10, 16 << 30, 4),
        (1 << 30, 16 << 30, 48),
        (1 << 30, 5 << 20, 5),  # a sixteenth of the memory: 320 KiB
        (1 << 30, 1 << 10, 1),
    ],
)
def test_page_sets_cover_the_cache_three_times_in_memory_s_bounds(
    cache_bytes: int, memory_bytes: int, sets: int
) -> None:
    device = replace(DEVICE, last_level_cache_bytes=cache_bytes, memory_bytes=memory_bytes)
    kib_64 = parse_workload("q1s1k")  # 1024 tokens of 64 bytes
    assert page_sets(replace(task("right"), device=device, workload=kib_64)) == sets


class CompilerError(Exception):
    __module__ = "torch._inductor.exc"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("no such tile"), "exception"),
        (MemoryError(), "memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"), "memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 3 GiB"), "memory"),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), "exception"),
        (CompilerError("CppCompileError: C++ compile error"), "compile"),
    ],
    ids=str,
)
def test_what_a_candidate_raises_is_told_apart(error: Exception, kind: str) -> None:
    assert failure(error).kind == kind


NVCC = RuntimeError(
    "Ninja build failed. Ninja output:\n[1/4] nvcc -c page.cu\nFAILED: page.cuda.o\n"
    'page.cu(12): error: identifier "smem" is undefined\n1 error detected\n'
)
GCC = RuntimeError(
    "Ninja build failed. Ninja output:\npage.cc:3:10: fatal error: Python.h: No such file\n"
)
TORCH = RuntimeError(
    "CUDA out of memory. Tried to allocate 78.12 GiB. GPU 0 has a total capacity of 79 GiB of"
    " which 54 GiB is free. If reserved but unallocated memory is large try setting"
)


@pytest.mark.parametrize(
    ("error", "failed"),
    [
        (NVCC, Failed("compile", 'identifier "smem" is undefined')),
        (GCC, Failed("compile", "Python.h: No such file")),
        (
            RuntimeError("Ninja build failed."),
            Failed("compile", "RuntimeError: Ninja build failed."),
        ),
        (
            TORCH,
            Failed("memory", "RuntimeError: CUDA out of memory. Tried to allocate 78.12 GiB."),
        ),
    ],
)
def test_of_pages_of_text_the_cause_is_kept(error: Exception, failed: Failed) -> None:
    assert failure(error) == failed


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one\ntwo"), "ValueError: one"),
        (ValueError("\n\n  one  \ntwo"), "ValueError: one"),
        (ValueError(), "ValueError: no message"),
    ],
)
def test_an_error_is_one_line(error: Exception, line: str) -> None:
    assert one_line(error) == line


@pytest.mark.parametrize(
    "request_",
    [task("right"), examination("right"), *rehearsals("right")],
    ids=lambda r: type(r).__name__,
)
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (NoRoomError("needs about 9 MiB of memory"), "needs about 9 MiB of memory"),
        (RuntimeError("no CUDA device\nmore"), "RuntimeError: no CUDA device"),
        (MemoryError(), "MemoryError: no message"),
    ],
    ids=repr,
)
def test_a_device_that_cannot_be_taken_into_use_is_the_harness_s_failure(
    monkeypatch: pytest.MonkeyPatch, request_: Request, error: Exception, message: str
) -> None:
    def set_up(*_: object) -> None:
        raise error

    monkeypatch.setattr("kernels_bench.worker.set_up", set_up)
    sent: list[Event] = []
    Worker(sent.append).answer(request_)
    assert sent == [Step(None, "prepare"), HarnessFailed(message)]
