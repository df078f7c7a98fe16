"""`autotune warm`: measure, decide, remember."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import click

from autotune._store import Layers, Store
from autotune.chooser import answer
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
from autotune.job import Job
from autotune.keys import Question
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
@click.option("--force", is_flag=True, help="Measure again what is already stored.")
@click.option("--dry-run", is_flag=True, help="Print what would be measured.")
@cache_option
@json_option
def command(
    targets: tuple[Target, ...],
    profile: str | None,
    effort: str,
    budget: float | None,
    force: bool,
    dry_run: bool,
    layers: Layers,
    as_json: bool,
) -> None:
    """Measure a model's candidates on this machine, decide, and remember the decision."""
    settings = settings_from(profile)
    weighed = profile_from(settings)
    jobs = [
        Job(
            model=target.model(),
            found=found,
            profile=weighed,
            wishes=Wishes(target.engine, settings.disabled),
            effort="full" if effort == "full" else "quick",
            budget_s=settings.budget_s if budget is None else budget,
            force=force,
        )
        for target in targets
        for found in _devices(target.device)
    ]
    if dry_run:
        _show_plans(jobs, as_json)
        return
    with (
        Store.open(layers.user.path) as store,
        Bench(settings.patience) as bench,
        show_progress() as on_progress,
    ):
        started = time.monotonic()
        reports = [warm(_rest(job, started), store, bench, on_progress) for job in jobs]
    told = [
        Told(
            report,
            _answer(report, report.question, job.found, settings, layers),
            tuple(_answer(report, each, job.found, settings, layers) for each in report.also),
        )
        for report, job in zip(reports, jobs, strict=True)
    ]
    if as_json:
        click.echo(json.dumps(report_payload(told), indent=2))
    else:
        for each in told:
            print_report(each, f"{layers.user.path} ({layers.user.why})")
    for report in reports:
        if not report.plan.situation.can_run:
            raise NoBackendError(nobody_text(report.plan.situation))
        if report.is_nobody_left:
            raise NoBackendError(nobody_left_text(report))


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
    unforced = replace(settings, backend=None, vllm_backend=None, lock=None, mode="read")
    choice = answer(Asked(question, found, unforced), layers)
    if report.decision is not None:
        return choice
    if not report.plan.situation.can_run:
        return replace(choice, why="nobody can run this model here")
    return replace(choice, why=f"{report.why}; {choice.why}")


def _rest(job: Job, started: float) -> Job:
    """What is left of the budget: one covers all models and devices."""
    if job.budget_s is None:
        return job
    return replace(job, budget_s=max(0.0, job.budget_s - (time.monotonic() - started)))


def _show_plans(jobs: list[Job], as_json: bool) -> None:
    with Bench() as bench:
        plans = [plan_job(job, bench) for job in jobs]
    if as_json:
        click.echo(json.dumps(plans_payload(plans), indent=2))
    else:
        for plan in plans:
            print_plan(plan)
