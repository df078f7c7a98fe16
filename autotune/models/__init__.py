"""What a model asks of attention: read from a config.json, never from what is installed."""

from __future__ import annotations

from autotune.models.config import ModelConfig, ModelRequest, batch_invariant, kinds, spec_key
from autotune.models.load import load_model
from autotune.models.parse import parse_config
from autotune.models.presets import Preset, preset_names, presets

__all__ = [
    "ModelConfig",
    "ModelRequest",
    "Preset",
    "batch_invariant",
    "kinds",
    "load_model",
    "parse_config",
    "preset_names",
    "presets",
    "spec_key",
]
