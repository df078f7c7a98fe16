"""Processes that compile side by side: how many, in which order, and how they end."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from bench_tasks import rehearsals
from fakes import CPU, H100

from kernels_bench.bench import Readiness
from kernels_bench.helpers import Helpers, helpers_for
from kernels_bench.messages import Rehearsal, Rehearsed
from kernels_bench.spec import Device, Failed, Pages, Variant

READY = Rehearsed(1.0, None)
WAIT_S = 30.0
"""Longer than any of this takes, so that a mistake ends a test and does not hang it."""


@dataclass
class FakeChild:
    """Notes how it ends."""

    is_dead: bool = False
    stopped: threading.Event = field(default_factory=threading.Event)

    def stop(self) -> None:
        self.stopped.set()

    def kill(self) -> None:
        self.stop()
        self.is_dead = True


@dataclass
class FakeChildren:
    """Starts children, and keeps them."""

    started: list[FakeChild] = field(default_factory=list)

    def start(self) -> FakeChild:
        self.started.append(FakeChild())
        return self.started[-1]


Answer = Callable[[FakeChild, Rehearsal], Readiness]


def helpers(asked: tuple[Rehearsal, ...], answer: Answer, children: FakeChildren) -> Helpers:
    return Helpers(asked, answer, lambda _, __: None, children.start)  # type: ignore[arg-type]


def on(device: Device, *backends: str) -> tuple[Rehearsal, ...]:
    return tuple(replace(each, device=device) for each in rehearsals(*backends))


@pytest.mark.parametrize(
    ("device", "cores", "candidates", "count"),
    [
        (H100, 16, 20, 8),
        (H100, 64, 20, 8),
        (H100, 8, 20, 4),
        (H100, 3, 20, 1),
        (H100, 1, 20, 1),
        (H100, 64, 3, 3),
        (replace(H100, memory_bytes=24 << 30), 64, 20, 3),
        (replace(H100, memory_bytes=4 << 30), 64, 20, 1),
        (CPU, 64, 20, 1),
    ],
)
def test_there_are_as_many_as_cores_memory_and_candidates_allow(
    monkeypatch: pytest.MonkeyPatch, device: Device, cores: int, candidates: int, count: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    assert helpers_for(on(device, *["right"] * candidates)) == count


def test_nobody_needs_no_help() -> None:
    assert helpers_for(()) == 1


def test_the_first_of_every_backend_comes_before_a_second_of_any() -> None:
    asked = rehearsals("a", "a", "a", "b", "b", "c")
    variants = tuple(
        replace(each, entrant=replace(each.entrant, variant=Variant(str(number))))
        for number, each in enumerate(asked)
    )
    seen: list[str] = []

    def answer(_: FakeChild, rehearsal: Rehearsal) -> Readiness:
        seen.append(rehearsal.entrant.backend + rehearsal.entrant.variant.name)
        return READY

    helpers(variants, answer, FakeChildren()).rehearse(1)
    assert seen == ["a0", "b3", "c5", "a1", "b4", "a2"]


def test_answers_come_in_the_order_of_the_questions_and_are_told_as_they_come() -> None:
    asked = tuple(
        replace(each, entrant=replace(each.entrant, pages=Pages(16 << number)))
        for number, each in enumerate(rehearsals("a", "a", "b"))
    )
    told: dict[int, Readiness] = {}

    def answer(_: object, rehearsal: Rehearsal) -> Readiness:
        return Rehearsed(float(rehearsal.entrant.pages.size), None)

    children = FakeChildren()
    found = Helpers(asked, answer, told.__setitem__, children.start).rehearse(2)  # type: ignore[arg-type]
    assert found == (Rehearsed(16.0, None), Rehearsed(32.0, None), Rehearsed(64.0, None))
    assert told == dict(enumerate(found))
    assert all(child.is_dead for child in children.started)


def test_whoever_follows_a_death_gets_another_process() -> None:
    crashed = Failed("crash", "killed by SIGSEGV while compiling")

    def answer(child: FakeChild, rehearsal: Rehearsal) -> Readiness:
        if rehearsal.entrant.backend == "dies":
            child.kill()
            return crashed
        return READY

    children = FakeChildren()
    asked = rehearsals("a", "dies", "b", "c")
    assert helpers(asked, answer, children).rehearse(1) == (READY, crashed, READY, READY)
    assert len(children.started) == 2


def test_two_work_side_by_side() -> None:
    both = threading.Barrier(2, timeout=WAIT_S)

    def answer(_: FakeChild, __: Rehearsal) -> Readiness:
        both.wait()  # BrokenBarrierError, were there only one
        return READY

    assert helpers(rehearsals("a", "b"), answer, FakeChildren()).rehearse(2) == (READY, READY)


def wait_until_stopped(child: FakeChild) -> Readiness:
    assert child.stopped.wait(WAIT_S)
    child.is_dead = True
    return Failed("crash", "killed by SIGKILL while compiling")


def test_ctrl_c_stops_all_of_them_and_nothing_more_is_begun() -> None:
    # Where the tests themselves run in the background, SIGINT is ignored, and inherited so.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    begun: list[str] = []
    both = threading.Barrier(2, timeout=WAIT_S)

    def answer(child: FakeChild, rehearsal: Rehearsal) -> Readiness:
        begun.append(rehearsal.entrant.backend)
        if both.wait() == 0:
            time.sleep(0.1)  # until the main thread has started both, and waits
            os.kill(os.getpid(), signal.SIGINT)
        return wait_until_stopped(child)

    children = FakeChildren()
    try:
        with pytest.raises(KeyboardInterrupt):
            helpers(rehearsals("a", "b", "c", "d"), answer, children).rehearse(2)
    finally:
        signal.signal(signal.SIGINT, before)
    assert sorted(begun) == ["a", "b"]
    assert all(child.stopped.is_set() for child in children.started[:2])
    assert all(child.is_dead for child in children.started)


@pytest.mark.parametrize("name", ["a", "b"])
def test_an_error_of_one_stops_the_others_and_is_raised(name: str) -> None:
    both = threading.Barrier(2, timeout=WAIT_S)

    def answer(child: FakeChild, rehearsal: Rehearsal) -> Readiness:
        both.wait()
        if rehearsal.entrant.backend == name:
            raise ValueError("the measuring process answered nonsense")
        return wait_until_stopped(child)

    children = FakeChildren()
    with pytest.raises(ValueError, match="answered nonsense"):
        helpers(rehearsals("a", "b"), answer, children).rehearse(2)
    assert all(child.stopped.is_set() for child in children.started)


def test_a_process_that_starts_while_the_others_are_stopped_is_not_asked() -> None:
    """Nobody would stop it any more: it would be waited for as long as it compiles."""
    starting, lock = threading.Event(), threading.Lock()
    first, late = FakeChild(), FakeChild()
    waiting = [first, late]
    asked: list[str] = []

    def start() -> FakeChild:
        with lock:
            child = waiting.pop(0)
        if child is late:
            starting.set()
            assert first.stopped.wait(WAIT_S)
        return child

    def answer(_: object, rehearsal: Rehearsal) -> Readiness:
        asked.append(rehearsal.entrant.backend)
        assert starting.wait(WAIT_S)
        raise ValueError("the measuring process answered nonsense")

    told = Helpers(rehearsals("a", "b"), answer, lambda _, __: None, start)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="answered nonsense"):
        told.rehearse(2)
    assert len(asked) == 1
    assert late.is_dead
