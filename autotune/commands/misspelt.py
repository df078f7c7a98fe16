"""Disabled names that disable nobody: told before anything takes time."""

from __future__ import annotations

import click

from autotune.known import misspelt_text
from autotune.today import Asked


def tell_misspelt(asked: Asked) -> None:
    """On stderr, in one line."""
    if text := misspelt_text(asked):
        click.echo(f"autotune: warning: {text}", err=True)
