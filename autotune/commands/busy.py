"""Another process tunes the same: what people are told."""

from __future__ import annotations

from dataclasses import dataclass

import click

from autotune._store import Holder, TuningBusyError
from autotune.decision import Choice
from autotune.text import choice_lines


@dataclass(frozen=True)
class Busy:
    """A job that was left to somebody else, and what a start gets meanwhile."""

    error: TuningBusyError
    choice: Choice


def tell_wait(holder: Holder | None) -> None:
    """Before the first wait."""
    who = holder or "another process"
    click.echo(f"waiting for {who}; Ctrl-C stops, --no-wait goes on without", err=True)


def tell_dead(holder: Holder) -> None:
    """The lock of a process that died is free at once; what it finished is stored."""
    click.echo(f"{holder}, died; what it finished is kept", err=True)


def tell_busy(busy: Busy) -> None:
    """Instead of a report."""
    click.echo(f"autotune: {busy.error}", err=True)
    click.echo(f"meanwhile: {choice_lines(busy.choice)[0]}", err=True)
