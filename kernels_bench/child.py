"""One measuring process as its parent sees it: a pipe, a group of processes, and last words."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Pipe
from typing import IO

from kernels_bench.errors import WorkerError
from kernels_bench.messages import Event, Request, Step, Turn
from kernels_bench.processes import ended_text, kill_group, last_lines, search_path
from kernels_bench.spec import Failed

_TAIL_BYTES = 1 << 16
_DYING_S = 60.0
"""For a core dump to be written, once the connection is gone."""


@dataclass(frozen=True)
class OutOfTime:
    """The deadline came before the end; nothing of what was asked is kept."""


@dataclass(frozen=True)
class Died:
    """The process is gone, and this is what it was doing."""

    last: Step | Turn | None
    failed: Failed


class Child:
    """Answers one request after another until it dies or is killed."""

    def __init__(self) -> None:
        try:
            self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - lives with the child
        except OSError as error:
            raise WorkerError(f"no room for the measuring process's output: {error}") from error
        self._heard_bytes = 0
        self._connection, theirs = Pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "kernels_bench.worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                start_new_session=True,  # Ctrl-C is the parent's to handle
                cwd="/",  # `-m` puts it first on the path: no folder of a user's, nor site-packages
                env={**os.environ, "PYTHONPATH": search_path()},
            )
        except OSError as error:
            self._connection.close()
            self._output.close()
            raise WorkerError(f"cannot start the measuring process: {error}") from error
        finally:
            theirs.close()

    def ask(
        self,
        request: Request,
        silence_s: float,
        deadline: float | None,
        on_step: Callable[[Step], None],
    ) -> Event | OutOfTime | Died:
        """The answer; anything but an event leaves the process dead.

        `silence_s` without a word counts as a hang; `deadline` is a `time.monotonic` moment.
        """
        last: Step | Turn | None = None
        try:
            # What earlier candidates printed are nobody's last words. No seek: the offset is shared
            # with the child, which is writing.
            self._heard_bytes = os.fstat(self._output.fileno()).st_size
            self._connection.send(request)
            while True:
                wait_s = silence_s
                if deadline is not None:
                    wait_s = max(0.0, min(wait_s, deadline - time.monotonic()))
                if not self._connection.poll(wait_s):
                    return self._give_up(last, silence_s, deadline)
                event: Event = self._connection.recv()
                match event:
                    case Turn(printed_bytes=printed_bytes):
                        self._heard_bytes = printed_bytes
                    case Step():
                        on_step(event)
                    case _:
                        return event
                last = event
        except (EOFError, OSError):
            message = self._last_words(last)
            self.kill()
            return Died(last, Failed("crash", message))

    @property
    def is_dead(self) -> bool:
        """Whether nothing more can be asked."""
        return self._connection.closed

    def stop(self) -> None:
        """End it; with it, where it still runs, the compilers that it waits for. From any thread:
        the one that asks hears of a death.
        """
        if self._process.returncode is None:
            kill_group(self._process)

    def kill(self) -> None:
        """End it and collect it."""
        self.stop()
        self._process.wait()
        self._connection.close()
        self._output.close()

    def _give_up(
        self, last: Step | Turn | None, silence_s: float, deadline: float | None
    ) -> OutOfTime | Died:
        self.stop()
        said = self._said() if isinstance(last, Turn) else ""
        self.kill()
        if deadline is not None and time.monotonic() >= deadline:
            return OutOfTime()
        return Died(last, Failed("hang", f"silent for {silence_s:g} s{_while(last)}{said}"))

    def _last_words(self, last: Step | Turn | None) -> str:
        """How it ended, what it was doing, and the last line that it printed meanwhile."""
        try:
            code = self._process.wait(_DYING_S)
        except subprocess.TimeoutExpired:  # a candidate closed every file, and lives on
            self.stop()
            code = self._process.wait()
        return f"{ended_text(code)}{_while(last)}{self._said()}"

    def _said(self) -> str:
        """The last line that it printed meanwhile, after a colon; empty where it said nothing."""
        lines = last_lines(self._output, _TAIL_BYTES, self._heard_bytes)
        # Terminals obey what cannot be printed.
        printable = ("".join(filter(str.isprintable, line)).strip() for line in lines)
        said = next(filter(None, [*printable][::-1]), "")
        return f": {said}" if said else ""


_DOING = {
    "prepare": "preparing inputs",
    "compile": "compiling",
    "check": "being checked",
    "time": "being timed",
    "import": "being imported",
    "ask": "being asked",
}


def _while(last: Step | Turn | None) -> str:
    return "" if last is None else f" while {_DOING[last.doing]}"
