"""The compilers that kernels are built with on this machine, asked for their versions."""

from __future__ import annotations

import functools
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from platform import python_version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TIMEOUT_S = 10

DEFAULT_CUDA_HOME = Path("/usr/local/cuda")


def compiler_version(environ: Mapping[str, str]) -> str | None:
    """Of the C++ compiler that torch's inductor would call on a CPU, and nvcc: CXX, or g++."""
    command = shlex.split(environ.get("CXX", "")) or ["g++"]
    program = _which(command[0], environ)
    if program is None:
        return None
    # GCC gives its major version alone to the second flag; clang does not know the first.
    for flags in (["-dumpfullversion", "-dumpversion"], ["-dumpversion"]):
        if words := _answer([program, *command[1:], *flags]).split():
            return words[0]
    return None


def nvcc_version(environ: Mapping[str, str]) -> str | None:
    """The release of CUDA's compiler: "13.0".

    Looked for as FlashInfer looks (0.6.12, jit/cpp_ext.py, `get_cuda_path`); torch looks alike.
    """
    home = environ.get("CUDA_HOME") or environ.get("CUDA_PATH")
    if home:
        program = f"{home}/bin/nvcc"
    else:
        program = _which("nvcc", environ) or f"{DEFAULT_CUDA_HOME}/bin/nvcc"
    found = re.search(r"release (\d+\.\d+)", _answer([program, "--version"]))
    return None if found is None else found[1]


def ninja_version(environ: Mapping[str, str]) -> str | None:
    """Of the ninja on the PATH, which a system's package manager may have brought."""
    program = _which("ninja", environ)
    words = [] if program is None else _answer([program, "--version"]).split()
    return words[0] if words else None


def headers_version(include: Path) -> str | None:
    """Of the Python headers, which what inductor compiles for a CPU includes."""
    try:
        return python_version() if (include / "Python.h").exists() else None
    except OSError:  # a folder that may not be entered, before Python 3.12
        return None


def _which(program: str, environ: Mapping[str, str]) -> str | None:
    return shutil.which(program, path=environ.get("PATH"))


def _answer(command: Sequence[str]) -> str:
    """What a program says; nothing where it fails, hangs or is not there. Asked once for each state
    of the program's file: a start asks at every choice, and a process takes milliseconds.
    """
    try:
        found = Path(command[0]).stat()
    except OSError:
        return ""
    return _said(tuple(command), (found.st_ino, found.st_size, found.st_mtime_ns))


@functools.lru_cache(maxsize=64)
def _said(command: tuple[str, ...], _state: tuple[int, ...]) -> str:
    try:
        answer = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout if answer.returncode == 0 else ""
