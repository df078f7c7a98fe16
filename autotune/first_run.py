"""Tunes before an engine takes the device's memory: `autotune warm` in a process of its own, which
is gone, and its memory with it, before the start goes on.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from autotune.models import ModelRequest
from kernels_bench.processes import search_path

USUAL_BUDGET_S = 60.0
"""Where AUTOTUNE_BUDGET says nothing: a start should not wait for long without being asked to."""
_GRACE_S = 60.0
"""Beyond the budget, which is looked at between workloads, for imports and compilers."""
_STOPPING_S = 15.0


@dataclass(frozen=True)
class FirstRun:
    """What to tune, as the command line has it."""

    request: ModelRequest
    name: str
    """The model's, for people."""
    engine: str
    profile: str
    device: str
    """A selector: "auto", "cpu"."""
    cache: Path
    budget_s: float
    config: Mapping[str, object] | None = None
    """The model's config where no file has it; else the request's source names the file."""


def tune_first(run: FirstRun, tell: Callable[[str], None]) -> str:
    """Tune, with each line of progress told as it comes; empty, or why nothing came of it."""
    with tempfile.TemporaryDirectory(prefix="attn-autotune-") as folder:
        path = Path(run.request.source)
        source = str(path.resolve()) if path.exists() else run.request.source
        if run.config is not None:
            source = str(_written(run.config, Path(folder) / (Path(run.name).name or "model")))
        try:
            return _run(command_of(run, source), run.budget_s + _GRACE_S, tell)
        except OSError as error:
            return f"cannot start autotune warm: {error}"


def most_s(budget_s: float) -> float:
    """Of a run that is ended where it does not end."""
    return budget_s + _GRACE_S + 3 * _STOPPING_S


def command_of(run: FirstRun, source: str) -> list[str]:
    """The command line; pure."""
    request = run.request
    options: dict[str, object] = {
        "--model": source,
        "--tp": request.tensor_parallel,
        "--dtype": request.dtype,
        "--kv-dtype": request.kv_dtype,
        "--page-size": request.page_size,
        "--max-model-len": request.max_model_len,
        "--engine": run.engine,
        "--profile": run.profile,
        "--device": run.device,
        "--budget": f"{run.budget_s:g}s",
        "--cache": run.cache,
    }
    said = ((name, str(value)) for name, value in options.items() if value is not None)
    return [sys.executable, "-m", "autotune", "warm", *(word for pair in said for word in pair)]


def _written(config: Mapping[str, object], folder: Path) -> Path:
    """A folder with the model's name, which is how people find it in the cache."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(dict(config), default=str))
    return folder


def _run(command: list[str], within_s: float, tell: Callable[[str], None]) -> str:
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C is the engine's to handle
        cwd="/",  # `-m` puts it first on the path: no folder of a user's
        # The mode would be tried again in there; an override is no part of what is measured.
        env={**os.environ, "AUTOTUNE_MODE": "read", "PYTHONPATH": search_path()},
    )
    lines = _Lines(process, tell)
    try:
        status = process.wait(within_s)
    except subprocess.TimeoutExpired:
        return f"autotune warm did not end within {within_s:.0f} s"
    finally:
        _stop(process)
        lines.join(_STOPPING_S)
    return "" if status == 0 else (lines.last or f"autotune warm ended with status {status}")


class _Lines(threading.Thread):
    """Tells what a process writes, so that it never waits for a reader."""

    def __init__(self, process: subprocess.Popen[str], tell: Callable[[str], None]) -> None:
        super().__init__(name="attn-autotune-progress", daemon=True)
        self.last = ""
        self._stream = process.stderr
        self._tell = tell
        self.start()

    def run(self) -> None:
        """Until the other end is closed."""
        if self._stream is None:
            return
        with self._stream as lines:
            for line in lines:
                if text := line.strip():
                    self.last = text
                    self._tell(text)


def _stop(process: subprocess.Popen[str]) -> None:
    """Ask first: what is finished is kept, and the measuring process goes with it."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_STOPPING_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
