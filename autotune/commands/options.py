"""Options that several commands share, each bundle given to the command as one value."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import click

from autotune._store import Layers, find_layers
from autotune.elsewhere import refuse_name
from autotune.errors import UsageError
from autotune.given_stack import read_stack
from autotune.keys import Question
from autotune.models import ModelConfig, ModelRequest, load_model
from autotune.profiles import Profile, find_profile
from autotune.settings import Settings, parse_duration, read_settings

# click calls a command with whatever options were attached to it: no static type can say which.
Command: TypeAlias = Callable[..., Any]

ENGINES = ("any", "vllm", "sglang")


@dataclass(frozen=True)
class Target:
    """What is asked about."""

    request: ModelRequest
    engine: str
    device: str

    def model(self) -> ModelConfig:
        """Read the config."""
        return load_model(self.request)

    def question(self, profile: Profile) -> Question:
        """The model, with the engine and the profile."""
        return Question(self.model(), self.engine, profile.key)


def target_options(command: Command) -> Command:
    """A model, and a device of this machine, as one `target`."""
    return _with_target(_model_option(required=True), _device_here, command)


def named_target_options(command: Command) -> Command:
    """As `target_options`; the device may also be one of the cache or of the catalogue."""
    return _with_target(_model_option(required=True), _device_anywhere, command)


def any_target_options(command: Command) -> Command:
    """As `named_target_options`; without --model a common layer stands for all."""
    model = _model_option(default="llama-3.1-8b", show_default=True)
    return _with_target(model, _device_anywhere, command)


def targets_options(command: Command) -> Command:
    """As `target_options` with --model repeated, or not given: one `targets`."""
    return _with_targets(_model_option(multiple=True), _device_here, command)


def _refuse_name(ctx: click.Context, option: click.Parameter, text: str) -> str:
    """Measuring needs the device itself."""
    refuse_name(text)
    return text


_device_here = click.option(
    "--device", default="auto", show_default=True, metavar="auto|cpu|cuda:N|all",
    callback=_refuse_name, help="auto is the first GPU, or the CPU; all is for warm.",
)  # fmt: skip
_device_anywhere = click.option(
    "--device", default="auto", show_default=True, metavar="auto|cpu|cuda:N|NAME",
    help="auto is the first GPU, or the CPU; or a device that is not here, by words of one in the"
    " cache or by a short name: h100, mi300x, strix-halo.",
)  # fmt: skip


def _model_option(*, multiple: bool = False, **how: Any) -> Command:
    again = " May be repeated." if multiple else ""
    return click.option(
        "--model",
        "source",
        metavar="NAME|FOLDER|FILE",
        help=f"A preset (see `autotune models`), or a folder or config.json.{again}",
        multiple=multiple,
        **how,
    )


def _with_target(model_option: Command, device_option: Command, command: Command) -> Command:
    @functools.wraps(command)
    def bundled(targets: tuple[Target, ...], **others: Any) -> Any:
        (target,) = targets
        return command(target=target, **others)

    return _with_targets(model_option, device_option, bundled)


def _with_targets(model_option: Command, device_option: Command, command: Command) -> Command:
    options = (
        model_option,
        click.option(
            "--tp", type=click.IntRange(1), default=1, show_default=True,
            help="Tensor parallel ranks; heads are divided among them.",
        ),
        click.option("--dtype", metavar="D", help="bfloat16 or float16; default: the model's."),
        click.option("--kv-dtype", metavar="D", help="fp8_e4m3 or fp8_e5m2; default: dtype."),
        click.option(
            "--page-size", type=click.IntRange(1), metavar="N", help="Pin the tokens of a page."
        ),
        click.option(
            "--max-model-len", type=click.IntRange(1), metavar="N",
            help="The longest context that will be served; default: the model's.",
        ),
        click.option(
            "--engine", type=click.Choice(ENGINES), default="any", show_default=True,
            help="Who will load the backend.",
        ),
        device_option,
    )  # fmt: skip

    @functools.wraps(command)
    def bundled(
        source: str | tuple[str, ...],
        tp: int,
        dtype: str | None,
        kv_dtype: str | None,
        page_size: int | None,
        max_model_len: int | None,
        engine: str,
        device: str,
        **others: Any,
    ) -> Any:
        sources = (source,) if isinstance(source, str) else source
        targets = tuple(
            Target(
                ModelRequest(name, tp, dtype, kv_dtype, page_size, max_model_len), engine, device
            )
            for name in sources
        )
        return command(targets=targets, **others)

    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(options), bundled)


json_option = click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
profile_option = click.option(
    "--profile",
    metavar="NAME|FILE",
    help="Traffic that weighs the workloads: balanced, chat, code, long-context, decode-heavy, or a"
    " file of weights, requests or vLLM's metrics.",
)


def cache_option(command: Command) -> Command:
    """--cache, as the `layers` that are read; it names the user's file among them."""

    @click.option(
        "--cache",
        "cache_file",
        metavar="FILE",
        help="The cache; default: AUTOTUNE_CACHE, or the user's.",
    )
    @functools.wraps(command)
    def bundled(cache_file: str | None, **others: Any) -> Any:
        layers: Layers = find_layers(cache_file, os.environ)
        return command(layers=layers, **others)

    return bundled


def stack_option(command: Command) -> Command:
    """--stack, as the `given` stack; None where there is none."""

    @click.option(
        "--stack",
        "stack_file",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help='What to take for installed under the device: a JSON object, {"torch": "2.11.0"}.',
    )
    @functools.wraps(command)
    def bundled(stack_file: Path | None, **others: Any) -> Any:
        given = None if stack_file is None else read_stack(stack_file)
        return command(given=given, **others)

    return bundled


def profile_from(settings: Settings) -> Profile:
    """Read it, and tell what a reader of its file should know; raises ProfileError."""
    profile = find_profile(settings.profile)
    for note in profile.notes:
        click.echo(f"autotune: {note}", err=True)
    return profile


def settings_from(profile: str | None) -> Settings:
    """The environment, with the command line's profile over it."""
    return read_settings(os.environ, profile)


class Duration(click.ParamType[float]):
    """30s, 5m, 1h."""

    name = "time"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Seconds."""
        if isinstance(value, float):
            return value
        try:
            return parse_duration(str(value))
        except UsageError as error:
            self.fail(str(error), param, ctx)
