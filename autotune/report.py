"""Tables for people, on stdout."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import click

from autotune.decision import Choice
from autotune.elsewhere import Elsewhere
from autotune.estimate import estimate_s
from autotune.measurements import print_measurements
from autotune.plan import Plan, Situation
from autotune.survey_rows import able_rows, refusal_rows
from autotune.surveyed import Surveyed
from autotune.table import print_table
from autotune.text import choice_lines, device_text, outcome_text
from autotune.tuner import Report
from kernels_bench.grid import LeftOut


@dataclass(frozen=True)
class Told:
    """A run, and what starts get from now on."""

    report: Report
    choice: Choice
    also: tuple[Choice, ...] = ()
    """Of other engines, whose kernels were measured."""


def print_report(told: Told, cache_file: str) -> None:
    """Everything that was measured, the decisions, and where they are kept."""
    report, choice = told.report, told.choice
    if report.observed:
        print_measurements(report.observed)
    _print_left_out(report.left_out)
    answers = report.plan.situation.survey.answers
    refused = sorted({a.backend for a in answers if not a.support})
    if refused and report.plan.situation.can_run:
        click.echo(f"cannot run everything: {', '.join(refused)} (autotune backends says why)")
    click.echo("\n".join(choice_lines(choice)))
    for other in told.also:
        first, *_ = choice_lines(other)
        why = "" if other.is_measured else f" ({other.why})"
        click.echo(f"  engine {other.engine}: {first}{why}")
    click.echo(f"  {report.measured} outcomes measured in {report.elapsed_s:.1f} s")
    click.echo(f"  cache: {cache_file}")


def print_plan(plan: Plan) -> None:
    """`--dry-run`, as if nothing were stored."""
    rows = [
        [s.kind, s.workload.text, s.workload.phase.value, ", ".join(s.labels)] for s in plan.steps
    ]
    title = f"{plan.situation.model.name}: would measure"
    print_table(title, ["layers", "workload", "phase", "candidates"], rows)
    _print_left_out(plan.grid.left_out)
    seconds = estimate_s(plan.situation.found.device, plan.steps)
    click.echo(f"about {seconds:.0f} s, and before it whatever compiles")


def _print_left_out(items: Iterable[LeftOut]) -> None:
    for item in items:
        where = item.workload if item.spec is None else f"{item.spec} {item.workload}"
        click.echo(f"left out: {where}: {item.why}")


def print_survey(surveyed: Surveyed) -> None:
    """Who can run the model, then who cannot with every reason."""
    click.echo("\n".join(_survey_title(surveyed)))
    if able := list(able_rows(surveyed)):
        print_table("can run", ["backend", "variant", "layers", "phases"], able)
    if refused := list(refusal_rows(surveyed)):
        # A pipe keeps the names in every row, for whoever looks for one.
        rows = _said_once(refused) if sys.stdout.isatty() else refused
        print_table("cannot", ["backend", "variant", "why not"], rows)


def _said_once(rows: Iterable[list[str]]) -> Iterator[list[str]]:
    """Rows of the same backend and variants name them in the first one."""
    named: list[str] = []
    for *names, reason in rows:
        yield [*(("", "") if names == named else names), reason]
        named = names


def _survey_title(surveyed: Surveyed) -> Iterator[str]:
    yield f"{surveyed.model.name} on {device_text(surveyed.found.device)}"
    match surveyed.found:
        case Elsewhere(source=source, is_here=is_here):
            yield f"{'' if is_here else 'not here: '}asked for {source}"
        case _:
            pass


def nobody_text(situation: Situation) -> str:
    """Why nobody can run a model here: what all candidates say, or else what each of them says."""
    answers = situation.survey.answers
    said = [{reason.text for reason in answer.support.reasons} for answer in answers]
    shared = set[str]().union(*said).intersection(*said)
    reasons = [
        *dict.fromkeys(reason.text for reason in situation.model.unsupported),
        *sorted(shared),
    ] or dict.fromkeys(
        f"{answer.backend} ({reason.text})"
        for answer in answers
        for reason in answer.support.reasons
    )
    broken = [f"{each.name} ({each.message})" for each in situation.survey.broken]
    told = ", ".join(dict.fromkeys([*reasons, *broken])) or "no backend is installed"
    where = device_text(situation.found.device)
    return f"no backend can run {situation.model.name} on {where}: {told}"


def nobody_left_text(report: Report) -> str:
    """What each candidate did, where all were wrong or failed everywhere."""
    situation = report.plan.situation
    told = dict.fromkeys(
        f"{item.answer.entrant.label} ({outcome_text(item.outcome)})" for item in report.observed
    )
    where = device_text(situation.found.device)
    return f"no candidate is left for {situation.model.name} on {where}: {', '.join(told)}"
