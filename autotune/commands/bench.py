"""`autotune bench`: measure workloads by hand, store nothing."""

from __future__ import annotations

import json
import os

import click

from autotune.commands.misspelt import tell_misspelt
from autotune.commands.options import Target, json_option, target_options
from autotune.commands.progress import show_progress
from autotune.errors import NoBackendError
from autotune.field import Field, Measured
from autotune.keys import Question
from autotune.measurements import print_measurements
from autotune.payload import SCHEMA
from autotune.plan import Plan, make_plan
from autotune.report import nobody_text
from autotune.run import Observed, OnProgress, Progress
from autotune.run_payload import observed_payload
from autotune.settings import read_settings
from autotune.today import Asked
from autotune.tuner import look_around
from autotune.wishes import Wishes
from kernels_bench.bench import Bench
from kernels_bench.devices import find_device
from kernels_bench.grid import Grid, GridPoint
from kernels_bench.messages import HarnessFailed
from kernels_bench.workload import parse_workload


@click.command()
@target_options
@click.option(
    "--workload", "texts", multiple=True, required=True, metavar="W",
    help="8q1s1k: 8 requests, 1 new token, 1024 in total; q2k; 2q2k_32q1s1k. May be repeated.",
)  # fmt: skip
@json_option
def command(target: Target, texts: tuple[str, ...], as_json: bool) -> None:
    """Check and time every candidate on these workloads. Stores nothing."""
    workloads = [parse_workload(text) for text in texts]
    grid = Grid(tuple(GridPoint(workload.text, workload) for workload in workloads))
    settings = read_settings(os.environ)
    wishes = Wishes(target.engine, settings.disabled)
    found, model = find_device(target.device), target.model()
    tell_misspelt(Asked(Question(model, target.engine, settings.profile), found, settings))
    with Bench(settings.patience) as bench, show_progress() as on_progress:
        situation = look_around(model, found, wishes, bench)
        observed = _measure(make_plan(situation, grid), bench, on_progress)
    if as_json:
        rows = [observed_payload(item) for item in observed]
        click.echo(json.dumps({"schema": SCHEMA, "outcomes": rows}, indent=2))
    else:
        print_measurements(observed)


def _measure(plan: Plan, bench: Bench, on_progress: OnProgress) -> tuple[Observed, ...]:
    situation = plan.situation
    if not situation.can_run:
        raise NoBackendError(nobody_text(situation))
    if not plan.steps:
        raise NoBackendError(
            f"no backend can run {situation.model.name} on {situation.found.device.name} with these"
            " workloads: autotune backends says why"
        )
    observed: list[Observed] = []
    course, total = Field(plan, bench), len(plan.steps)
    course.rehearse(plan.steps, None, lambda doing: on_progress(Progress(0, total, doing)))
    for number, step in enumerate(plan.steps):
        on_progress(Progress(number, total, step.name))
        match course.measure(step, None, lambda _: None):
            case Measured(answers, outcomes):
                observed += [
                    Observed(answer, step.kind, step.workload.text, outcome)
                    for answer, outcome in zip(answers, outcomes, strict=True)
                ]
            case HarnessFailed(message):
                click.echo(f"left out: {step.name}: {message}", err=True)
    return tuple(observed)
