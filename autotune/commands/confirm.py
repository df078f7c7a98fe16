"""`autotune confirm`: does the decision hold in the whole engine?"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import click

from autotune._store import CacheError, Layers, Store
from autotune.commands.options import (
    Duration,
    Target,
    cache_option,
    json_option,
    profile_from,
    profile_option,
    settings_from,
    targets_options,
)
from autotune.confirming import (
    NothingToConfirm,
    Plan,
    find_subject,
    rows_of,
    run_sides,
    store,
)
from autotune.engine_loads import loads_of, parse_load
from autotune.engine_messages import EngineEvent, EngineJob, EngineRun, Sample, Started
from autotune.engine_process import Deadlines, EngineProcess
from autotune.errors import UsageError
from autotune.in_engine import confirmation_payload, print_confirmations
from autotune.keys import Question
from autotune.models import ModelRequest, load_model
from autotune.models.hub_cache import at_hand
from autotune.payload import SCHEMA, Json
from autotune.profiles import Profile
from autotune.settings import Settings
from autotune.today import Asked
from kernels_bench.devices import find_device
from kernels_bench.errors import AutotuneError

_KV_WORDS = {"fp8_e4m3": "fp8", "fp8_e5m2": "fp8_e5m2"}


@click.command()
@targets_options
@profile_option
@click.option(
    "--load", "loads", multiple=True, metavar="NxIN+OUT",
    help="Requests that are handed over at once, tokens of each prompt and answer: 256x1k+128. May"
    " be repeated; default: what stands for the profile.",
)  # fmt: skip
@click.option(
    "--repeats", type=click.IntRange(2), default=5, show_default=True,
    help="Of each load, in each start of the engine.",
)  # fmt: skip
@click.option("--budget", type=Duration(), default="30m", show_default=True, help="For a model.")
@click.option(
    "--cold", is_flag=True,
    help="Time starts that find nothing compiled as well, which takes minutes more.",
)  # fmt: skip
@click.option(
    "--start-deadline", type=Duration(), default="15m", show_default=True,
    help="A start of the engine that takes longer is given up.",
)  # fmt: skip
@click.option(
    "--answer-deadline", type=Duration(), default="5m", show_default=True,
    help="An engine that is silent for longer is given up.",
)  # fmt: skip
@click.option(
    "--engine-args", metavar="JSON", default="{}",
    help="More arguments of the engine, on both sides, as its Python class has them.",
)  # fmt: skip
@cache_option
@json_option
def command(
    targets: tuple[Target, ...],
    profile: str | None,
    loads: tuple[str, ...],
    repeats: int,
    budget: float,
    cold: bool,
    start_deadline: float,
    answer_deadline: float,
    engine_args: str,
    layers: Layers,
    as_json: bool,
) -> None:
    """Run the engine's default and the decision's winner in the real engine, and store how both did
    beside the decision. A winner that loses is revoked: starts keep the default.

    The model must be a folder that the engine can load; where it has no weights, random ones are
    drawn. Needs the whole device, and takes minutes.
    """
    settings = settings_from(profile)
    weighed = profile_from(settings)
    if not targets:
        raise UsageError("confirm: say what to confirm: --model FOLDER")
    plan = Plan(
        loads=tuple(map(parse_load, loads)) or loads_of(weighed),
        repeats=repeats,
        budget_s=budget,
        is_cold=cold,
    )
    deadlines = Deadlines(start_deadline, answer_deadline)
    arguments = _arguments(engine_args)
    results: list[Json] = []
    failures: list[Exception] = []
    for target in targets:
        try:
            results.append(
                _confirmed(target, weighed, settings, plan, deadlines, arguments, layers, as_json)
            )
        except (AutotuneError, CacheError) as error:
            # The others may still be confirmed; the first failure sets the exit code.
            failures.append(error)
            if len(targets) > 1:
                click.echo(f"autotune: {error}", err=True)
    if as_json:
        click.echo(json.dumps({"schema": SCHEMA, "confirmed": results}, indent=2))
    if failures:
        raise failures[0]


def _confirmed(
    target: Target,
    profile: Profile,
    settings: Settings,
    plan: Plan,
    deadlines: Deadlines,
    extra: Mapping[str, object],
    layers: Layers,
    as_json: bool,
) -> Json:
    """One model; told as it goes, printed unless the caller wants JSON."""
    if target.engine != "vllm":
        raise UsageError(
            f"confirm: --engine {target.engine}: it runs vllm alone; say --engine vllm"
        )
    request, name = at_hand(target.request, None, os.environ)
    folder, model = _folder(request), load_model(request)
    model = replace(model, name=name or model.name)
    question = Question(model, target.engine, profile.key)
    asked = Asked(question, find_device(target.device), settings.unforced)
    found = find_subject(asked, layers, folder, _engine_arguments(request, extra))
    if isinstance(found, NothingToConfirm):
        if not as_json:
            click.echo(f"nothing to confirm: {found.why}")
        return {"model": asked.question.model.name, "verdict": None, "why": found.why}
    with Store.open(layers.user.path):
        pass  # one that cannot be written is told now, not after minutes
    longest = asked.question.model.max_model_len
    plan = replace(plan, loads=tuple(load.within(longest) for load in plan.loads))

    def start(job: EngineJob, environ: Mapping[str, str], ends_at: float) -> EngineRun:
        with EngineProcess(job, environ) as process:
            return process.run(deadlines, ends_at, _tell)

    comparison = run_sides(found, plan, start, lambda side: _say(f"starting vllm with {side}"))
    rows = rows_of(found.stored, comparison)
    if not as_json:
        print_confirmations(rows)
        click.echo(f"  why: {comparison.why}")
    if not store(found, rows, layers):
        _say(f"the earlier verdict stands: {found.stored.confirmation}")
    return {
        "model": asked.question.model.name,
        "verdict": comparison.verdict,
        "why": comparison.why,
        "loads": [confirmation_payload(row) for row in rows],
    }


def _folder(request: ModelRequest) -> Path:
    """What the engine loads; raises UsageError."""
    path = Path(request.source)
    if not path.exists():
        raise UsageError(
            f"confirm: --model {request.source}: vllm needs a folder with the model; a name of a"
            " preset stands for its attention alone"
        )
    # Not resolved: in the hub's cache the file is a link, and its folder the snapshot.
    folder = path if path.is_dir() else path.parent
    return folder.absolute()


def _arguments(text: str) -> Mapping[str, object]:
    try:
        given = json.loads(text)
    except ValueError as error:
        raise UsageError(f"confirm: --engine-args {text[:80]!r}: no JSON ({error})") from error
    if not isinstance(given, dict):
        raise UsageError(f"confirm: --engine-args {text[:80]!r}: expected an object, as {{...}}")
    return given


def _engine_arguments(request: ModelRequest, extra: Mapping[str, object]) -> Mapping[str, object]:
    """Of `vllm.LLM`."""
    own: dict[str, object | None] = {
        "tensor_parallel_size": request.tensor_parallel,
        "dtype": request.dtype,
        "kv_cache_dtype": _KV_WORDS.get(request.kv_dtype or "", request.kv_dtype),
        "block_size": request.page_size,
        "max_model_len": request.max_model_len,
    }
    return {name: value for name, value in own.items() if value is not None} | dict(extra)


def _tell(event: EngineEvent) -> None:
    match event:
        case Started(start_s=start_s, backends=backends):
            _say(f"{', '.join(backends)} is up after {start_s:.0f} s")
        case Sample():
            _say(f"{event.load}: {event.tokens_per_s:.0f} tokens/s")


def _say(text: str) -> None:
    click.echo(f"autotune: {text}", err=True)
