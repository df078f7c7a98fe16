"""`autotune cache prune`: remove what is old, superseded or of versions that are gone."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import click

from autotune._store import (
    Layers,
    Store,
    StoredDecision,
    group_evidence,
    list_decisions,
    read_misses,
)
from autotune.commands.options import Duration, cache_option, json_option
from autotune.elsewhere import stacks_here
from autotune.errors import UsageError
from autotune.payload import SCHEMA
from autotune.pruning import Doomed, Rules, doomed
from autotune.table import print_table
from kernels_bench.method import METHOD


@click.command()
@click.option(
    "--older-than", "age_s", type=Duration(), metavar="AGE",
    help="What was decided, or missed last, longer ago: 90d, 12h.",
)  # fmt: skip
@click.option(
    "--keep", type=click.IntRange(min=1), metavar="N",
    help="Of each question on each device only the N newest decisions stay.",
)  # fmt: skip
@click.option(
    "--unreachable", is_flag=True,
    help="For devices of this machine: what was measured with other versions than those that are"
    " installed, where an answer for these is there.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Tell what would go, and remove nothing.")
@cache_option
@json_option
def command(
    age_s: float | None,
    keep: int | None,
    unreachable: bool,
    dry_run: bool,
    layers: Layers,
    as_json: bool,
) -> None:
    """Remove decisions from the user's cache, and measurements that none rests on any more."""
    if age_s is None and keep is None and not unreachable:
        raise UsageError("prune: say what is to go: --older-than, --keep, --unreachable")
    path = layers.user.path
    before = None if age_s is None else _time_before(age_s)
    rules = Rules(before, keep, stacks_here() if unreachable else {}, METHOD)
    stored = list_decisions(path)
    found = doomed(stored, group_evidence(path), rules, read_misses(path))
    if not dry_run and path.exists():
        with Store.open(path) as store:
            gone = [each for each in stored if each.id in found.decisions]
            store.remove(gone, found.evidence, found.misses)
            is_shrunk = store.shrink()
        if not is_shrunk:
            click.echo("the file keeps its size: another process reads it", err=True)
    if as_json:
        click.echo(json.dumps(_payload(found, dry_run), indent=2))
    else:
        _print(stored, found, dry_run)


def _time_before(age_s: float) -> str:
    now = datetime.now(timezone.utc)
    # Nothing is older than the calendar.
    most = now - datetime.min.replace(tzinfo=timezone.utc)
    then = now - min(timedelta(seconds=min(age_s, 1e11)), most)
    return then.isoformat(timespec="seconds")


def _print(stored: tuple[StoredDecision, ...], found: Doomed, is_rehearsal: bool) -> None:
    rows = [
        [str(each.id), each.model.name, each.device.name, each.decision.engine,
         each.decision.profile, each.decision.provenance.created_at, found.decisions[each.id]]
        for each in stored
        if each.id in found.decisions
    ]  # fmt: skip
    if rows:
        columns = ["id", "model", "device", "engine", "profile", "decided", "why"]
        print_table("Would go" if is_rehearsal else "Removed", columns, rows)
    count = sum(group.count for group in found.evidence)
    verb = "would be removed" if is_rehearsal else "removed"
    misses = f" and {len(found.misses)} misses" if found.misses else ""
    click.echo(f"{len(rows)} decisions and {count} measurements{misses} {verb}", err=True)


def _payload(found: Doomed, is_rehearsal: bool) -> dict[str, object]:
    return {
        "schema": SCHEMA,
        "dry_run": is_rehearsal,
        "decisions": [{"id": number, "why": why} for number, why in found.decisions.items()],
        "measurements": sum(group.count for group in found.evidence),
        "misses": len(found.misses),
    }
