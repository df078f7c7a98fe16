"""`autotune cache export`: decisions and evidence in a file of their own."""

from __future__ import annotations

import json
from pathlib import Path

import click

from autotune._store import Layers, Selected, StoredDecision, Which, export_cache
from autotune.commands.cache.told import absorbed_payload, tell_refused
from autotune.commands.options import cache_option, json_option
from autotune.commands.selection import Selection, find, selection_options
from autotune.errors import UsageError
from autotune.keys import spec_keys_of
from autotune.payload import SCHEMA


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@selection_options
@click.option("--force", is_flag=True, help="Replace FILE where it is there.")
@cache_option
@json_option
def command(file: Path, selection: Selection, force: bool, layers: Layers, as_json: bool) -> None:
    """Write the user's cache to FILE, or the part of it that is asked for: a cache file like any
    other, or JSON Lines for review where the name ends in .jsonl.
    """
    source = layers.user.path
    if not source.exists():
        raise UsageError(f"{source} holds nothing yet; autotune warm makes it")
    part = None if selection == Selection() else _part(Layers.alone(source), selection)
    done = export_cache(source, file, part, force)
    tell_refused(done)
    if as_json:
        payload = {"schema": SCHEMA, "path": str(file)} | absorbed_payload(done)
        click.echo(json.dumps(payload, indent=2))
    else:
        click.echo(f"{done.tally.fates['new']} rows in {file}", err=True)


def _part(own: Layers, selection: Selection) -> Selected:
    found = find(own, selection).stored
    if not found:
        raise UsageError(f"{own.user.path} holds no such decision; autotune cache ls lists them")
    evidence: dict[str, dict[str, None]] = {}
    for each in found:
        specs = evidence.setdefault(each.device.key, {})
        specs.update(dict.fromkeys(_specs(each)))
    return Selected(
        Which(ids=tuple(each.id for each in found)),
        {device: tuple(specs) for device, specs in evidence.items()},
    )


def _specs(stored: StoredDecision) -> tuple[str, ...]:
    """Of a model that is damaged none: its decision is exported without evidence."""
    try:
        return spec_keys_of(stored.model.fingerprint)
    except (ValueError, KeyError, TypeError, AttributeError):
        return ()
