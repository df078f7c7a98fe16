"""`autotune cache path`: which files are read, and why."""

from __future__ import annotations

import json

import click

from autotune._store import Layer, Layers
from autotune.commands.options import cache_option, json_option
from autotune.payload import SCHEMA, Json


@click.command()
@cache_option
@json_option
def command(layers: Layers, as_json: bool) -> None:
    """Print the file that is written and, on stderr, every file that is read, in order, and why."""
    own = layers.user
    if as_json:
        found = {"schema": SCHEMA, "path": str(own.path), "why": own.why}
        more = {"exists": own.path.exists(), "layers": [_payload(each) for each in layers.files]}
        click.echo(json.dumps(found | more, indent=2))
        return
    click.echo(own.path)
    if len(layers.files) == 1:
        click.echo(f"({own.why}{_missing(own)})", err=True)
        return
    click.echo("read in this order, the first that answers wins:", err=True)
    for number, each in enumerate(layers.files, 1):
        click.echo(f"  {number}. {each.label}: {each.path} ({each.why}{_missing(each)})", err=True)


def _missing(layer: Layer) -> str:
    if layer.path.exists():
        return ""
    return ", not there" if layer.is_promised else ", not made yet"


def _payload(layer: Layer) -> Json:
    return {
        "layer": layer.label,
        "path": str(layer.path),
        "why": layer.why,
        "exists": layer.path.exists(),
        "written": layer.name == "user",
    }
