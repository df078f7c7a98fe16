"""The command line: parse, one call, render. Results on stdout, progress and errors on stderr.

Exit 0 done, 1 error, 2 usage, 3 nobody can run the model, 4 `--assert-hit` not met.
"""

from __future__ import annotations

import click

from autotune._store import CacheError
from autotune.commands.lazy import LazyGroup
from autotune.errors import NoBackendError, UsageError
from autotune.records import tool_version
from kernels_bench.errors import AutotuneError

_COMMANDS = {
    "warm": "measure a model's candidates, decide, remember",
    "choose": "print the backend that an engine would get",
    "explain": "why this backend, and why not that one",
    "backends": "who can run a model, and every reason why not",
    "exec": "start an engine with the chosen options",
    "confirm": "run a decision and the engine's default in the real engine",
    "bench": "measure workloads by hand, store nothing",
    "simulate": "decide stored evidence again under other rules",
    "lock": "write decisions to a file that outranks the cache",
    "models": "the models known by name",
    "cache": "look at what is remembered, exchange it, take care of it",
}


class Commands(LazyGroup):
    """All of them; every error of ours becomes one line and its exit code."""

    package = __name__
    summaries = _COMMANDS

    def invoke(self, ctx: click.Context) -> object:
        """Run; every error of ours becomes one line and its exit code."""
        try:
            return super().invoke(ctx)
        except (AutotuneError, CacheError) as error:
            click.echo(f"autotune: {error}", err=True)
            ctx.exit(_exit_code(error))
        except KeyboardInterrupt:
            kept = "; every workload that was finished is kept"
            said = kept if ctx.invoked_subcommand == "warm" else ""
            click.echo(f"autotune: interrupted{said}", err=True)
            ctx.exit(1)


def _exit_code(error: Exception) -> int:
    match error:
        case UsageError():
            return 2
        case NoBackendError():
            return 3
        case _:
            return 1


def _version(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    """Print it and stop."""
    if asked:
        click.echo(f"autotune, version {tool_version()}")
        ctx.exit()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version)
def cli() -> None:
    """Choose the attention backend of an LLM engine by measuring.

    \b
    autotune warm --model llama-3.1-8b      measure once
    autotune choose --model llama-3.1-8b    read the answer at every start
    """
