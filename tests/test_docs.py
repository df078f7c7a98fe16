"""What the command line takes is written down for its users."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import autotune
from autotune.commands import cli
from kernels_bench.grid import CPU_FULL, CPU_QUICK, GPU_FULL, GPU_QUICK

ROOT = Path(autotune.__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES if page.exists())


def commands(group: click.Group, name: str = "autotune") -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, with its full name."""
    context = click.Context(group)
    for part in group.list_commands(context):
        command = group.get_command(context, part)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{name} {part}")
        else:
            yield f"{name} {part}", command


ALL = dict(commands(cli))
OPTIONS = sorted(
    {
        (name, option)
        for name, command in ALL.items()
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for option in parameter.opts
        if option.startswith("--")
    }
)
VARIABLES = sorted(
    {
        variable
        for package in ("autotune", "cache", "kernels_bench")
        for file in (ROOT / package).rglob("*.py")
        for variable in re.findall(r"\bAUTOTUNE_[A-Z_]+\b", file.read_text(encoding="utf-8"))
    }
)


def test_the_commands_are_found() -> None:
    assert {"autotune warm", "autotune choose", "autotune cache ls"} <= set(ALL)
    assert ("autotune warm", "--budget") in OPTIONS
    assert "AUTOTUNE_CACHE" in VARIABLES


@pytest.mark.parametrize("name", ALL)
def test_a_command_is_written_down(name: str) -> None:
    # "autotune cache path    # and ls, show ID, rm ID" names four.
    words = [rf"\b{word}\b" for word in name.split()]
    assert any(all(re.search(word, line) for word in words) for line in TEXT.splitlines())


@pytest.mark.parametrize("option", sorted({option for _, option in OPTIONS}))
def test_an_option_is_written_down(option: str) -> None:
    assert re.search(rf"(?<![\w-]){option}(?![\w-])", TEXT)


@pytest.mark.parametrize("variable", VARIABLES)
def test_a_variable_is_written_down(variable: str) -> None:
    assert re.search(rf"\b{variable}\b", TEXT)


def test_the_number_of_workloads_is_right() -> None:
    cpu = f"{len(CPU_QUICK)} or {len(CPU_FULL)} workloads on a CPU"
    assert f"{cpu}, {len(GPU_QUICK)} or {len(GPU_FULL)} on a GPU" in TEXT


@pytest.mark.parametrize(("name", "command"), ALL.items(), ids=list(ALL))
def test_a_command_and_its_options_have_help(name: str, command: click.Command) -> None:
    assert command.help, name
    silent = [p.name for p in command.params if isinstance(p, click.Option) and not p.help]
    assert silent == []
