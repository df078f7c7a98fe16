"""`autotune cache quarantine`: decisions that no start takes, since one died with them."""

from __future__ import annotations

import dataclasses
import json
import os

import click

from autotune._store import Layers
from autotune.commands.options import cache_option, json_option
from autotune.marks import Dead, MarkError, dead_starts, forget, mark_folders
from autotune.payload import SCHEMA
from autotune.table import print_table


@click.command()
@click.option("--clear", is_flag=True, help="Let them be taken again.")
@cache_option
@json_option
def command(clear: bool, layers: Layers, as_json: bool) -> None:
    """List the starts that died before their engine served; each quarantines its decision."""
    folders = mark_folders(layers.user.path, os.environ)
    dead = dead_starts(folders)
    if clear:
        try:
            forget(dead)
        except OSError as error:
            raise MarkError(f"cannot remove a mark: {error}") from error
    if as_json:
        starts = [dataclasses.asdict(each) | {"file": str(each.file)} for each in dead]
        click.echo(json.dumps({"schema": SCHEMA, "cleared": clear, "starts": starts}, indent=2))
    else:
        _print(dead, clear)


def _print(dead: tuple[Dead, ...], is_cleared: bool) -> None:
    if dead:
        rows = [[each.when, each.what, each.why or "killed", str(each.file)] for each in dead]
        title = "Cleared" if is_cleared else "Quarantined"
        print_table(title, ["started", "with", "died of", "mark"], rows)
    else:
        click.echo("no start died with a measured backend", err=True)
