"""The measuring process: `python -m kernels_bench.worker FD`.

All that imports a kernel package, compiles or touches the device happens here, so that a candidate
that crashes takes this process along and nothing else.
"""

from __future__ import annotations

import ctypes
import math
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from kernels_bench.backends import Broken, find_backend, find_backends
from kernels_bench.batch import Batch, Contents, make_batches, make_contents
from kernels_bench.candidates import Entrant, survey
from kernels_bench.errors import one_line
from kernels_bench.floor import Peaks, floor_us, measure_peaks
from kernels_bench.gate import Truth, check, make_truth
from kernels_bench.grid import kv_bytes, scratch_bytes
from kernels_bench.messages import (
    AskAll,
    Event,
    Finished,
    HarnessFailed,
    Request,
    Step,
    Task,
)
from kernels_bench.race import Contestant, ContestantError, HostClock, race
from kernels_bench.spec import Failed, FailureKind, Outcome, Pages, Timed, Wrong

if TYPE_CHECKING:
    import torch

_MAX_PAGE_SETS = 16
_COMPILERS = ("torch._inductor", "torch._dynamo", "triton.compiler")
_PR_SET_PDEATHSIG = 1


class Worker:
    """Answers one request after another; keeps what several tasks share."""

    def __init__(self, send: Callable[[Event], None]) -> None:
        self.send = send
        self.peaks: dict[tuple[str, str], Peaks] = {}

    def answer(self, request: Request) -> None:
        """Send every event of a request, the last one its result."""
        match request:
            case AskAll(device, stack, specs, phases):
                self.send(survey(find_backends(), device, stack, specs, phases))
            case Task():
                try:
                    self.send(Finished(self._measure(request)))
                except (MemoryError, RuntimeError) as error:
                    self.send(HarnessFailed(one_line(error)))

    def _measure(self, task: Task) -> tuple[Outcome, ...]:
        self.send(Step(None, "prepare"))  # before torch is imported: that is a silence too
        import torch

        torch.set_grad_enabled(False)
        if task.device.kind == "cpu":  # torch counts the machine's cores, not this process's
            torch.set_num_threads(task.device.multiprocessors)
        device = torch.device(task.torch_device)
        peaks = self._peaks(task, device)
        contents = make_contents(task.spec, task.workload, device)
        arena = _Arena(task, contents, make_truth(task.spec, contents))
        outcomes: dict[int, Outcome] = {}
        admitted: dict[int, Contestant] = {}
        for index, entrant in enumerate(task.entrants):
            self.send(Step(index, "check"))
            match arena.admit(entrant):
                case Contestant() as contestant:
                    admitted[index] = contestant
                case refusal:
                    outcomes[index] = refusal
        floor = floor_us(task.spec, contents.requests, peaks)
        outcomes.update(self._race(task, admitted, arena, floor))
        return tuple(outcomes[index] for index in range(len(task.entrants)))

    def _race(
        self, task: Task, admitted: dict[int, Contestant], arena: _Arena, floor: float
    ) -> dict[int, Outcome]:
        """Time the admitted; one that raises is out, and the others run again without it."""
        running, outcomes = dict(admitted), dict[int, Outcome]()
        while running:
            order = list(running)
            contestants = [running[index] for index in order]
            steps = [Step(index, "time") for index in order]
            try:
                results = race(contestants, HostClock(), task.rules, partial(self._announce, steps))
            except ContestantError as error:
                culprit = order[error.index]
                outcomes[culprit] = failure(error.error)
                del running[culprit]
                continue
            for index, result in zip(order, results, strict=True):
                outcomes[index] = arena.recheck(task.entrants[index], running[index]) or Timed(
                    gpu_us=result.run_us,
                    call_us=result.run_us,
                    plan_us=result.plan_us,
                    noise=result.noise,
                    samples=result.samples,
                    floor_fraction=floor / result.run_us,
                )
            break
        return outcomes

    def _announce(self, steps: list[Step], turn: int) -> None:
        self.send(steps[turn])

    def _peaks(self, task: Task, device: torch.device) -> Peaks:
        import torch

        key = (task.torch_device, task.spec.dtype)
        if key not in self.peaks:
            dtype = getattr(torch, task.spec.dtype)
            read_bytes = min(4 * task.device.last_level_cache_bytes, scratch_bytes(task.device))
            self.peaks[key] = measure_peaks(device, dtype, read_bytes)
        return self.peaks[key]


