"""`autotune cache`: look at what is remembered, exchange it, take care of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import click

from autotune.commands.lazy import LazyGroup


class _Commands(LazyGroup):
    """A module a command."""

    package = __name__
    summaries: ClassVar[Mapping[str, str]] = {
        "path": "which files are read, and why",
        "ls": "list the decisions",
        "show": "one decision with its evidence",
        "export": "write decisions and evidence to a file",
        "import": "take rows from such a file",
        "merge": "make one file of many",
        "rm": "remove decisions",
        "prune": "remove what is old or superseded",
        "doctor": "what is wrong, and what can be saved",
        "quarantine": "decisions with which an engine's start died",
    }


@click.group(cls=_Commands)
def command() -> None:
    """Look at the cache, exchange it, take care of it."""
