"""Commands that are imported as they are called: none waits for the libraries of the others."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from keyword import iskeyword
from typing import ClassVar

import click


class LazyGroup(click.Group):
    """A module of a package for each command, with a `command` in it."""

    package: ClassVar[str]
    summaries: ClassVar[Mapping[str, str]]
    """Name -> what --help says, in the order in which a user meets them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In that order."""
        return list(self.summaries)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The command of that name."""
        if name not in self.summaries:
            return None
        module = f"{self.package}.{f'{name}_' if iskeyword(name) else name}"
        command: click.Command = importlib.import_module(module).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in --help, without importing what it lists."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self.summaries.items()))
