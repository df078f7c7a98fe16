"""`autotune cache doctor`: what is wrong with the files, and what can be saved."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping

import click

from autotune._store import (
    CacheError,
    CacheUnfinishedError,
    Finding,
    Layer,
    Layers,
    Salvaged,
    Which,
    examine,
    read_decisions,
    read_misses,
    salvage_file,
    tuners,
)
from autotune.checkup import about_decisions, about_misses
from autotune.commands.options import cache_option, json_option
from autotune.elsewhere import stacks_here
from autotune.payload import SCHEMA, Json
from kernels_bench.spec import Stack

_FOUND_ERRORS = 1


@click.command()
@click.option(
    "--repair", is_flag=True,
    help="Save what is readable of the user's file into a new one; the old one is kept.",
)  # fmt: skip
@cache_option
@json_option
def command(repair: bool, layers: Layers, as_json: bool) -> None:
    """Examine every file that is read: whether it is whole, whether its rows are as they were put,
    whether they fit this machine. Exit 1 where something is lost or cannot be read.
    """
    saved = _repaired(layers) if repair else None
    today = stacks_here()
    found = {layer: [*_examined(layer, today)] for layer in layers.files}
    if as_json:
        payload: Json = {"schema": SCHEMA, "files": [_payload(*each) for each in found.items()]}
        if repair:
            payload["repaired"] = None if saved is None else _saved_payload(saved)
        click.echo(json.dumps(payload, indent=2))
    else:
        if repair:
            _print_saved(layers, saved)
        for layer, findings in found.items():
            _print(layer, findings)
    levels = {each.level for findings in found.values() for each in findings}
    if "error" in levels:
        click.get_current_context().exit(_FOUND_ERRORS)


def _examined(layer: Layer, today: Mapping[str, Stack]) -> Iterator[Finding]:
    if layer.is_promised and not layer.path.exists():
        yield Finding("error", f"named by {layer.why} and not there", "mount it, or do not name it")
        return
    yield from examine(layer.path)
    for holder in tuners(layer.path):
        yield Finding("note", str(holder))
    try:
        stored = read_decisions(layer.path, Which(), is_ours=False).rows
        missed = read_misses(layer.path, is_ours=False) if layer.is_written else ()
    except CacheUnfinishedError as error:
        if not layer.is_written:  # the user's file the next start mends
            yield Finding("error", error.what, "open it once where it may be written")
        return
    except CacheError:
        return  # told by `examine`
    yield from about_decisions(stored, today)
    yield from about_misses(missed)


def _repaired(layers: Layers) -> Salvaged | None:
    """None where nothing is wrong that a new file would mend."""
    path = layers.user.path
    if not any(each.level == "error" for each in examine(path)):
        return None
    return salvage_file(path)


def _print(layer: Layer, findings: list[Finding]) -> None:
    worst = {each.level for each in findings}
    verdict = "damaged" if "error" in worst else "well"
    click.echo(f"{layer.label}: {layer.path} ({layer.why}): {verdict}")
    for each in findings:
        remedy = f"; {each.remedy}" if each.remedy else ""
        click.echo(f"  {each.level}: {each.what}{remedy}")


def _print_saved(layers: Layers, saved: Salvaged | None) -> None:
    path = layers.user.path
    if saved is None:
        click.echo(f"{path}: nothing to repair", err=True)
        return
    lost = f", {saved.lost} places unreadable" if saved.lost else ""
    refused = saved.tally.fates["refused"]
    click.echo(
        f"{path}: {saved.tally.fates['new']} rows saved, {refused} damaged rows left out{lost};"
        f" the old file is {saved.kept}",
        err=True,
    )


def _saved_payload(saved: Salvaged) -> Json:
    fates = saved.tally.fates
    return {
        "rows": fates["new"], "left_out": fates["refused"], "unreadable": saved.lost,
        "old_file": str(saved.kept),
    }  # fmt: skip


def _payload(layer: Layer, findings: list[Finding]) -> Json:
    return {
        "layer": layer.label,
        "path": str(layer.path),
        "why": layer.why,
        "findings": [dataclasses.asdict(each) for each in findings],
    }
