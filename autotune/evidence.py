"""What `autotune cache show` prints: a stored decision, and the measurements behind it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import click

from autotune import records
from autotune._store import ConfirmationRow, MeasurementRow, StoredDecision
from autotune.decision import Decision
from autotune.elsewhere import device_line
from autotune.in_engine import print_confirmations, winner_line
from autotune.keys import spec_keys_of
from autotune.models import kinds
from autotune.outcome_columns import outcome_of
from autotune.ranking import Candidate
from autotune.replay import candidate_of, record_with
from autotune.start_costs import start_costs
from autotune.stored_model import stored_model
from autotune.table import print_table
from autotune.text import (
    assessment_lines,
    mebibytes_text,
    outcome_text,
    places_by_note,
    seconds_text,
    speedup_text,
    time_text,
)
from kernels_bench.spec import Outcome, Phase, Timed

_PHASES = [phase.value for phase in Phase]


def print_stored(
    stored: StoredDecision,
    rows: Sequence[MeasurementRow],
    confirmations: Sequence[ConfirmationRow] = (),
) -> None:
    """The decision, how it did in the engine, the ranking, every time by workload, and who has
    none.
    """
    decision = records.decision_of(stored)
    click.echo("\n".join(_lines(stored, decision)))
    if engine_line := winner_line(stored, confirmations):
        click.echo(f"  in the engine: {engine_line}")
    print_confirmations(confirmations)
    if decision is None:
        _print_evidence(stored, rows, {})
        return
    record = record_with(stored, decision, rows)
    mine = rows if record is None else record.current()
    if len(mine) < len(rows):
        count = len(rows) - len(mine)
        click.echo(f"  {count} outcomes of other versions or maxima are left out; --json has them")
    _print_ranking(decision)
    _print_evidence(stored, mine, _marks(decision))


def _lines(stored: StoredDecision, decision: Decision | None) -> list[str]:
    row, model, origin = stored.decision, stored.model, stored.decision.provenance
    limit = f", power limit {row.power_limit_w} W" if row.power_limit_w else ""
    lines = [
        f"decision {stored.id}: {row.label}, pages of {row.page_size} tokens ({row.page_layout})"
    ]
    if row.speedup_vs_default is not None:
        speedup = speedup_text(row.speedup_vs_default, row.default_backend, bool(row.tie))
        lines.append(f"  {speedup}")
    if decision is not None:
        lines += assessment_lines(decision)
    lines += [
        f"  why: {row.why}",
        f"  for: {model.name}, tp {model.tensor_parallel}, engine {row.engine},"
        f" profile {row.profile}",
        f"  on: {device_line(records.device_of(stored.device))}{limit}",
        f"  measured: {origin.created_at} on host {origin.host},"
        f" attn-autotune {origin.tool_version}, method {row.method}",
    ]
    if decision is None:
        return [*lines, "  damaged: its versions, phases or runners-up cannot be read"]
    versions = sorted(decision.versions.items())
    present = ", ".join(f"{name} {version}" for name, version in versions if version is not None)
    absent = ", ".join(name for name, version in versions if version is None)
    lines.append(f"  with: {present}")
    return [*lines, f"  without: {absent}"] if absent else lines


def _print_ranking(decision: Decision) -> None:
    speedup = decision.speedup_vs_default
    first = "" if speedup is None else f"{speedup:.2f}x"
    rows = [[decision.winner.label, _pages_text(decision.winner), first, ""]]
    rows += [
        [each.candidate.label, _pages_text(each.candidate), f"{1 / each.score:.2f}x",
         f"±{each.bound:.1%}"]
        for each in decision.runners_up
    ]  # fmt: skip
    print_table("Ranking", ["candidate", "pages", "speedup", "bound"], rows)


def _marks(decision: Decision) -> dict[Candidate, str]:
    """What the decision calls a candidate."""
    others = (each.candidate for each in decision.runners_up)
    defaults = dict.fromkeys((c for c in others if c.label == decision.default), "default")
    return {**defaults, decision.winner: "winner"}


@dataclass(frozen=True)
class _Seen:
    """One stored outcome and its place."""

    kind: str
    phase: str
    workload: str
    """Empty where the whole phase was refused."""
    candidate: Candidate
    outcome: Outcome


def _print_evidence(
    stored: StoredDecision, rows: Sequence[MeasurementRow], marks: Mapping[Candidate, str]
) -> None:
    seen = _in_order(stored, rows)
    _print_starts(seen)
    _print_times(seen, marks)
    _print_others(seen)
    _print_health(seen)


def _in_order(stored: StoredDecision, rows: Sequence[MeasurementRow]) -> list[_Seen]:
    """By kind of layer, phase and workload; workloads as they were first measured."""
    names = _kinds(stored)
    order = list(names.values())
    seen = [
        _Seen(
            names[row.spec_key],
            row.phase,
            row.workload or "",
            candidate_of(row),
            outcome,
        )
        for row in rows
        if (outcome := outcome_of(row)) is not None
    ]
    workloads = list(dict.fromkeys(each.workload for each in seen))
    phases = [*_PHASES, *(each.phase for each in seen)]

    def place(each: _Seen) -> tuple[int, int, int]:
        return (
            order.index(each.kind),
            phases.index(each.phase),
            workloads.index(each.workload),
        )

    return sorted(seen, key=place)


def _print_starts(seen: Iterable[_Seen]) -> None:
    """Who compiles the longest comes first; nothing where nobody recorded anything."""
    costs = start_costs((each.candidate.label, each.outcome) for each in seen)
    rows = [
        [
            label,
            seconds_text(cost.compile_s) if cost.compile_s else "",
            "" if cost.workspace_bytes is None else mebibytes_text(cost.workspace_bytes),
            "yes" if cost.plan_waits else "",
        ]
        for label, cost in sorted(costs.items(), key=lambda item: -item[1].compile_s)
    ]
    if any(any(cells) for _, *cells in rows):
        columns = ["candidate", "compile", "workspace", "plan waits"]
        print_table("What a start pays", columns, rows)


def _print_health(seen: Sequence[_Seen]) -> None:
    """What speaks against numbers, and where; nothing where nothing does."""
    notes = [
        (f"{each.kind} {each.workload}", each.outcome.health.warnings)
        for each in seen
        if isinstance(each.outcome, Timed)
    ]
    found = places_by_note((note, place) for place, told in notes for note in told)
    everywhere = len({place for place, _ in notes})
    if found:
        rows = [
            [note, f"all {everywhere}" if len(places) == everywhere > 1 else ", ".join(places)]
            for note, places in found.items()
        ]
        print_table("Health", ["what", "workloads"], rows)


def _print_times(seen: Iterable[_Seen], marks: Mapping[Candidate, str]) -> None:
    """A block a workload, the fastest first."""
    rows: list[list[str]] = []
    for (kind, workload), block in groupby(seen, lambda each: (each.kind, each.workload)):
        timed = [(each, each.outcome) for each in block if isinstance(each.outcome, Timed)]
        timed.sort(key=lambda pair: pair[1].gpu_us)
        if rows and timed:
            rows.append([])  # an empty line
        for each, outcome in timed:
            label, pages = each.candidate.label, _pages_text(each.candidate)
            times = _time_cells(outcome, timed[0][1].gpu_us)
            rows.append([kind, workload, label, pages, *times, marks.get(each.candidate, "")])
    columns = ["layers", "workload", "candidate", "pages", "time", "noise", "best", "floor"]
    print_table("Time of one layer", [*columns, "call", "plan", "samples", ""], rows)


def _time_cells(outcome: Timed, best_us: float) -> list[str]:
    return [
        time_text(outcome.gpu_us),
        f"±{outcome.noise:.1%}",
        f"{outcome.gpu_us / best_us:.2f}x",
        f"{outcome.floor_fraction:.0%}",
        time_text(outcome.call_us),
        time_text(outcome.plan_us),
        str(outcome.samples),
    ]


def _print_others(seen: Iterable[_Seen]) -> None:
    """Who has no time and why; places with the same answer share a row."""
    places: dict[tuple[str, str, str], list[str]] = {}
    for each in seen:
        if not isinstance(each.outcome, Timed):
            key = (each.kind, each.candidate.label, outcome_text(each.outcome))
            places.setdefault(key, []).append(each.workload or each.phase)
    if places:
        rows = [
            [kind, label, ", ".join(dict.fromkeys(where)), said]
            for (kind, label, said), where in places.items()
        ]
        print_table("Without a time", ["layers", "candidate", "where", "outcome"], rows)


def _kinds(stored: StoredDecision) -> dict[str, str]:
    """`spec_key` of each kind of layer -> its name in this model."""
    model = stored_model(stored.model, stored.decision.question)
    return dict(zip(spec_keys_of(stored.model.fingerprint), kinds(model), strict=True))


def _pages_text(candidate: Candidate) -> str:
    return f"{candidate.pages.size} {candidate.pages.layout}"
