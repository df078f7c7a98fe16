"""Tables for people, on stdout."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import click

from autotune.decision import Choice
from autotune.elsewhere import Elsewhere
from autotune.estimate import estimate_s
from autotune.measurements import print_measurements
from autotune.plan import Plan, Situation
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
    """A row a variant and kind of layer; phases with the same answer share it."""
    rows = []
    by_variant: dict[tuple[str, str, str, str], list[str]] = {}
    for answer in surveyed.survey.answers:
        said = "; ".join(reason.text for reason in answer.support.reasons) or "yes"
        key = (answer.backend, answer.variant.name, surveyed.kind_of(answer.spec), said)
        by_variant.setdefault(key, []).append(answer.phase.value)
    for (backend, variant, kind, said), phases in by_variant.items():
        rows.append([backend, variant, kind, ", ".join(phases), said])
    rows += [[each.name, "", "", "", each.message] for each in surveyed.survey.broken]
    if not surveyed.model.specs:
        said = "; ".join(reason.text for reason in surveyed.model.unsupported)
        rows += [[name, "", "", "", said] for name in surveyed.survey.asked]
    print_table(
        _survey_title(surveyed), ["backend", "variant", "layers", "phases", "can run"], rows
    )


def _survey_title(surveyed: Surveyed) -> str:
    title = f"{surveyed.model.name} on {device_text(surveyed.found.device)}"
    match surveyed.found:
        case Elsewhere(source=source, is_here=is_here):
            return f"{title}{'' if is_here else ', not here'}: asked for {source}"
        case _:
            return title


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
