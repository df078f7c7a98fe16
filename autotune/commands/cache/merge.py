"""`autotune cache merge`: one file of many hosts' files."""

from __future__ import annotations

import json
from pathlib import Path

import click

from autotune._store import Policy, merge_files
from autotune.commands.cache.told import merged_payload, policy_options, print_merged
from autotune.commands.options import json_option
from autotune.payload import SCHEMA


@click.command()
@click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "-o", "--output", required=True, metavar="FILE", type=click.Path(path_type=Path),
    help="The new cache.",
)  # fmt: skip
@policy_options
@click.option("--force", is_flag=True, help="Replace the output where it is there.")
@json_option
def command(
    files: tuple[Path, ...], output: Path, policy: Policy, force: bool, as_json: bool
) -> None:
    """Make one cache of many, caches or JSON Lines, and tell what conflicted. The files stay as
    they are; one that is damaged stops it all.
    """
    merged = merge_files(files, output, policy, force)
    if as_json:
        payload = {"schema": SCHEMA, "path": str(output)} | merged_payload(merged)
        click.echo(json.dumps(payload, indent=2))
    else:
        print_merged(merged, output, is_rehearsal=False)
