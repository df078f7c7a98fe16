"""`autotune warm`: measure, decide, remember."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import click

from autotune._store import (
    Layers,
    LockPatience,
    Store,
    TuningBusyError,
    hold_tuning_lock,
)
from autotune.chooser import answer
from autotune.commands.busy import Busy, tell_busy, tell_dead, tell_wait
from autotune.commands.missed import (
    Backlog,
    check_usage,
    find_backlog,
    print_backlog,
    tell_waiting,
    waiting_payload,
)
from autotune.commands.misspelt import tell_misspelt
from autotune.commands.options import (
    Duration,
    Target,
    cache_option,
    json_option,
    profile_from,
    profile_option,
    settings_from,
    targets_options,
)
from autotune.commands.progress import show_progress
from autotune.decision import Choice
from autotune.errors import NoBackendError
from autotune.job import Job, subject_of
from autotune.keys import Question
from autotune.payload import choice_payload
from autotune.profiles import Profile
from autotune.report import Told, nobody_left_text, nobody_text, print_plan, print_report
from autotune.run_payload import plans_payload, report_payload
from autotune.settings import Settings
from autotune.today import Asked
from autotune.tuner import Report, plan_job, warm
from autotune.wishes import Wishes
from kernels_bench.bench import Bench
from kernels_bench.devices import FoundDevice, find_device, find_devices


@click.command()
@targets_options
@profile_option
@click.option(
    "--effort", type=click.Choice(["quick", "full"]), default="quick", show_default=True,
    help="How many workloads; autotune warm --dry-run lists them.",
)  # fmt: skip
@click.option("--budget", type=Duration(), help="Stop after this time, and say what is left out.")
@click.option(
    "--missed", is_flag=True,
    help="In the place of --model: what engine starts found no answer for, on devices of this"
    " machine.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Measure again what is already stored.")
@click.option(
    "--wait/--no-wait", default=True, show_default=True,
    help="Where another process tunes the same model on the same device: wait for it, or go on with"
    " what is known.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Print what would be measured.")
@cache_option
@json_option
def command(
    targets: tuple[Target, ...],
    profile: str | None,
    effort: str,
    budget: float | None,
    missed: bool,
    force: bool,
    wait: bool,
    dry_run: bool,
    layers: Layers,
    as_json: bool,
) -> None:
    """Measure a model's candidates on this machine, decide, and remember the decision."""
    settings = settings_from(profile)
    weighed = profile_from(settings)
    check_usage(missed, bool(targets), weighed)
    backlog = find_backlog(layers, weighed, settings) if missed else None
    jobs = [
        replace(
            job,
            effort="full" if effort == "full" else "quick",
            budget_s=settings.budget_s if budget is None else budget,
            force=force,
        )
        for job in (_jobs(targets, weighed, settings) if backlog is None else backlog.jobs)
    ]
    for job in jobs[:1]:  # whoever is misspelt is so for all of them
        tell_misspelt(Asked(job.question, job.found, settings))
    if dry_run:
        _show_plans(jobs, backlog, as_json)
        return
    reports, busy = _tuned(jobs, layers, settings, wait)
    told = [
        Told(
            report,
            _answer(report, report.question, job.found, settings, layers),
            tuple(_answer(report, each, job.found, settings, layers) for each in report.also),
        )
        for job, report in reports
    ]
    for other in busy:
        tell_busy(other)
    waiting = () if backlog is None else backlog.after(reports)
    tell_waiting(waiting)
    if as_json:
        payload = report_payload(told) | {"busy": [choice_payload(each.choice) for each in busy]}
        if backlog is not None:
            payload["missed"] = waiting_payload(waiting)
        click.echo(json.dumps(payload, indent=2))
    else:
        for each in told:
            print_report(each, f"{layers.user.path} ({layers.user.why})")
    for _, report in reports:
        if not report.plan.situation.can_run:
            raise NoBackendError(nobody_text(report.plan.situation))
        if report.is_nobody_left:
            raise NoBackendError(nobody_left_text(report))


def _jobs(targets: tuple[Target, ...], profile: Profile, settings: Settings) -> tuple[Job, ...]:
    return tuple(
        Job(
            target.model(),
            found,
            profile,
            Wishes(target.engine, settings.disabled, rocm=settings.rocm),
        )
        for target in targets
        for found in _devices(target.device)
    )


def _tuned(
    jobs: list[Job], layers: Layers, settings: Settings, wait: bool
) -> tuple[list[tuple[Job, Report]], list[Busy]]:
    """One job after the other, and those that somebody else is at for longer than is waited."""
    reports: list[tuple[Job, Report]] = []
    busy: list[Busy] = []
    if not jobs:
        return reports, busy
    with (
        Store.open(layers.user.path) as store,
        Bench(settings.patience) as bench,
        show_progress() as on_progress,
    ):
        started = time.monotonic()
        for job in jobs:
            most_s = job.since(started).budget_s if wait else 0.0
            patience = LockPatience(most_s, tell_wait, tell_dead)
            try:
                with hold_tuning_lock(subject_of(job, store.path), patience):
                    report = warm(job.since(started), store, bench, on_progress)
            except TuningBusyError as error:
                asked = Asked(job.question, job.found, settings.unforced)
                busy.append(Busy(error, answer(asked, layers)))
            else:
                reports.append((job, report))
    return reports, busy


def _devices(selector: str) -> tuple[FoundDevice, ...]:
    return find_devices() if selector == "all" else (find_device(selector),)


def _answer(
    report: Report,
    question: Question,
    found: FoundDevice,
    settings: Settings,
    layers: Layers,
) -> Choice:
    """What `choose` says from now on, were it not for an override, a lock or a mode."""
    choice = answer(Asked(question, found, settings.unforced), layers)
    if report.decision is not None:
        return choice
    if not report.plan.situation.can_run:
        return replace(choice, why="nobody can run this model here")
    return replace(choice, why=f"{report.why}; {choice.why}")


def _show_plans(jobs: list[Job], backlog: Backlog | None, as_json: bool) -> None:
    with Bench() as bench:
        plans = [plan_job(job, bench) for job in jobs]
    if as_json:
        payload = plans_payload(plans)
        if backlog is not None:
            payload["missed"] = waiting_payload(backlog.waiting)
        click.echo(json.dumps(payload, indent=2))
    else:
        if backlog is not None:
            print_backlog(backlog)
        for plan in plans:
            print_plan(plan)
