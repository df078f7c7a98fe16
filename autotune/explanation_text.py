"""An explanation for people, on stdout."""

from __future__ import annotations

from datetime import datetime

import click

from autotune.decision import Choice
from autotune.explanation import Explanation, Loser, Rival, Stale, Weighed
from autotune.table import print_table
from autotune.text import (
    age_text,
    choice_lines,
    mebibytes_text,
    outcome_text,
    seconds_text,
    time_text,
)

_MOST_WORKLOADS = 12
"""Of a table; the heaviest say what decided."""


def print_explanation(found: Explanation, now: datetime) -> None:
    """The choice, then who else there was, what it stands on, and what is out of date."""
    for line in [*choice_lines(found.choice), *_age_lines(found.choice, now)]:
        click.echo(line)
    if found.confirmation:
        click.echo(f"  in the engine: {found.confirmation}")
    _print_rivals(found.choice, found.rivals)
    _print_workloads(found.workloads)
    _print_losers(found.losers)
    _print_stale(found.stale)
    for near in found.near:
        click.echo(f"near: {near.stored.where}, {near.stored.model}")
        for difference in near.differences:
            click.echo(f"  {difference}")


def _age_lines(choice: Choice, now: datetime) -> list[str]:
    decision = choice.decision
    if decision is None:
        return []
    present = (f"{n} {v}" for n, v in sorted(decision.versions.items()) if v is not None)
    lines = [
        f"  measured: {age_text(decision.measured_at, now)} ({decision.measured_at}),"
        f" method {decision.method}",
        f"  with: {', '.join(present)}",
    ]
    if decision.assessment is not None:
        lines.append(f"  decided by: {decision.assessment.ground.replace('_', ' ')}")
    return lines


def _print_rivals(choice: Choice, rivals: tuple[Rival, ...]) -> None:
    rows = [
        [
            each.ranked.candidate.label,
            f"{each.ranked.candidate.pages.size} {each.ranked.candidate.pages.layout}",
            f"{each.ranked.score:.3f} ±{each.ranked.bound:.3f}",
            _worst(each),
            seconds_text(each.compile_s) if each.compile_s else "",
            "" if each.workspace_bytes is None else mebibytes_text(each.workspace_bytes),
            "yes" if each.plan_waits else "",
            _mark(choice, each),
        ]
        for each in rivals
    ]
    if rows:
        columns = ["candidate", "pages", "cost", "at worst", "compile", "workspace", "plan waits"]
        print_table("Cost of attention, the default's is 1", [*columns, ""], rows)


def _worst(rival: Rival) -> str:
    worst = rival.ranked.worst
    return "" if worst is None else f"{worst.ratio:.2f}x on {worst.workload}"


def _mark(choice: Choice, rival: Rival) -> str:
    """What the choice calls it."""
    is_winner = rival.ranked.candidate == choice.candidate
    is_default = choice.decision is not None and (
        rival.ranked.candidate.label == choice.decision.default
    )
    marks = [("chosen", is_winner), ("default", is_default)]
    return ", ".join(name for name, applies in marks if applies)


def _print_workloads(workloads: tuple[Weighed, ...]) -> None:
    weighing = [each for each in workloads if each.share]
    rows = [
        [
            each.workload,
            f"{each.share:.1%}",
            time_text(each.winner_us),
            f"{each.winner_us / each.default_us:.2f}x",
            f"{each.winner_us / each.best_us:.2f}x",
        ]
        for each in weighing[:_MOST_WORKLOADS]
    ]
    if rows:
        rest = sum(each.share for each in weighing[_MOST_WORKLOADS:])
        title = "A step's attention, the heaviest workloads"
        title += f" ({rest:.0%} of the weight is on others)" if rest else ""
        print_table(title, ["workload", "weight", "chosen", "of default", "of best"], rows)


def _print_losers(losers: tuple[Loser, ...]) -> None:
    rows = [[each.label, ", ".join(each.where), outcome_text(each.outcome)] for each in losers]
    if rows:
        print_table("Not everywhere right and timed", ["candidate", "where", "outcome"], rows)


def _print_stale(stale: tuple[Stale, ...]) -> None:
    for each in stale:
        what = f"{each.count} measurements of {each.label} are stale"
        click.echo(f"{what}: {', '.join(each.changes)}; autotune warm measures those alone")
