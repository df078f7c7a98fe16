"""Tables for people, on stdout."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

_PIPE_WIDTH = 200
"""A pipe has no width: do not wrap what a script may read."""


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table on stdout; on a pipe without lines and colours."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    is_terminal = sys.stdout.isatty()
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD if is_terminal else None)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console(width=None if is_terminal else _PIPE_WIDTH, highlight=False).print(table)
