"""`autotune cache`: look at what is remembered."""

from __future__ import annotations

import json
from collections.abc import Sequence

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
from autotune.elsewhere import device_line, devices_of, known_text, of_device
from autotune.evidence import print_stored
from autotune.keys import spec_keys_of
from autotune.payload import SCHEMA, measurement_payload, stored_payload
from autotune.records import device_of
from autotune.table import print_table

_COLUMNS = ("id", "model", "tp", "device", "engine", "profile", "winner", "speedup", "measured")


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
@click.option(
    "--device", metavar="auto|cpu|cuda:N|NAME",
    help="Of this device alone, or of those whose line has these words: h100.",
)  # fmt: skip
@cache_option
@json_option
def ls(device: str | None, location: Location, as_json: bool) -> None:
    """List the decisions, newest first."""
    everything = list_decisions(location.path)
    stored = everything if device is None else of_device(device, everything)
    if as_json:
        rows = [stored_payload(each) for each in stored]
        click.echo(json.dumps({"schema": SCHEMA, "decisions": rows}, indent=2))
    elif stored:
        print_table("Decisions", _COLUMNS, _rows(stored))
    elif everything:
        known = known_text(devices_of(everything))
        click.echo(f"no decision for device {device!r}; {location.path} knows: {known}", err=True)
    else:
        click.echo(f"{location.path} holds no decision yet; autotune warm makes one", err=True)


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
    print_stored(stored, evidence)


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


def _rows(stored: Sequence[StoredDecision]) -> list[list[str]]:
    """A device by its name, or by its whole line where others here share the name."""
    names = [device.name for device in devices_of(stored)]
    return [_cells(each, names.count(each.device.name) > 1) for each in stored]


def _cells(stored: StoredDecision, is_shared_name: bool) -> list[str]:
    row = stored.decision
    speedup = "" if row.speedup_vs_default is None else f"{row.speedup_vs_default:.2f}x"
    return [
        str(stored.id),
        stored.model.name,
        str(stored.model.tensor_parallel),
        device_line(device_of(stored.device)) if is_shared_name else stored.device.name,
        row.engine,
        row.profile,
        f"{row.backend}:{row.variant}",
        speedup + (" tie" if row.tie else ""),
        row.provenance.created_at,
    ]
