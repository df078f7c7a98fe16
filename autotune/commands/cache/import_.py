"""`autotune cache import`: rows of another file, each checked."""

from __future__ import annotations

import json
from pathlib import Path

import click

from autotune._store import Layers, Policy, import_rows
from autotune.commands.cache.told import merged_payload, policy_options, print_merged
from autotune.commands.options import cache_option, json_option
from autotune.payload import SCHEMA


@click.command(name="import")
@click.argument("file", type=click.Path(path_type=Path))
@policy_options
@click.option("--dry-run", is_flag=True, help="Tell what would happen, and change nothing.")
@cache_option
@json_option
def command(file: Path, policy: Policy, dry_run: bool, layers: Layers, as_json: bool) -> None:
    """Take the rows of FILE, as export or merge wrote it, into the user's cache: all that hold what
    they may, or on an error none. Nothing of a file is run.
    """
    merged = import_rows(file, layers.user.path, policy, dry_run)
    if as_json:
        payload = {"schema": SCHEMA, "path": str(layers.user.path), "dry_run": dry_run}
        click.echo(json.dumps(payload | merged_payload(merged), indent=2))
    else:
        print_merged(merged, layers.user.path, dry_run)
