"""What a waiting person sees on stderr: a bar on a terminal, a line a workload elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from autotune.run import OnProgress, Progress
from autotune.text import brief_text, outcome_text
from kernels_bench.spec import Outcome


@contextmanager
def show_progress() -> Iterator[OnProgress]:
    """Give the callback that a tuning run wants."""
    if not sys.stderr.isatty():
        yield _Lines()
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


class _Lines:
    """News and finished workloads: a log wants no line for every step, and a reason once."""

    def __init__(self) -> None:
        self._told: set[tuple[str, str]] = set()

    def __call__(self, progress: Progress) -> None:
        if progress.is_news:
            click.echo(progress.what, err=True)
        if progress.outcomes:
            said = ", ".join(
                f"{who} {self._text(who, it)}" for who, it in progress.outcomes.items()
            )
            click.echo(f"[{progress.done}/{progress.total}] {progress.what}: {said}", err=True)

    def _text(self, who: str, outcome: Outcome) -> str:
        text = outcome_text(outcome)
        if (who, text) in self._told:
            return brief_text(outcome)
        self._told.add((who, text))
        return text
