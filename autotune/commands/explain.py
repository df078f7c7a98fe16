"""`autotune explain`: why this backend, and why not that one."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime, timezone

import click

from autotune._store import Layers
from autotune.chooser import answer
from autotune.commands.options import (
    Target,
    cache_option,
    json_option,
    named_target_options,
    profile_from,
    profile_option,
    settings_from,
    stack_option,
)
from autotune.elsewhere import find_anywhere
from autotune.explanation import Explanation, Loser, Rival, explain
from autotune.explanation_text import print_explanation
from autotune.given_stack import GivenStack
from autotune.payload import Json, choice_payload, pages_payload, reasons_payload
from autotune.replay import Rules
from autotune.today import Asked
from kernels_bench.spec import Failed, Rejected, Timed, Wrong


@click.command()
@named_target_options
@profile_option
@stack_option
@cache_option
@json_option
def command(
    target: Target,
    profile: str | None,
    given: GivenStack | None,
    layers: Layers,
    as_json: bool,
) -> None:
    """Say why `choose` answers so: margin, rivals, reasons, age; on a miss, what differs."""
    settings = settings_from(profile)
    weighed = profile_from(settings)
    question = target.question(weighed)
    found = find_anywhere(target.device, question, layers, given)
    asked = Asked(question, found, settings)
    choice = answer(asked, layers)
    rules = Rules(question.engine, weighed, settings.disabled, rocm=settings.rocm)
    explanation = explain(asked, choice, layers, rules)
    if as_json:
        click.echo(json.dumps(_payload(explanation), indent=2))
    else:
        for warning in choice.warnings:
            click.echo(f"autotune: warning: {warning}", err=True)
        print_explanation(explanation, datetime.now(timezone.utc))


def _payload(found: Explanation) -> Json:
    decision = found.choice.decision
    return choice_payload(found.choice) | {
        "rivals": [_rival(each) for each in found.rivals],
        "losers": [_loser(each) for each in found.losers],
        "workloads": [asdict(each) for each in found.workloads],
        "versions": {} if decision is None else dict(decision.versions),
        "in_engine": found.confirmation or None,
        "stale": [asdict(each) for each in found.stale],
        "nearest": [
            {
                "where": each.stored.where,
                "model": each.stored.model,
                "differences": list(each.differences),
            }
            for each in found.near
        ],
    }


def _rival(rival: Rival) -> Json:
    who, worst = rival.ranked.candidate, rival.ranked.worst
    return {
        "backend": who.backend,
        "variant": who.variant,
        "pages": pages_payload(who.pages),
        "score": rival.ranked.score,
        "bound": rival.ranked.bound,
        "worst": None if worst is None else asdict(worst),
        "compile_s": rival.compile_s,
        "workspace_bytes": rival.workspace_bytes,
        "plan_waits": rival.plan_waits,
    }


def _loser(loser: Loser) -> Json:
    backend, _, variant = loser.label.partition(":")
    place: Json = {"backend": backend, "variant": variant, "where": list(loser.where)}
    match loser.outcome:
        case Rejected(reasons):
            return place | {"outcome": "rejected", "reasons": reasons_payload(reasons)}
        case Wrong(check, error, allowed):
            return place | {"outcome": "wrong", "check": check, "error": error, "allowed": allowed}
        case Failed(kind, message):
            return place | {"outcome": "failed", "error": kind, "message": message}
        case Timed():  # no loser has one
            return place
