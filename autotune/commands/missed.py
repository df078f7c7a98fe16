"""`autotune warm --missed`: what starts missed, as jobs for this machine, and what still waits."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import click
from click.core import ParameterSource

from autotune._store import Layers
from autotune.elsewhere import device_line
from autotune.errors import UsageError
from autotune.job import Job
from autotune.keys import device_key
from autotune.missed import Missed, read_missed
from autotune.payload import Json
from autotune.profiles import Profile
from autotune.report import nobody_text
from autotune.settings import Settings
from autotune.table import print_table
from autotune.tuner import Report
from autotune.wishes import Wishes
from kernels_bench.devices import FoundDevice, find_devices

_SAID = {
    "source": "--model",
    "tp": "--tp",
    "dtype": "--dtype",
    "kv_dtype": "--kv-dtype",
    "page_size": "--page-size",
    "max_model_len": "--max-model-len",
    "engine": "--engine",
    "device": "--device",
}
"""Parameter -> the option whose place a miss takes."""


@dataclass(frozen=True)
class Due:
    """A miss, and the run that answers it."""

    missed: Missed
    job: Job


@dataclass(frozen=True)
class Waiting:
    """A miss that stays, and why."""

    missed: Missed
    why: str


@dataclass(frozen=True)
class Backlog:
    """All that was missed."""

    due: tuple[Due, ...] = ()
    waiting: tuple[Waiting, ...] = ()

    @property
    def jobs(self) -> tuple[Job, ...]:
        """One a miss."""
        return tuple(each.job for each in self.due)

    def after(self, reports: Iterable[tuple[Job, Report]]) -> tuple[Waiting, ...]:
        """What still waits, runs without a decision included."""
        of_question = {_place(each.job): each.missed for each in self.due}
        undecided = (
            Waiting(of_question[_place(job)], _why(report))
            for job, report in reports
            if report.decision is None and _place(job) in of_question
        )
        return (*self.waiting, *undecided)


def check_usage(is_missed: bool, has_models: bool, profile: Profile) -> None:
    """Raise UsageError where it is not clear what to tune; of the command that runs now."""
    if not is_missed:
        if not has_models:
            raise UsageError(
                "warm: say what to tune: --model NAME|FOLDER|FILE, or --missed for what engine"
                " starts found no answer for"
            )
        return
    given = [option for name, option in _SAID.items() if _is_given(name)]
    if given:
        raise UsageError(f"--missed: leave out {', '.join(given)}: a miss says that itself")
    if _is_given("profile") and not profile.is_own:
        raise UsageError("--missed: leave out --profile, unless it is the file of a missed one")


def _is_given(name: str) -> bool:
    source = click.get_current_context().get_parameter_source(name)
    return source is ParameterSource.COMMANDLINE


def find_backlog(layers: Layers, named: Profile, settings: Settings) -> Backlog:
    """What was missed; told where that is nothing. `named` is a profile whose file is at hand."""
    missed = read_missed(layers, named)
    if not missed:
        click.echo(f"nothing is missed: no start is noted in {layers.user.path}", err=True)
        return Backlog()
    return sort_out(missed, find_devices(), settings)


def sort_out(missed: Iterable[Missed], here: Sequence[FoundDevice], settings: Settings) -> Backlog:
    """What can be tuned on these devices; pure."""
    # Of several of one part the first stands for all.
    places = {device_key(found.device): found for found in reversed(here)}
    due: list[Due] = []
    waiting: list[Waiting] = []
    for each in missed:
        found = places.get(each.row.device_key)
        if found is None:
            waiting.append(Waiting(each, f"{device_line(each.device)} is not on this machine"))
        elif each.model is None or each.profile is None:
            waiting.append(Waiting(each, each.hindrance))
        else:
            wishes = Wishes(each.row.engine, settings.disabled, rocm=settings.rocm)
            due.append(Due(each, Job(each.model, found, each.profile, wishes)))
    return Backlog(tuple(due), tuple(waiting))


def print_backlog(backlog: Backlog) -> None:
    """All misses, how the engines were started, and why not all are tuned."""
    every = [
        *((each.missed, "") for each in backlog.due),
        *((each.missed, each.why) for each in backlog.waiting),
    ]
    rows = [
        [missed.row.model, missed.row.engine, missed.row.profile, missed.device.name,
         str(missed.row.times_seen), missed.row.last_seen, missed.row.options, why]
        for missed, why in every
    ]  # fmt: skip
    columns = ["model", "engine", "profile", "device", "seen", "last", "started with", "not tuned"]
    if rows:
        print_table("Missed", columns, rows)


def tell_waiting(waiting: Iterable[Waiting]) -> None:
    """A line each, on stderr."""
    for each in waiting:
        click.echo(f"still missed: {each.missed.text}: {each.why}", err=True)


def waiting_payload(waiting: Iterable[Waiting]) -> list[Json]:
    """What was not decided, and why."""
    return [
        {
            "model": each.missed.row.model,
            "device": each.missed.device.name,
            "engine": each.missed.row.engine,
            "profile": each.missed.row.profile,
            "options": _options(each.missed.row.options),
            "times_seen": each.missed.row.times_seen,
            "first_seen": each.missed.row.provenance.created_at,
            "last_seen": each.missed.row.last_seen,
            "why": each.why,
        }
        for each in waiting
    ]


def _options(text: str) -> object:
    try:
        found: object = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return found


def _place(job: Job) -> tuple[str, str]:
    return device_key(job.found.device), job.question.text


def _why(report: Report) -> str:
    situation = report.plan.situation
    return report.why if situation.can_run else nobody_text(situation)
