"""`autotune exec`: an engine's own command, with the chosen options."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace

import click

from autotune._store import CacheError, Layers, find_layers
from autotune.command_lines import Command, config_words, find_program, read_command
from autotune.command_lines.appending import appended, kept
from autotune.commands.options import settings_from
from autotune.in_vllm.handing import hand_over
from autotune.keys import Question
from autotune.models import load_model
from autotune.models.hub_cache import at_hand
from autotune.profiles import find_profile
from autotune.settings import Settings
from autotune.settling import EngineStart, settle
from autotune.today import Asked
from kernels_bench.devices import find_device
from kernels_bench.errors import AutotuneError, one_line

_NOT_FOUND, _NOT_RUN = 127, 126
"""As a shell exits."""


@click.command(context_settings={"allow_interspersed_args": False})
@click.option("--profile", metavar="NAME|FILE", help="Traffic that weighs the workloads.")
@click.option("--cache", "cache_file", metavar="FILE", help="The cache that is read.")
@click.option("--dry-run", is_flag=True, help="Print the command, and run nothing.")
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="-- PROGRAM ARGS...")
def command(
    words: tuple[str, ...], profile: str | None, cache_file: str | None, dry_run: bool
) -> None:
    """Start an engine with the measured backend's options at the end of its command line: vllm
    serve, sglang serve, their python modules, vllm bench latency and throughput.

    An attention option of your own stands. Whatever goes wrong here, the engine starts as given.
    """
    find_program(words)
    final = words
    try:
        final = _with_options(
            words, settings_from(profile), find_layers(cache_file, os.environ), dry_run
        )
    except (AutotuneError, CacheError) as error:
        _say(f"warning: {error}; {words[0]} starts as given")
    except Exception as error:  # whatever it is, it must not keep the engine from its start
        _say(f"warning: {one_line(error)}; {words[0]} starts as given")
    if dry_run:
        click.echo(shlex.join(final))
        return
    _become(final)


def _with_options(
    words: Sequence[str], settings: Settings, layers: Layers, is_rehearsal: bool
) -> tuple[str, ...]:
    """The whole command, after one line about it."""
    if settings.mode == "off":
        return tuple(words)
    read = read_command(words, config_words)
    if why := kept(read):
        _say(f"nothing appended: {why}")
        return read.words
    start = replace(_start(read, settings, layers), is_rehearsal=is_rehearsal)
    ruling = settle(start, lambda _, text: _say(text))
    found = appended(read, ruling)
    if read.engine == "vllm" and found.words:
        hand_over(start.asked, layers, ruling)
    _say(f"warning: {found.said}" if found.is_warning else found.said)
    return read.with_words(found.words)


def _start(read: Command, settings: Settings, layers: Layers) -> EngineStart:
    """The model as the engine finds it: a path, the hub's cache; else a preset of that name."""
    request, name = at_hand(read.request(), read.revision, os.environ)
    model = load_model(request)
    model = replace(model, name=name or model.name)
    question = Question(model, read.engine, find_profile(settings.profile).key)
    return EngineStart(
        Asked(question, find_device(read.device), settings),
        layers,
        request,
        agreement=read.agreement,
        leaves_marks=read.engine == "vllm",
    )


def _say(text: str) -> None:
    """In one line, whatever an error's text has."""
    click.echo(f"autotune: {' '.join(text.split())}", err=True)


def _become(words: Sequence[str]) -> None:
    """Replace this process; returns never."""
    sys.stdout.flush()
    try:
        os.execvpe(words[0], list(words), os.environ)
    except FileNotFoundError:
        _say(f"exec: {words[0]}: no such program")
        code = _NOT_FOUND
    except OSError as error:
        _say(f"exec: {words[0]}: cannot be run ({error.strerror})")
        code = _NOT_RUN
    click.get_current_context().exit(code)
