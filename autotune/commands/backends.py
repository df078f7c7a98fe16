"""`autotune backends`: who can run a model on a device, and every reason why not."""

from __future__ import annotations

import json
import os

import click

from autotune._store import Layers
from autotune.commands.misspelt import tell_misspelt
from autotune.commands.options import (
    Target,
    any_target_options,
    cache_option,
    json_option,
    stack_option,
)
from autotune.elsewhere import find_anywhere
from autotune.given_stack import GivenStack
from autotune.keys import Question
from autotune.models import batch_invariant
from autotune.report import print_survey
from autotune.run_payload import survey_payload
from autotune.settings import read_settings
from autotune.today import Asked
from autotune.tuner import ask_backends
from autotune.wishes import Wishes
from kernels_bench.bench import Bench


@click.command()
@any_target_options
@stack_option
@cache_option
@json_option
def command(target: Target, given: GivenStack | None, layers: Layers, as_json: bool) -> None:
    """List every variant of every backend with a yes, or all of its reasons. The device need not
    be here.
    """
    settings = read_settings(os.environ)
    wishes = Wishes(target.engine, settings.disabled)
    found, model = find_anywhere(target.device, None, layers, given), target.model()
    if any(engine == target.engine for engine, _ in settings.invariant):
        model = batch_invariant(model)
    tell_misspelt(Asked(Question(model, target.engine, settings.profile), found, settings))
    with Bench(settings.patience) as bench:
        surveyed = ask_backends(model, found, wishes, bench)
    if as_json:
        click.echo(json.dumps(survey_payload(surveyed), indent=2))
    else:
        print_survey(surveyed)