class _Arena:
    """One workload's inputs, its right answer, and who may race on it."""

    def __init__(self, task: Task, contents: Contents, truth: Truth) -> None:
        self.task, self.contents, self.truth = task, contents, truth
        self.batches: dict[Pages, tuple[Batch, ...]] = {}

    def admit(self, entrant: Entrant) -> Contestant | Wrong | Failed:
        """Bind a candidate to every page set and check its output on the first."""
        backend = find_backend(entrant.backend)
        if backend is None or isinstance(backend, Broken):
            message = "not found" if backend is None else backend.message
            return Failed("exception", f"backend {entrant.backend}: {message}")
        try:
            batches = self._batches(entrant.pages)
            launches = tuple(
                backend.prepare(entrant.variant, self.task.spec, batch) for batch in batches
            )
            batches[0].output.fill_(math.nan)
            launches[0].plan()
            launches[0].run()
        except Exception as error:  # a candidate's code: whatever it raises is its outcome
            return failure(error)
        return check(self.truth, batches[0].output) or Contestant(launches)

    def recheck(self, entrant: Entrant, contestant: Contestant) -> Wrong | Failed | None:
        """Check again after the race, on the last page set: a stale plan shows only there."""
        output = self._batches(entrant.pages)[-1].output
        output.fill_(math.nan)
        try:
            contestant.launches[-1].run()
        except Exception as error:  # a candidate's code: whatever it raises is its outcome
            return failure(error)
        return check(self.truth, output)

    def _batches(self, pages: Pages) -> tuple[Batch, ...]:
        if pages not in self.batches:
            count = page_sets(self.task)
            self.batches[pages] = make_batches(self.task.spec, self.contents, pages, count)
        return self.batches[pages]


def page_sets(task: Task) -> int:
    """Disjoint page sets to walk through: between two layers an engine's weights pass through the
    cache, so keys are read cold. Three times the cache between two uses of a page, in memory's
    bounds.
    """
    touched = kv_bytes(task.spec, task.workload)
    wanted = math.ceil(3 * task.device.last_level_cache_bytes / touched)
    return max(1, min(wanted, _MAX_PAGE_SETS, scratch_bytes(task.device) // touched))


def failure(error: Exception) -> Failed:
    """What a candidate raised, as an outcome."""
    if type(error).__module__.startswith(_COMPILERS):
        return Failed("compile", _told_by_the_compiler(error) or one_line(error))
    out_of_memory = "allocate memory" in str(error) or "out of memory" in str(error)
    kind: FailureKind = "exception"
    if isinstance(error, MemoryError) or out_of_memory:
        kind = "memory"
    return Failed(kind, one_line(error))


def _told_by_the_compiler(error: Exception) -> str:
    """The first error among pages of generated code, or nothing."""
    told = (line.partition(": error: ")[2].strip() for line in str(error).splitlines())
    return next(filter(None, told), "")


def serve(connection: Connection) -> None:
    """Answer until the parent hangs up."""
    worker = Worker(connection.send)
    while True:
        try:
            request = connection.recv()
        except EOFError:
            return
        worker.answer(request)


def _die_with_parent() -> None:
    """A parent killed by -9 cannot tell us: let the kernel do it (prctl(2), Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    """Serve the parent's connection, whose file descriptor is the only argument."""
    _die_with_parent()
    os.dup2(2, 1)  # a candidate may print: stdout belongs to results
    with Connection(int(sys.argv[1])) as connection:
        serve(connection)


if __name__ == "__main__":
    main()
