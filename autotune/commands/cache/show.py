"""`autotune cache show`: one decision with its evidence."""

from __future__ import annotations

import json

import click

from autotune._store import Layers, read_measurements
from autotune.commands.options import cache_option, json_option
from autotune.commands.selection import DecisionName, DecisionNameType, stored_decision
from autotune.evidence import print_stored
from autotune.in_engine import confirmation_payload, confirmations_of
from autotune.keys import spec_keys_of
from autotune.payload import SCHEMA, measurement_payload, stored_payload


@click.command()
@click.argument("name", metavar="ID", type=DecisionNameType())
@cache_option
@json_option
def command(name: DecisionName, layers: Layers, as_json: bool) -> None:
    """Print one decision with the evidence for its layers; fleet:3 is one of the fleet's file."""
    stored = stored_decision(layers, name)
    specs = spec_keys_of(stored.model.fingerprint)
    evidence = read_measurements(stored.file, stored.device.key, specs, is_ours=stored.is_ours)
    confirmations = confirmations_of(stored)
    if evidence.damaged:
        count = len(evidence.damaged)
        click.echo(f"autotune: warning: {count} damaged outcomes are left out", err=True)
    if as_json:
        payload = {"schema": SCHEMA} | stored_payload(stored) | {"layer": name.layer}
        payload["confirmations"] = [confirmation_payload(row) for row in confirmations]
        payload["measurements"] = [measurement_payload(row) for row in evidence.rows]
        click.echo(json.dumps(payload, indent=2))
        return
    print_stored(stored, evidence.rows, confirmations)
