"""Which engine a command starts, and where its own arguments begin."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from autotune.command_lines.dialect import Dialect
from autotune.command_lines.sglang import SGLANG
from autotune.command_lines.vllm import VLLM
from autotune.errors import UsageError


@dataclass(frozen=True)
class Program:
    """One way to start an engine."""

    words: tuple[str, ...]
    """The program's name or a module, and its subcommands."""
    dialect: Dialect
    takes_model: bool = False
    """The model may stand before all options."""
    help: str = ""
    """As it is told to people."""


# vllm 0.24 and 0.32: entrypoints/cli/main.py; sglang 0.5.23: cli/main.py and launch_server.py.
_PROGRAMS = (
    Program(("vllm", "serve"), VLLM, True, "vllm serve MODEL"),
    Program(("vllm", "bench", "latency"), VLLM, False, "vllm bench latency|throughput --model M"),
    Program(("vllm", "bench", "throughput"), VLLM),
    Program(
        ("vllm.entrypoints.openai.api_server",),
        VLLM,
        False,
        "python -m vllm.entrypoints.openai.api_server --model MODEL",
    ),
    Program(("vllm.entrypoints.cli.main", "serve"), VLLM, True),
    Program(("sglang", "serve"), SGLANG, True, "sglang serve --model-path MODEL"),
    Program(
        ("sglang.launch_server",),
        SGLANG,
        False,
        "python -m sglang.launch_server --model-path MODEL",
    ),
)
_PYTHON = re.compile(r"python(\d+(\.\d+)?)?")
_WITH_VALUE = ("-X", "-W", "--check-hash-based-pycs")
"""Options of python that take the next word."""


@dataclass(frozen=True)
class Place:
    """A program in a command."""

    program: Program
    start: int
    """Of its own arguments."""


def find_program(words: Sequence[str]) -> Place:
    """Raises UsageError where it is none that is known."""
    place = _after_python(words) if words and _is_python(words[0]) else 0
    if place is not None and place < len(words):
        head = words[place].removeprefix("-m") if place else words[place]
        named = (PurePath(head).name, *words[place + 1 :])
        for program in _PROGRAMS:
            if named[: len(program.words)] == program.words:
                return Place(program, place + len(program.words))
    known = ", ".join(each.help for each in _PROGRAMS if each.help)
    what = " ".join(words[:3]) or "no command"
    raise UsageError(f"exec: {what}: expected one of: {known}")


def _is_python(word: str) -> bool:
    return _PYTHON.fullmatch(PurePath(word).name) is not None


def _after_python(words: Sequence[str]) -> int | None:
    """Where the module or the script stands: `-mMODULE`, the word after `-m`, or a path."""
    place = 1
    while place < len(words):
        word = words[place]
        if word == "-m":
            return place + 1
        if not word.startswith("-") or word.startswith("-m"):
            return place
        place += 2 if word in _WITH_VALUE else 1
    return None
