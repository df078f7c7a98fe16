"""`autotune choose`: what an engine would get."""

from __future__ import annotations

import json
import os

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
from autotune.decision import Choice
from autotune.elsewhere import find_anywhere
from autotune.engine_options import option_pairs
from autotune.given_stack import GivenStack
from autotune.payload import choice_payload
from autotune.start import heed_quarantine
from autotune.text import choice_lines
from autotune.today import Asked

_NOT_HIT = 4
_HITS = ("exact", "drifted", "borrowed")
"""From the strictest to the most lenient."""


@click.command()
@named_target_options
@profile_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "args", "env"]),
    default="text",
    show_default=True,
    help="args: for the engine's command line, one option a line, nested ones as JSON without"
    " spaces: vllm serve MODEL $(autotune choose ... --format args), the $(...) unquoted."
    " env: for a shell.",
)
@click.option("--strict", is_flag=True, help="An override that cannot run is an error.")
@click.option(
    "--assert-hit",
    type=click.Choice(_HITS),
    is_flag=False,
    flag_value="exact",
    help="Exit 4 unless the answer was measured; the default is exact.",
)
@stack_option
@cache_option
@json_option
def command(
    target: Target,
    profile: str | None,
    form: str,
    strict: bool,
    assert_hit: str | None,
    given: GivenStack | None,
    layers: Layers,
    as_json: bool,
) -> None:
    """Print the backend that an engine would get. Reads the cache; measures nothing."""
    settings = settings_from(profile)
    question = target.question(profile_from(settings))
    found = find_anywhere(target.device, question, layers, given)
    choice = answer(Asked(question, found, settings, strict), layers)
    choice = heed_quarantine(question, choice, layers, os.environ)
    if choice.state == "default":
        # An engine's start goes on; a script that looks at no warning must see it.
        for error in choice.unread:
            raise error
    for warning in choice.warnings:
        click.echo(f"autotune: warning: {warning}", err=True)
    click.echo(_render(choice, "json" if as_json else form), nl=form in ("text", "json"))
    if assert_hit is not None and choice.state not in _HITS[: _HITS.index(assert_hit) + 1]:
        click.echo(f"autotune: --assert-hit {assert_hit}: {choice.state}: {choice.why}", err=True)
        click.get_current_context().exit(_NOT_HIT)


def _render(choice: Choice, form: str) -> str:
    match form:
        case "json":
            return json.dumps(choice_payload(choice), indent=2)
        case "args":
            options = {} if choice.is_observed else choice.engine_options or {}
            return "".join(f"{name} {word}\n" for name, word in option_pairs(options))
        case "env":
            # An engine's own default, written down, would be the next start's override.
            is_engine_s = choice.state == "default" and choice.engine != "any"
            if choice.backend is None or choice.is_observed or is_engine_s:
                return ""
            return f"AUTOTUNE_BACKEND={choice.backend}\n"
        case _:
            lines = choice_lines(choice)
            if choice.is_observed:
                lines.append("  observed only: AUTOTUNE_MODE=observe, the engine's own rule stays")
            return "\n".join(lines)
