"""`autotune cache`: look at what is remembered."""

from __future__ import annotations

import json

import click

from autotune._store import (
    Location,
    Store,
    StoredDecision,
    decision_measurements,
    list_decisions,
    show_decision,
)
from autotune.commands.options import cache_option, json_option
from autotune.keys import spec_keys_of
from autotune.payload import SCHEMA, measurement_payload, stored_payload
from autotune.records import outcome_of
from autotune.report import print_table
from autotune.text import outcome_text


@click.group()
def command() -> None:
    """Look at the cache, and remove from it."""


@command.command()
@cache_option
@json_option
def path(location: Location, as_json: bool) -> None:
    """Print which file it is, and why."""
    if as_json:
        found = {"schema": SCHEMA, "path": str(location.path), "why": location.why}
        click.echo(json.dumps(found | {"exists": location.path.exists()}, indent=2))
    else:
        missing = "" if location.path.exists() else ", not made yet"
        click.echo(location.path)
        click.echo(f"({location.why}{missing})", err=True)


@command.command()
@cache_option
@json_option
def ls(location: Location, as_json: bool) -> None:
    """List the decisions, newest first."""
    stored = list_decisions(location.path)
    if as_json:
        rows = [stored_payload(each) for each in stored]
        click.echo(json.dumps({"schema": SCHEMA, "decisions": rows}, indent=2))
        return
    if not stored:
        click.echo(f"{location.path} holds no decision yet; autotune warm makes one", err=True)
        return
    columns = ["id", "model", "tp", "device", "engine", "profile", "winner", "speedup", "measured"]
    print_table("Decisions", columns, [_cells(each) for each in stored])


@command.command()
@click.argument("decision_id", metavar="ID", type=int)
@cache_option
@json_option
def show(decision_id: int, location: Location, as_json: bool) -> None:
    """Print one decision with the evidence that is stored for its layers."""
    stored = show_decision(location.path, decision_id)
    specs = spec_keys_of(stored.model.fingerprint)
    evidence = decision_measurements(location.path, stored.device.key, specs)
    if as_json:
        payload = {"schema": SCHEMA} | stored_payload(stored)
        payload["measurements"] = [measurement_payload(row) for row in evidence]
        click.echo(json.dumps(payload, indent=2))
        return
    for name, value in stored_payload(stored).items():
        click.echo(f"{name}: {value if isinstance(value, str) else json.dumps(value)}")
    rows = [
        [row.phase, row.workload or "all", f"{row.backend}:{row.variant}", outcome_text(outcome)]
        for row in evidence
        if (outcome := outcome_of(row)) is not None
    ]
    print_table("Evidence", ["phase", "workload", "candidate", "outcome"], rows)


@command.command()
@click.argument("decision_ids", metavar="ID...", type=int, nargs=-1, required=True)
@click.option("--evidence", is_flag=True, help="Its measurements too: the next warm starts anew.")
@cache_option
@json_option
def rm(decision_ids: tuple[int, ...], evidence: bool, location: Location, as_json: bool) -> None:
    """Remove decisions; their measurements stay, so the next warm decides at once."""
    removed = [show_decision(location.path, each) for each in decision_ids]
    with Store.open(location.path) as store:
        store.forget(decision_ids)
        if evidence:
            for stored in removed:
                specs = spec_keys_of(stored.model.fingerprint)
                store.forget_measurements(stored.device.key, specs)
    if as_json:
        click.echo(json.dumps({"schema": SCHEMA, "removed": list(decision_ids)}))
    else:
        click.echo(f"removed {len(decision_ids)}", err=True)


def _cells(stored: StoredDecision) -> list[str]:
    row = stored.decision
    speedup = "" if row.speedup_vs_default is None else f"{row.speedup_vs_default:.2f}x"
    return [
        str(stored.id),
        stored.model.name,
        str(stored.model.tensor_parallel),
        stored.device.name,
        row.engine,
        row.profile,
        f"{row.backend}:{row.variant}",
        speedup + (" tie" if row.tie else ""),
        row.provenance.created_at,
    ]
