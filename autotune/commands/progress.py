"""What a waiting person sees on stderr: a bar on a terminal, a line a workload elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from autotune.run import OnProgress, Progress
from autotune.text import outcome_text


@contextmanager
def show_progress() -> Iterator[OnProgress]:
    """Give the callback that a tuning run wants."""
    if not sys.stderr.isatty():
        yield _print_line
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        MofNCompleteColumn(),
        BarColumn(bar_width=20),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("asking the backends", total=None)

        def update(progress: Progress) -> None:
            if progress.is_news:
                bar.console.print(progress.what)
            bar.update(
                task, completed=progress.done, total=progress.total, description=progress.what
            )

        yield update


def _print_line(progress: Progress) -> None:
    """News and finished workloads: a log wants no line for every step."""
    if progress.is_news:
        click.echo(progress.what, err=True)
    if progress.outcomes:
        said = ", ".join(f"{who} {outcome_text(it)}" for who, it in progress.outcomes.items())
        click.echo(f"[{progress.done}/{progress.total}] {progress.what}: {said}", err=True)
