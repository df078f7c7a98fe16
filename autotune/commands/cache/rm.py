"""`autotune cache rm`: remove decisions."""

from __future__ import annotations

import json

import click

from autotune._store import Layers, Store, show_decision
from autotune.commands.options import cache_option, json_option
from autotune.commands.selection import DecisionName, DecisionNameType
from autotune.errors import UsageError
from autotune.keys import spec_keys_of
from autotune.payload import SCHEMA


@click.command()
@click.argument("names", metavar="ID...", type=DecisionNameType(), nargs=-1, required=True)
@click.option("--evidence", is_flag=True, help="Its measurements too: the next warm starts anew.")
@cache_option
@json_option
def command(names: tuple[DecisionName, ...], evidence: bool, layers: Layers, as_json: bool) -> None:
    """Remove decisions; their measurements stay, so the next warm decides at once."""
    for each in names:
        if each.layer != "user":
            raise UsageError(f"{each}: only the user's file is written, others are read-only")
    ids, path = [each.id for each in names], layers.user.path
    removed = [show_decision(path, each) for each in ids]
    with Store.open(path) as store:
        store.forget(ids)
        if evidence:
            for stored in removed:
                specs = spec_keys_of(stored.model.fingerprint)
                store.forget_measurements(stored.device.key, specs)
    if as_json:
        click.echo(json.dumps({"schema": SCHEMA, "removed": ids}))
    else:
        click.echo(f"removed {len(ids)}", err=True)
