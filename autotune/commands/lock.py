"""`autotune lock`: decisions as a small text file that outranks the cache."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import click

from autotune._store import Layers, StoredDecision
from autotune.commands.options import cache_option, json_option
from autotune.commands.selection import Found, Selection, find, selection_options
from autotune.errors import UsageError
from autotune.known import unknown, unknown_text
from autotune.lock import render_lock
from autotune.locking import lockable
from autotune.payload import SCHEMA
from kernels_bench.backends import known_names


@click.command()
@click.option("-o", "--output", required=True, metavar="FILE", help="- is stdout.")
@click.option(
    "--deny", multiple=True, metavar="BACKEND", help="Never taken while the lock is applied."
)
@selection_options
@cache_option
@json_option
def command(
    output: str,
    deny: tuple[str, ...],
    selection: Selection,
    layers: Layers,
    as_json: bool,
) -> None:
    """Write decisions to a file for review, sorted: AUTOTUNE_LOCK=FILE applies it, and points back
    to the one before to roll it back.
    """
    if missing := unknown(deny):
        known = ", ".join(known_names())
        raise UsageError(f"--deny: {unknown_text(missing)}; known: {known}")
    found = find(layers, selection)
    chosen = lockable(found.stored)
    for each in chosen.revoked:
        click.echo(f"autotune: warning: {_revoked_text(found, each)}; left out", err=True)
    if not chosen.entries:
        raise UsageError(_nothing(layers, bool(chosen.revoked)))
    text = render_lock(chosen.entries, deny)
    if output == "-":
        click.echo(text, nl=False)
    else:
        _write(Path(output), text)
        if as_json:
            written = {"schema": SCHEMA, "path": output, "decisions": len(chosen.entries)}
            click.echo(json.dumps(written))
        else:
            click.echo(f"{len(chosen.entries)} decisions in {output}", err=True)


def _revoked_text(found: Found, stored: StoredDecision) -> str:
    row = stored.decision
    what = f"{stored.model.name} for {row.engine}, {row.profile}, on {stored.device.name}"
    return f"decision {found.name_of(stored)} ({what}): {row.label} is revoked: {stored.revoked}"


def _nothing(layers: Layers, is_revoked: bool) -> str:
    if is_revoked:
        return f"{layers.text} holds no other such decision; autotune confirm runs these again"
    return f"{layers.text} holds no such decision; autotune cache ls lists them"


def _write(path: Path, text: str) -> None:
    """All of it or nothing: an engine may start while the file is replaced."""
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            scratch = Path(folder) / path.name
            with scratch.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            scratch.replace(path)
    except OSError as error:
        raise UsageError(f"lock {path}: cannot be written ({error.strerror})") from error
