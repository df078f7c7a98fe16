"""`autotune simulate`: decide stored evidence again under other rules."""

from __future__ import annotations

import json
import os

import click

from autotune._store import Layers
from autotune.commands.options import cache_option, json_option
from autotune.commands.selection import Selection, find
from autotune.criteria import Criteria
from autotune.decision import Decision
from autotune.payload import SCHEMA, Json, assessment_payload, device_payload, split_payload
from autotune.policy import NoVerdict
from autotune.profiles import find_profile
from autotune.records import measured_device
from autotune.settings import read_settings
from autotune.simulation import Replayed, Scenario, simulate
from autotune.table import print_table

_DEFAULT = Criteria()
_PERCENT = click.FloatRange(0, 100)
_COLUMNS = ("id", "model", "device", "engine", "profile", "stored", "would be", "speedup", "regret")


@click.command()
@click.option(
    "--margin", type=_PERCENT, default=100 * _DEFAULT.promotion, show_default=True, metavar="PCT",
    help="What a winner costs less than the default.",
)  # fmt: skip
@click.option(
    "--split-margin", type=_PERCENT, default=100 * _DEFAULT.split, show_default=True,
    metavar="PCT", help="What two backends cost less than one.",
)  # fmt: skip
@click.option(
    "--tie", type=_PERCENT, default=100 * _DEFAULT.tie, show_default=True, metavar="PCT",
    help="What equals differ by.",
)  # fmt: skip
@click.option(
    "--regression", type=click.FloatRange(1), default=_DEFAULT.regression, show_default=True,
    metavar="X", help="How many times the default's cost a weighty workload may have.",
)  # fmt: skip
@click.option(
    "--plan-share", type=click.FloatRange(0, 1), default=_DEFAULT.plan_share, show_default=True,
    metavar="S", help="Of a plan's time, what a step waits for.",
)  # fmt: skip
@click.option(
    "--profile", "profiles", multiple=True, metavar="NAME|FILE",
    help="Traffic; default: that of each decision. May be repeated.",
)  # fmt: skip
@click.option("--without", multiple=True, metavar="BACKEND", help="As if it were not there.")
@click.option("--model", multiple=True, metavar="NAME", help="Decisions for these models alone.")
@click.option("--device", metavar="NAME", help="For this device alone: words of its name.")
@click.option("--engine", multiple=True, metavar="E", help="For these engines alone.")
@cache_option
@json_option
def command(
    margin: float,
    split_margin: float,
    tie: float,
    regression: float,
    plan_share: float,
    profiles: tuple[str, ...],
    without: tuple[str, ...],
    model: tuple[str, ...],
    device: str | None,
    engine: tuple[str, ...],
    layers: Layers,
    as_json: bool,
) -> None:
    """Decide what is stored again, under other margins, profiles or rules, as if nobody had won
    before, and print what would change. Needs no GPU; stores nothing.
    """
    criteria = Criteria(
        promotion=margin / 100,
        tie=tie / 100,
        split=split_margin / 100,
        regression=regression,
        plan_share=plan_share,
    )
    flags = read_settings(os.environ).rocm
    scenario = Scenario(criteria, tuple(map(find_profile, profiles)), frozenset(without), flags)
    stored = find(layers, Selection(model, device, engine)).stored
    found = tuple(simulate(stored, scenario))
    if as_json:
        rows = [_payload(each) for each in found]
        click.echo(json.dumps({"schema": SCHEMA, "decisions": rows}, indent=2))
    elif found:
        print_table("Decided again", _COLUMNS, [_cells(each) for each in found])
        changed = sum(each.is_changed for each in found)
        click.echo(f"{changed} of {len(found)} would change")
    else:
        files = layers.text
        click.echo(f"{files} holds no such decision", err=True)


def _cells(replayed: Replayed) -> list[str]:
    stored, before, after = replayed.stored, replayed.before, replayed.after
    place = [
        str(stored.id),
        stored.model.name,
        stored.device.name,
        stored.decision.engine,
        replayed.profile,
        _who(before),
    ]
    if isinstance(after, NoVerdict):
        return [*place, f"nobody: {after.why}", "", ""]
    speedup = "" if after.speedup_vs_default is None else f"{after.speedup_vs_default:.2f}x"
    would_be = _who(after) if replayed.is_changed else "the same"
    return [*place, would_be, speedup + (" tie" if after.tie else ""), _regret(after)]


def _who(decision: Decision) -> str:
    if decision.split is None:
        return decision.winner.label
    return " + ".join(who.label for who in decision.split.members)


def _regret(decision: Decision) -> str:
    if decision.assessment is None:
        return ""
    split = decision.split
    return f"{decision.assessment.regret if split is None else split.regret:.1%}"


def _payload(replayed: Replayed) -> Json:
    stored = replayed.stored
    place: Json = {
        "id": stored.id,
        "model": stored.model.name,
        "device": device_payload(measured_device(stored)),
        "engine": stored.decision.engine,
        "profile": replayed.profile,
        "changed": replayed.is_changed,
        "before": _decision_payload(replayed.before),
    }
    if isinstance(replayed.after, NoVerdict):
        return place | {"after": None, "why": replayed.after.why}
    return place | {"after": _decision_payload(replayed.after), "why": replayed.after.why}


def _decision_payload(decision: Decision) -> Json:
    payload: Json = {
        "backend": decision.winner.backend,
        "variant": decision.winner.variant,
        "speedup_vs_default": decision.speedup_vs_default,
        "tie": decision.tie,
    }
    return payload | split_payload(decision) | assessment_payload(decision.assessment)
