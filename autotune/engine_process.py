"""A process that runs a whole engine, as its parent sees it: started ahead, told to go, waited for
within deadlines, and ended with everything that it started.
"""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import IO

from autotune.engine_messages import (
    Broke,
    EngineEvent,
    EngineJob,
    EngineRun,
    Finished,
    Ready,
    Sample,
    Scores,
    Started,
    line_of,
    read_event,
)
from kernels_bench.errors import WorkerError
from kernels_bench.processes import ended_text, kill_group, last_lines, search_path

_TAIL_BYTES = 1 << 18
_POLL_S = 0.5
_ENDING_S = 20.0
"""For an engine to end by itself after its last word."""
_BLAME = re.compile(r"((?:[\w.]+\.)?[A-Z]\w*(?:Error|Exception|Interrupt)\b:? .*)")
_NO_CAUSE = ("Engine core initialization failed", "EngineDeadError", "cancelled")
"""What is raised because something else was."""


@dataclass(frozen=True)
class Deadlines:
    """Silences that count as a hang."""

    start_s: float = 900.0
    """Of an engine that starts: compilers may be at work, and weights may come over a network."""
    answer_s: float = 300.0
    """Of one that was put to a load."""


class EngineProcess:
    """Imports the engine as soon as it is made, and starts it when it is run."""

    def __init__(
        self,
        job: EngineJob,
        environ: Mapping[str, str],
        log: Path | None = None,
        module: str = "autotune.in_vllm.running",
    ) -> None:
        self._is_done = False
        try:
            self._output = _opened(log)
        except OSError as error:
            raise WorkerError(f"no room for what the engine prints: {error}") from error
        self._events, theirs = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, str(theirs)],
                pass_fds=[theirs],
                stdin=subprocess.PIPE,
                stdout=self._output,
                stderr=self._output,
                start_new_session=True,  # Ctrl-C is the parent's to handle
                cwd="/",  # `-m` puts it first on the path
                env={**environ, "PYTHONPATH": search_path()},
            )
            self._tell(line_of(job))
        except OSError as error:
            os.close(self._events)
            self._output.close()
            raise WorkerError(f"cannot start the engine's process: {error}") from error
        finally:
            os.close(theirs)

    def run(
        self,
        deadlines: Deadlines,
        ends_at: float,
        on_event: Callable[[EngineEvent], None] = lambda _: None,
    ) -> EngineRun:
        """Everything that it said until it ended, or why it did not; `ends_at` is a
        `time.monotonic` moment. Leaves no process behind.
        """
        found = EngineRun()
        try:
            for event in self._said(deadlines, ends_at):
                on_event(event)
                found = _with(found, event)
                if isinstance(event, Broke):
                    return replace(found, failure=self._blamed(event.message))
                if isinstance(event, Ready):
                    self._tell("go\n")
                if isinstance(event, Finished):
                    return found
            return replace(found, failure=self._last_words())
        except _LostError as error:
            return replace(found, failure=str(error))
        finally:
            self.close()

    @property
    def pid(self) -> int:
        """Of the process, which leads a group of its own."""
        return self._process.pid

    def close(self) -> None:
        """End it with all of its processes."""
        with suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_ENDING_S if self._is_done else 0.0)
        # It leads a session: what an engine leaves behind when it dies is of its group.
        kill_group(self._process)
        self._process.wait()
        if not self._output.closed:
            self._output.close()
            os.close(self._events)

    def __enter__(self) -> EngineProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _tell(self, text: str) -> None:
        stdin = self._process.stdin
        if stdin is not None:
            with suppress(BrokenPipeError):  # its end is told by its exit
                stdin.write(text.encode())
                stdin.flush()

    def _said(self, deadlines: Deadlines, ends_at: float) -> Iterator[EngineEvent]:
        """Until it ends; raises _LostError."""
        kept, heard_at, silence_s = b"", time.monotonic(), deadlines.start_s
        doing = "starting"
        while True:
            ready, _, _ = select.select([self._events], [], [], _POLL_S)
            now = time.monotonic()
            if now > ends_at:
                raise _LostError(f"the budget ended while it was {doing}")
            if not ready:
                if self._process.poll() is not None:
                    return
                if now - heard_at > silence_s:
                    raise _LostError(f"no answer within {silence_s:.0f} s while it was {doing}")
                continue
            read = os.read(self._events, 1 << 20)
            if not read:
                return
            *lines, kept = (kept + read).split(b"\n")
            heard_at = now
            for line in lines:
                event = _read(line)
                if isinstance(event, Started):
                    silence_s, doing = deadlines.answer_s, "under load"
                self._is_done = isinstance(event, Finished)
                yield event

    def _last_words(self) -> str:
        try:
            code = self._process.wait(_ENDING_S)
        except subprocess.TimeoutExpired:
            return "closed its pipe and went on"
        said = self._cause()
        return f"{ended_text(code)}{said and f': {said}'}"

    def _blamed(self, message: str) -> str:
        """The message, or what the engine's own process said where it only tells that that died."""
        is_cause = not any(word in message for word in _NO_CAUSE)
        return message if is_cause else self._cause() or message

    def _cause(self) -> str:
        """The last error of its log that names a cause; empty where none does."""
        lines = last_lines(self._output, _TAIL_BYTES)
        found = (_BLAME.search(line) for line in lines if "WARNING" not in line)
        named = [match[1] for match in found if match is not None]
        causes = [text for text in named if not any(word in text for word in _NO_CAUSE)]
        return "".join(filter(str.isprintable, causes[-1]))[:300] if causes else ""


class _LostError(Exception):
    """Nothing was heard for too long, or nothing that makes sense."""


def _read(line: bytes) -> EngineEvent:
    try:
        return read_event(line.decode())
    except (ValueError, KeyError, TypeError) as error:
        raise _LostError(f"it said {line[:80]!r}, which is no event") from error


def _opened(log: Path | None) -> IO[bytes]:
    return tempfile.TemporaryFile() if log is None else log.open("w+b")


def _with(run: EngineRun, event: EngineEvent) -> EngineRun:
    match event:
        case Ready(import_s=import_s):
            return replace(run, import_s=import_s)
        case Started():
            return replace(run, started=event)
        case Scores():
            return replace(run, scores=event)
        case Sample():
            return replace(run, samples=(*run.samples, event))
        case Finished(peak_bytes=peak_bytes):
            return replace(run, peak_bytes=peak_bytes)
        case Broke():
            return run
