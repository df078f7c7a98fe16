"""Measurements as a table for people, and below it what a table has no room for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TypeAlias

import click

from autotune.run import Observed
from autotune.start_costs import start_costs
from autotune.table import print_table
from autotune.text import (
    brief_text,
    mebibytes_text,
    outcome_text,
    places_by_note,
    seconds_text,
)
from kernels_bench.spec import Timed

_TITLE = "Time of one layer"
_MOST_COLUMNS = 5
"""More candidates side by side fit no terminal."""
_MOST_PLACES = 3
"""More are counted, not named."""

_ByWorkload: TypeAlias = Iterable[tuple[tuple[str, str], list[Observed]]]


def print_measurements(observed: Sequence[Observed]) -> None:
    """A row a workload: a column a candidate, or the fastest alone where they are too many. Then a
    line for each way in which somebody failed, one a candidate whose start costs much, and one with
    every warning.
    """
    labels = list(dict.fromkeys(item.answer.entrant.label for item in observed))
    by_workload = [
        (where, list(items))
        for where, items in groupby(observed, lambda item: (item.kind, item.workload))
    ]
    if len(labels) <= _MOST_COLUMNS:
        _print_all(labels, by_workload)
        untold = [
            each for each in observed if brief_text(each.outcome) != outcome_text(each.outcome)
        ]
    else:
        _print_fastest(by_workload)
        untold = [each for each in observed if not isinstance(each.outcome, Timed)]
    for line in [*_failures(untold), *_costly_starts(observed), *_warnings(observed)]:
        click.echo(line)


def _failures(untold: Iterable[Observed]) -> list[str]:
    """Each once, however many workloads it cost."""
    found = places_by_note(
        (
            f"{item.answer.entrant.label}: {outcome_text(item.outcome)}",
            f"{item.kind} {item.workload}",
        )
        for item in untold
    )
    return [f"{failure} ({_places(places)})" for failure, places in found.items()]


def _places(places: Sequence[str]) -> str:
    return ", ".join(places) if len(places) <= _MOST_PLACES else _workloads(len(places))


def _costly_starts(observed: Sequence[Observed]) -> list[str]:
    costs = start_costs((item.answer.entrant.label, item.outcome) for item in observed)
    lines = []
    for label, cost in costs.items():
        told = []
        if cost.is_slow:
            told.append(f"compiled in {seconds_text(cost.compile_s)}")
        if cost.is_large and cost.workspace_bytes is not None:
            told.append(f"takes {mebibytes_text(cost.workspace_bytes)} beside the KV cache")
        if told:
            lines.append(f"{label}: {', '.join(told)}")
    return lines


def _warnings(observed: Sequence[Observed]) -> list[str]:
    """One line, or none where nothing speaks against the numbers."""
    found = places_by_note(
        (warning, f"{item.kind} {item.workload}")
        for item in observed
        if isinstance(item.outcome, Timed)
        for warning in item.outcome.health.warnings
    )
    told = [f"{warning} ({_workloads(len(places))})" for warning, places in found.items()]
    return [f"warning: {'; '.join(told)}"] if told else []


def _workloads(count: int) -> str:
    return "1 workload" if count == 1 else f"{count} workloads"


def _print_all(labels: Sequence[str], by_workload: _ByWorkload) -> None:
    rows = []
    for where, items in by_workload:
        cells = {item.answer.entrant.label: brief_text(item.outcome) for item in items}
        rows.append([*where, *(cells.get(label, "") for label in labels)])
    columns = ["layers", "workload", *(label.replace(":", " ") for label in labels)]
    print_table(_TITLE, columns, rows)


def _print_fastest(by_workload: _ByWorkload) -> None:
    columns = ["layers", "workload", "fastest", "one layer", "next", "the default", "timed"]
    rows = [[*where, *_fastest(items)] for where, items in by_workload]
    print_table(_TITLE, columns, rows)


def _fastest(items: Sequence[Observed]) -> list[str]:
    """The fastest, its time, who comes next, the default, and how many were timed."""
    timed = [
        (item.outcome.gpu_us, item.answer.entrant.label, item.outcome)
        for item in items
        if isinstance(item.outcome, Timed)
    ]
    if not timed:
        return ["nobody", "", "", "", f"0 of {len(items)}"]
    best, *others = sorted(timed, key=lambda each: each[0])
    default_us, default, _ = timed[0]  # the incumbent comes first
    return [
        best[1],
        outcome_text(best[2]),
        f"{others[0][1]} {others[0][0] / best[0]:.2f}x" if others else "",
        f"{default} {default_us / best[0]:.2f}x",
        f"{len(timed)} of {len(items)}",
    ]
