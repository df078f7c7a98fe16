"""Another process tunes the same: what people are told, and who is meant by the same."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from autotune._store import Holder, TuningBusyError, TuningSubject
from autotune.decision import Choice
from autotune.job import Job
from autotune.keys import device_key
from autotune.text import choice_lines


@dataclass(frozen=True)
class Busy:
    """A job that was left to somebody else, and what a start gets meanwhile."""

    error: TuningBusyError
    choice: Choice


def subject_of(job: Job, path: Path) -> TuningSubject:
    """One device, whatever host it is in, and one model, whatever it is tuned for."""
    device = job.found.device
    name = f"{job.model.name} on {device.name}"
    return TuningSubject(path, device_key(device), job.model.fingerprint, name)


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
