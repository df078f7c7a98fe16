"""`autotune models`: the presets."""

from __future__ import annotations

import json

import click

from autotune.commands.options import json_option
from autotune.models import ModelConfig, ModelRequest, Preset, kinds, load_model, presets
from autotune.payload import SCHEMA
from autotune.table import print_table


@click.command()
@json_option
def command(as_json: bool) -> None:
    """List the models known by name, their attention, and where their values were read."""
    known = [(preset, load_model(ModelRequest(preset.name))) for preset in presets()]
    if as_json:
        found = [_payload(preset, model) for preset, model in known]
        click.echo(json.dumps({"schema": SCHEMA, "models": found}, indent=2))
    else:
        rows = [[preset.name, preset.hub_id, _layers(model)] for preset, model in known]
        print_table("Presets", ["name", "hub id", "attention"], rows)


def _layers(model: ModelConfig) -> str:
    layers = [
        f"{spec.num_layers} {kind} ({spec.num_q_heads}/{spec.num_kv_heads} x {spec.head_dim})"
        for kind, spec in zip(kinds(model), model.specs, strict=True)
    ]
    return ", ".join([*layers, *(f"cannot: {reason.text}" for reason in model.unsupported)])


def _payload(preset: Preset, model: ModelConfig) -> dict[str, object]:
    return {
        "name": preset.name,
        "hub_id": preset.hub_id,
        "source": preset.source,
        "model_type": model.model_type,
        "max_model_len": model.max_model_len,
        "layers": _layers(model),
    }
