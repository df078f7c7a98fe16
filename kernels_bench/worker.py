"""The measuring process: `python -m kernels_bench.worker FD`.

All that imports a kernel package, compiles or touches the device happens here, so that a candidate
that crashes takes this process along and nothing else.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from kernels_bench.arena import Arena
from kernels_bench.backends import find_backends
from kernels_bench.batch import make_contents
from kernels_bench.candidates import survey
from kernels_bench.errors import NoRoomError, one_line
from kernels_bench.failures import failure
from kernels_bench.floor import floor_us
from kernels_bench.gate import make_truth
from kernels_bench.messages import (
    AskAll,
    Event,
    Finished,
    HarnessFailed,
    Request,
    Step,
    Task,
)
from kernels_bench.race import ContestantError, Result, Timer, race
from kernels_bench.spec import Failed, Outcome, Timed, Wrong
from kernels_bench.workbench import Workbench, set_up

_PR_SET_PDEATHSIG = 1


class Worker:
    """Answers one request after another; keeps what several tasks share."""

    def __init__(self, send: Callable[[Event], None]) -> None:
        self.send = send
        self.benches: dict[str, Workbench[Any]] = {}

    def answer(self, request: Request) -> None:
        """Send every event of a request, the last one its result."""
        match request:
            case AskAll(device, stack, specs, phases):
                self.send(survey(find_backends(), device, stack, specs, phases))
            case Task():
                try:
                    self.send(Finished(self._measure(request)))
                except NoRoomError as error:
                    self.send(HarnessFailed(str(error)))
                except (MemoryError, RuntimeError) as error:
                    self.send(HarnessFailed(one_line(error)))

    def _measure(self, task: Task) -> tuple[Outcome, ...]:
        self.send(Step(None, "prepare"))  # before torch is imported: that is a silence too
        if task.torch_device not in self.benches:
            self.benches[task.torch_device] = set_up(task.device, task.torch_device)
        bench = self.benches[task.torch_device]
        bench.make_room(task)
        contents = make_contents(task.spec, task.workload, bench.torch_device)
        heat = _Heat(task, bench, Arena(task, contents, make_truth(task.spec, contents)), self.send)
        floor = floor_us(task.spec, contents.requests, bench.peaks(task.spec.dtype))
        return heat.outcomes(floor)


class _Heat:
    """One workload, from the first check to the last."""

    def __init__(
        self, task: Task, bench: Workbench[Any], arena: Arena, send: Callable[[Event], None]
    ) -> None:
        self._task, self._bench, self._arena, self._send = task, bench, arena, send
        self._out: dict[int, Outcome] = {}
        self._timers: dict[int, Timer] = {}

    def outcomes(self, floor: float) -> tuple[Outcome, ...]:
        """Of every entrant, in their order."""
        for index in range(len(self._task.entrants)):
            match self._admit(index):
                case Wrong() | Failed() as refusal:
                    self._exclude(index, refusal)
                case timer:
                    self._timers[index] = timer
        for index, result in self._race().items():
            wrong = self._arena.recheck(self._task.entrants[index], self._timers[index].rerun)
            if wrong is not None:
                self._exclude(index, wrong)
            else:
                self._out[index] = _timed(result, floor)
        return tuple(self._out[index] for index in range(len(self._task.entrants)))

    def _admit(self, index: int) -> Timer | Wrong | Failed:
        self._send(Step(index, "check"))
        contestant = self._arena.admit(self._task.entrants[index])
        if isinstance(contestant, (Wrong, Failed)):
            return contestant
        self._send(Step(index, "time"))
        try:
            timer: Timer = self._bench.clock.ready(contestant, self._task.rules)
        except Exception as error:  # a candidate's code: whatever it raises is its outcome
            return failure(error)
        return timer

    def _race(self) -> dict[int, Result]:
        """Time the admitted; one that raises is out, and the others run again without it."""
        while self._timers:
            order = list(self._timers)
            timers = [self._timers[index] for index in order]
            announce = partial(self._announce, order)
            try:
                results = race(timers, self._bench.clock, self._task.rules, announce)
            except ContestantError as error:
                self._exclude(order[error.index], failure(error.error))
            else:
                return dict(zip(order, results, strict=True))
        return {}

    def _exclude(self, index: int, outcome: Wrong | Failed) -> None:
        """A fault that leaves the device unusable ends this process: the parent knows from the last
        step who is to blame, and goes on in another.
        """
        self._timers.pop(index, None)
        self._out[index] = outcome
        if isinstance(outcome, Failed) and not self._bench.survives():
            self._send(Step(index, "time"))
            print(outcome.message, file=sys.stderr, flush=True)  # noqa: T201 - its last words
            os._exit(1)

    def _announce(self, order: list[int], turn: int | None) -> None:
        self._send(Step(None if turn is None else order[turn], "time"))


def _timed(result: Result, floor: float) -> Timed:
    return Timed(
        gpu_us=result.run_us,
        call_us=result.call_us,
        plan_us=result.plan_us,
        noise=result.noise,
        samples=result.samples,
        floor_fraction=floor / result.run_us,
    )


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
