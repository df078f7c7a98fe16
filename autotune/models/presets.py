"""The models that can be named without a file: their configs ship with the package."""

from __future__ import annotations

import difflib
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from autotune.errors import UnknownModelError


@dataclass(frozen=True)
class Preset:
    """A widely served model."""

    name: str
    hub_id: str
    """As the hub writes it: "meta-llama/Llama-3.1-8B"."""
    source: str
    """Where the values were read, or "reconstructed from ..."."""
    config: Mapping[str, object]
    """The attention fields of its config.json."""


@functools.cache
def presets() -> tuple[Preset, ...]:
    """All presets, in the order of the file."""
    file = Path(__file__).with_name("presets.json")
    return tuple(Preset(**entry) for entry in json.loads(file.read_text(encoding="utf-8")))


def preset_names() -> tuple[str, ...]:
    """The names of all presets, in the order of the file."""
    return tuple(preset.name for preset in presets())


def find_preset(name: str) -> Preset | None:
    """The preset with this name or hub id, in any case."""
    wanted = name.casefold()
    for preset in presets():
        if wanted in (preset.name.casefold(), preset.hub_id.casefold()):
            return preset
    return None


def unknown_model(name: str) -> UnknownModelError:
    """The error for a name that no preset has: the nearest names, and what else works."""
    # A hub id's owner says nothing about nearness.
    wanted = name.rpartition("/")[2].casefold()
    near = difflib.get_close_matches(wanted, preset_names(), n=3, cutoff=0.5)
    guess = f"nearest: {', '.join(near)}. " if near else ""
    return UnknownModelError(
        f"unknown model '{name}'. {guess}A folder or a config.json path also works; "
        "`autotune models` lists the presets"
    )
