"""The measuring process: `python -m kernels_bench.worker FD`.

All that imports a kernel package, compiles or touches the device happens here, so that a candidate
that crashes takes this process along and nothing else.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable
from functools import lru_cache, partial
from multiprocessing.connection import Connection
from typing import Any, Literal

from kernels_bench.arena import Arena
from kernels_bench.backends import find_backends
from kernels_bench.batch import make_contents
from kernels_bench.bout import Bout
from kernels_bench.candidates import Survey, survey
from kernels_bench.errors import NoRoomError, one_line
from kernels_bench.examination import Examiner
from kernels_bench.failures import failure
from kernels_bench.floor import floor_us
from kernels_bench.gate import make_truth
from kernels_bench.messages import (
    AskAll,
    Event,
    Examination,
    Examined,
    Finished,
    HarnessFailed,
    Rehearsal,
    Rehearsed,
    Request,
    Step,
    Task,
    Turn,
)
from kernels_bench.processes import end_with_parent
from kernels_bench.rehearsal import rehearse
from kernels_bench.spec import Failed
from kernels_bench.workbench import Workbench, set_up


class Worker:
    """Answers one request after another; keeps what several share."""

    def __init__(self, send: Callable[[Event], None]) -> None:
        self.send = send
        self.benches: dict[str, Workbench[Any]] = {}

    def answer(self, request: Request) -> None:
        """Send every event of a request, the last one its result."""
        try:
            match request:
                case AskAll():
                    self.send(self._survey(request))
                case Rehearsal():
                    self.send(self._rehearse(request))
                case Examination():
                    self.send(self._examine(request))
                case Task():
                    self.send(self._measure(request))
        except NoRoomError as error:
            self.send(HarnessFailed(str(error)))
        except (MemoryError, RuntimeError) as error:
            for bench in self.benches.values():  # the last step told whose it was, if anybody's
                bench.outlive(failure(error), lambda: None)
            self.send(HarnessFailed(one_line(error)))

    def _survey(self, request: AskAll) -> Survey:
        found = find_backends(request.without, partial(self._take_turn, "import"))
        ask = partial(self._take_turn, "ask")
        return survey(found, request.device, request.stack, request.specs, request.phases, ask)

    def _take_turn(self, doing: Literal["import", "ask"], backend: str) -> None:
        """What this process prints goes into the file behind stderr."""
        sys.stdout.flush()
        self.send(Turn(backend, doing, os.fstat(2).st_size))

    def _rehearse(self, rehearsal: Rehearsal) -> Rehearsed | Failed:
        bench = self._bench(rehearsal)
        self.send(Step(0, "compile"))
        answer = rehearse(rehearsal, bench.torch_device, bench.memory)
        if isinstance(answer, Failed):
            bench.outlive(answer, partial(self.send, Step(0, "compile")))
        gc.freeze()  # a package's modules are hundreds of thousands of objects to every collection
        return answer

    def _examine(self, examination: Examination) -> Examined:
        bench = self._bench(examination)
        examiner = Examiner(examination, bench)
        outcomes = []
        for index, entrant in enumerate(examination.entrants):
            step = Step(index, "check")
            self.send(step)
            outcomes.append(examiner.examine(entrant))
            if isinstance(outcomes[-1], Failed):
                bench.outlive(outcomes[-1], partial(self.send, step))
        return Examined(tuple(outcomes))

    def _measure(self, task: Task) -> Finished:
        bench = self._bench(task)
        bench.make_room(task)
        contents = make_contents(task.spec, task.workload, bench.torch_device)
        bench.peaks(task.spec.dtype)  # before page sets take the room that this needs
        arena = Arena(task, contents, make_truth(task.spec, contents))
        floor = lru_cache(partial(floor_us, task.spec, contents.requests))
        return Finished(Bout(task, bench, arena, floor, self.send).outcomes())

    def _bench(self, request: Rehearsal | Examination | Task) -> Workbench[Any]:
        self.send(Step(None, "prepare"))  # before torch is imported: that is a silence too
        if request.torch_device not in self.benches:
            self.benches[request.torch_device] = set_up(request.device, request.torch_device)
        return self.benches[request.torch_device]


def serve(connection: Connection) -> None:
    """Answer until the parent hangs up."""
    worker = Worker(connection.send)
    while True:
        try:
            request = connection.recv()
        except EOFError:
            return
        worker.answer(request)


def main() -> None:
    """Serve the parent's connection, whose file descriptor is the only argument."""
    end_with_parent(signal.SIGKILL)
    os.dup2(2, 1)  # a candidate may print: stdout belongs to results
    with Connection(int(sys.argv[1])) as connection:
        serve(connection)


if __name__ == "__main__":
    main()
