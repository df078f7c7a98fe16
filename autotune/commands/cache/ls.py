"""`autotune cache ls`: the decisions of every layer."""

from __future__ import annotations

import json

import click

from autotune._store import SORTS, Layers, Sort, StoredDecision
from autotune.commands.options import cache_option, json_option
from autotune.commands.selection import Found, Page, Selection, find, selection_options
from autotune.elsewhere import device_line, devices_of, known_text
from autotune.payload import SCHEMA, stored_payload
from autotune.records import device_of
from autotune.table import print_table

_COLUMNS = ("id", "model", "tp", "device", "engine", "profile", "winner", "speedup", "measured")
_PAGE = 50
"""Rows on a terminal, unless --limit says otherwise; JSON has all."""


@click.command()
@selection_options
@click.option(
    "--sort", type=click.Choice(SORTS), default="measured", show_default=True,
    help="measured: the newest first; speedup: the largest first.",
)  # fmt: skip
@click.option("--reverse", is_flag=True, help="The other way round.")
@click.option(
    "--limit", type=click.IntRange(min=0), metavar="N",
    help=f"At most so many of each file, 0 for all; {_PAGE} unless with --json.",
)  # fmt: skip
@click.option("--offset", type=click.IntRange(min=0), default=0, metavar="N", help="Leave out N.")
@cache_option
@json_option
def command(
    selection: Selection,
    sort: Sort,
    reverse: bool,
    limit: int | None,
    offset: int,
    layers: Layers,
    as_json: bool,
) -> None:
    """List the decisions, of each file in the order in which they are read."""
    usual = None if as_json else _PAGE
    most = usual if limit is None else limit or None
    found = find(layers, selection, Page(sort, reverse, most, offset))
    if as_json:
        rows = [stored_payload(each) | {"layer": found.layer_of(each)} for each in found.stored]
        payload = {"schema": SCHEMA, "decisions": rows, "total": found.total}
        click.echo(json.dumps(payload, indent=2))
    elif found.stored:
        _print(found, layers)
    else:
        click.echo(_nothing(found, layers, selection), err=True)


def _print(found: Found, layers: Layers) -> None:
    print_table("Decisions", _COLUMNS, _rows(found))
    if found.left:
        click.echo(f"{found.left} more: --limit 0 lists all, --offset N goes on", err=True)


def _nothing(found: Found, layers: Layers, selection: Selection) -> str:
    files = layers.text
    if found.total:
        return f"no more than {found.total} decisions in {files}"
    if selection.device is not None and found.devices:
        known = known_text(map(device_of, found.devices))
        return f"no decision for device {selection.device!r}; {files} knows: {known}"
    if selection != Selection():
        return f"{files} holds no such decision; autotune cache ls lists what is there"
    return f"{files} holds no decision yet; autotune warm makes one"


def _rows(found: Found) -> list[list[str]]:
    """A device by its name, or by its whole line where others here share the name."""
    names = [device.name for device in devices_of(found.stored)]
    return [
        _cells(each, found.name_of(each), names.count(each.device.name) > 1)
        for each in found.stored
    ]


def _cells(stored: StoredDecision, name: str, is_shared_name: bool) -> list[str]:
    row = stored.decision
    speedup = "" if row.speedup_vs_default is None else f"{row.speedup_vs_default:.2f}x"
    return [
        name,
        stored.model.name,
        str(stored.model.tensor_parallel),
        device_line(device_of(stored.device)) if is_shared_name else stored.device.name,
        row.engine,
        row.profile,
        row.label + (f", {stored.confirmation}" if stored.confirmation else ""),
        speedup + (" tie" if row.tie else ""),
        row.provenance.created_at,
    ]
