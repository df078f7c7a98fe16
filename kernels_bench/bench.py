"""The parent's side of measuring: owns the child process and outlives its deaths."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Pipe
from pathlib import Path
from typing import IO, TypeAlias

from kernels_bench.candidates import Survey
from kernels_bench.errors import WorkerError
from kernels_bench.messages import AskAll, Event, Finished, HarnessFailed, Request, Step, Task
from kernels_bench.spec import Failed, Outcome

HANG_S = 600.0
"""Silence that counts as a hang: FlashInfer compiles a family of kernels for up to a minute on 16
cores, and for longer on fewer.
"""


@dataclass(frozen=True)
class OutOfTime:
    """The deadline came before the task's end; nothing of the task is kept."""


Answer: TypeAlias = Finished | OutOfTime | HarnessFailed


@dataclass(frozen=True)
class _Died:
    """The child is gone, and this is what it was doing."""

    last: Step | None
    failed: Failed


class Bench:
    """Surveys and measures in a child process that is started when first needed.

    A candidate that kills the child, or hangs it, becomes `Failed`; a new child goes on without it.
    """

    def __init__(self, hang_s: float = HANG_S) -> None:
        self._hang_s = hang_s
        self._child: _Child | None = None

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the child, whatever it does."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def survey(self, request: AskAll) -> Survey:
        """Ask every backend; raises WorkerError where the child cannot answer."""
        match self._ask(request, None, lambda _: None):
            case Survey() as answer:
                return answer
            case _Died(failed=failed):
                raise WorkerError(f"the measuring process ended while asking: {failed.message}")
            case other:
                raise WorkerError(f"the measuring process answered {other!r} to a survey")

    def measure(
        self,
        task: Task,
        deadline: float | None = None,
        on_step: Callable[[Step], None] = lambda _: None,
    ) -> Answer:
        """Check and time a task's entrants. `deadline` is a `time.monotonic` moment."""
        outcomes: dict[int, Outcome] = {}
        alive = list(range(len(task.entrants)))
        while alive:
            entrants = tuple(task.entrants[index] for index in alive)
            answer = self._ask(
                replace(task, entrants=entrants),
                deadline,
                partial(_forward, on_step, tuple(alive)),
            )
            match answer:
                case Finished(found):
                    outcomes.update(zip(alive, found, strict=True))
                    break
                case _Died(last=Step(entrant=int(position)), failed=failed):
                    outcomes[alive.pop(position)] = failed
                case _Died(failed=failed):
                    return HarnessFailed(failed.message)
                case OutOfTime() | HarnessFailed():
                    return answer
                case other:
                    raise WorkerError(f"the measuring process answered {other!r} to a task")
        return Finished(tuple(outcomes[index] for index in range(len(task.entrants))))

    def _ask(
        self, request: Request, deadline: float | None, on_step: Callable[[Step], None]
    ) -> Event | OutOfTime | _Died:
        if self._child is None:
            self._child = _Child()
        child, last = self._child, None
        try:
            child.connection.send(request)
            while True:
                wait_s = self._hang_s
                if deadline is not None:
                    wait_s = max(0.0, min(wait_s, deadline - time.monotonic()))
                if not child.connection.poll(wait_s):
                    return self._give_up(last, deadline)
                event: Event = child.connection.recv()
                if not isinstance(event, Step):
                    return event
                last = event
                on_step(event)
        except (EOFError, OSError):
            message = child.last_words(last)
            self.close()
            return _Died(last, Failed("crash", message))

    def _give_up(self, last: Step | None, deadline: float | None) -> OutOfTime | _Died:
        self.close()
        if deadline is not None and time.monotonic() >= deadline:
            return OutOfTime()
        return _Died(last, Failed("hang", f"silent for {self._hang_s:g} s{_while(last)}"))


class _Child:
    """One measuring process and the pipe to it."""

    def __init__(self) -> None:
        try:
            self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - lives with the child
        except OSError as error:
            raise WorkerError(f"no room for the measuring process's output: {error}") from error
        self.connection, theirs = Pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "kernels_bench.worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                start_new_session=True,  # Ctrl-C is the parent's to handle
                cwd="/",  # `-m` puts it first on the path: no folder of a user's, nor site-packages
                env={**os.environ, "PYTHONPATH": _search_path()},
            )
        except OSError as error:
            self.connection.close()
            self._output.close()
            raise WorkerError(f"cannot start the measuring process: {error}") from error
        finally:
            theirs.close()

    def kill(self) -> None:
        """End it and collect it; with it, where it still runs, the compilers that it waits for."""
        if self._process.returncode is None:
            os.killpg(self._process.pid, signal.SIGKILL)  # it leads a session, hence a group
        self._process.wait()
        self.connection.close()
        self._output.close()

    def last_words(self, last: Step | None) -> str:
        """How it ended, what it was doing, and the last line that it printed."""
        code = self._process.wait()
        ended = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        self._output.seek(0)
        lines = self._output.read().decode(errors="replace").strip().splitlines()
        said = f": {lines[-1].strip()}" if lines else ""
        return f"{ended}{_while(last)}{said}"


def _search_path() -> str:
    """The parent's own path in its order, so that the child finds the same packages and plug-ins;
    and this package, should the parent have found it by other means.
    """
    home = str(Path(__file__).resolve().parents[1])
    entries = [str(Path(entry).resolve()) for entry in sys.path if entry]
    return os.pathsep.join(dict.fromkeys([*entries, home]))


def _forward(on_step: Callable[[Step], None], alive: tuple[int, ...], step: Step) -> None:
    """The child numbers the entrants that it was sent; the caller knows them all."""
    on_step(step if step.entrant is None else replace(step, entrant=alive[step.entrant]))


def _while(last: Step | None) -> str:
    doing = {"prepare": "preparing inputs", "check": "being checked", "time": "being timed"}
    return "" if last is None else f" while {doing[last.doing]}"
