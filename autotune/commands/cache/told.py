"""What became of the rows of other files, for people and scripts; and the policy, as asked for."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import click

from autotune._store import POLICIES, Absorbed, Fate, Merged, Policy, Prefer
from autotune.errors import UsageError
from autotune.payload import Json
from autotune.table import print_table
from kernels_bench.devices import find_devices

_FATES: tuple[Fate, ...] = get_args(Fate)
_MOST_LINES = 5
Command = Callable[..., Any]


def policy_options(command: Command) -> Command:
    """--prefer and --driver, as a `policy`."""

    @click.option(
        "--prefer", type=click.Choice(POLICIES), default="newest", show_default=True,
        help="Which of two rows of one key stays: the newest; of measurements the one of more"
        " samples, of decisions that of the tighter interval; as newest, and of decisions that"
        " differ in the driver alone that for --driver.",
    )  # fmt: skip
    @click.option(
        "--driver", "drivers", multiple=True, metavar="NAME=VERSION",
        help="For --prefer driver; default: this machine's.",
    )  # fmt: skip
    @functools.wraps(command)
    def bundled(prefer: Prefer, drivers: tuple[str, ...], **others: Any) -> Any:
        return command(policy=Policy(prefer, _drivers(prefer, drivers)), **others)

    return bundled


def _drivers(prefer: Prefer, named: tuple[str, ...]) -> dict[str, str] | None:
    if prefer != "driver":
        if named:
            raise UsageError("--driver: only --prefer driver looks at it")
        return None
    found = dict(pair.partition("=")[::2] for pair in named)
    if any(not name or not version for name, version in found.items()):
        raise UsageError("--driver: expected NAME=VERSION: nvidia-driver=580.95.05")
    for device in find_devices() if not found else ():
        found.update(device.driver)
    if not found:
        raise UsageError("--prefer driver: no driver is here; name one: --driver NAME=VERSION")
    return found


def print_merged(merged: Merged, target: Path, is_rehearsal: bool) -> None:
    """A row a file, then what conflicted and what was refused."""
    rows = [
        [str(each.path), *(str(each.tally.fates[fate]) for fate in _FATES)] for each in merged.files
    ]
    print_table("Would take" if is_rehearsal else "Taken", ["file", *_FATES], rows)
    conflicts = [
        [each.table, each.what, each.ours, each.theirs, each.fate]
        for absorbed in merged.files
        for each in absorbed.tally.conflicts
    ]
    if conflicts:
        print_table("Conflicts", ["table", "of", "was there", "came", "which"], conflicts)
        total = sum(
            each.tally.fates["replaced"] + each.tally.fates["kept"] for each in merged.files
        )
        if total > len(conflicts):
            click.echo(f"{total - len(conflicts)} more conflicts", err=True)
    for each in merged.files:
        tell_refused(each)
    if merged.other_drivers:
        click.echo(f"{merged.other_drivers} decisions for other drivers are left out", err=True)
    if not is_rehearsal:
        click.echo(f"cache: {target}", err=True)


def tell_refused(absorbed: Absorbed) -> None:
    """On stderr: a line for each of the first rows that were refused, and how many more."""
    refused = absorbed.tally.refused
    for each in refused[:_MOST_LINES]:
        where = f"{absorbed.path}: {each.where}"
        click.echo(f"autotune: warning: {where}: {each.why}; left out", err=True)
    if (more := absorbed.tally.fates["refused"] - _MOST_LINES) > 0:
        click.echo(f"autotune: warning: {absorbed.path}: {more} more rows are left out", err=True)


def merged_payload(merged: Merged) -> Json:
    """A list of the files, in their order."""
    files: list[Json] = [absorbed_payload(each) for each in merged.files]
    return {"files": files, "other_drivers": merged.other_drivers}


def absorbed_payload(absorbed: Absorbed) -> Json:
    """Counts of all rows, and the first conflicts and refusals."""
    tally = absorbed.tally
    return {
        "file": str(absorbed.path),
        "rows": {fate: tally.fates[fate] for fate in _FATES},
        "conflicts": [
            {
                "table": each.table,
                "of": each.what,
                "ours": each.ours,
                "theirs": each.theirs,
                "fate": each.fate,
            }
            for each in tally.conflicts
        ],
        "refused": [{"where": each.where, "why": each.why} for each in tally.refused],
    }
