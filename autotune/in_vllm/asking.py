"""Process 0's side: our process is started as vLLM begins to make its config, and asked after."""

from __future__ import annotations

import atexit
import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from autotune.in_vllm.messages import Reply, Request, Told, Wait, line_of, read_message
from kernels_bench.processes import search_path

ANSWER_S = 30.0
"""Silence that counts as a hang: of a disk, a driver, a plug-in. The start goes on without us."""

_ENDING_S = 5.0
"""For a run of `autotune warm` to be ended before it."""


class NoAnswerError(Exception):
    """Our process said nothing that could be used; the text says why."""


class Answerer:
    """The process, until it has answered or is not needed."""

    def __init__(self) -> None:
        self._patience_s = ANSWER_S
        self._process = subprocess.Popen(
            [sys.executable, "-m", "autotune.in_vllm.answering", str(Path.cwd())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is the engine's to handle
            cwd="/",  # `-m` puts it first on the path; it moves to the user's folder later
            env={**os.environ, "PYTHONPATH": search_path()},
        )

    def ask(self, request: Request, tell: Callable[[Told], None]) -> Reply:
        """Wait for the reply, with what is told before it passed on; raises NoAnswerError."""
        try:
            for line in self._lines(line_of(request).encode()):
                match read_message(line):
                    case Told() as told:
                        tell(told)
                    case Wait(most_s=most_s):
                        self._patience_s = most_s
                    case Reply() as reply:
                        return reply
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise NoAnswerError(f"{type(error).__name__}: {error}") from error
        code = self._process.wait(1)
        raise NoAnswerError(f"its process ended with status {code}")

    @property
    def is_alive(self) -> bool:
        """Whether it can still be asked."""
        return self._process.poll() is None

    def close(self) -> None:
        """Let it go, whatever it is doing. Raises nothing."""
        for stream in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                if stream is not None:
                    stream.close()
        self._process.terminate()
        try:
            self._process.wait(_ENDING_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _lines(self, question: bytes) -> Iterator[str]:
        """As they come; a silence raises NoAnswerError."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise NoAnswerError("its process has no pipes")
        stdin.write(question)
        stdin.flush()
        kept = b""
        while True:
            ready, _, _ = select.select([stdout], [], [], self._patience_s)
            if not ready:
                raise NoAnswerError(f"no answer within {self._patience_s:.0f} s")
            read = os.read(stdout.fileno(), 1 << 16)
            if not read:
                return
            *lines, kept = (kept + read).split(b"\n")
            yield from (line.decode() for line in lines)


_ready: list[Answerer] = []
"""At most one, started ahead."""


def prepare() -> None:
    """Start it, so that it is up by the time it is asked. Where that fails, asking says so."""
    if not _ready:
        with suppress(OSError, ValueError):
            _ready.append(Answerer())
            atexit.register(drop)


def taken() -> Answerer:
    """The one that was started ahead, or another. Raises OSError or ValueError."""
    while _ready:
        answerer = _ready.pop()
        if answerer.is_alive:
            return answerer
        answerer.close()
    return Answerer()


def drop() -> None:
    """Let it go, where nobody asked."""
    while _ready:
        _ready.pop().close()
