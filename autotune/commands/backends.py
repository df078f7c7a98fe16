"""`autotune backends`: who can run a model here, and every reason why not."""

from __future__ import annotations

import json
import os

import click

from autotune.commands.options import Target, any_target_options, json_option
from autotune.report import print_survey
from autotune.run_payload import survey_payload
from autotune.settings import read_settings
from autotune.tuner import look_around
from autotune.wishes import Wishes
from kernels_bench.bench import Bench
from kernels_bench.devices import find_device


@click.command()
@any_target_options
@json_option
def command(target: Target, as_json: bool) -> None:
    """List every variant of every backend with a yes, or all of its reasons."""
    wishes = Wishes(target.engine, read_settings(os.environ).disabled)
    with Bench() as bench:
        situation = look_around(target.model(), find_device(target.device), wishes, bench)
    if as_json:
        click.echo(json.dumps(survey_payload(situation), indent=2))
    else:
        print_survey(situation)
