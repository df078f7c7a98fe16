"""From a name or a path to a `ModelConfig`: the one module here that reads files of the user."""

from __future__ import annotations

import json
import os
from pathlib import Path

from autotune.errors import ConfigError, ModelError
from autotune.models.config import ModelConfig, ModelRequest
from autotune.models.parse import parse_config
from autotune.models.presets import find_preset, unknown_model

MOST_FILE_BYTES = 16 * 2**20
"""A config.json has some kB. More is a weights file given by mistake, and would fill memory."""


def load_model(request: ModelRequest) -> ModelConfig:
    """Read the model that `request` names; a path that exists wins over a preset."""
    source = request.source
    file = _config_file(source)
    if file is not None:
        return parse_config(load_config(file), request, name=_alias(file), where=str(file))
    preset = find_preset(source)
    if preset is not None:
        where = f"preset {preset.name}"
        return parse_config(preset.config, request, name=preset.name, where=where)
    raise _nothing_there(source)


def _alias(file: Path) -> str:
    """A name for people: the folder's, or that of a file with a name of its own."""
    return file.resolve().parent.name if file.name == "config.json" else file.stem


def _config_file(source: str) -> Path | None:
    """The config.json that `source` means, if it exists and `source` is written as a path."""
    if not source:  # else it would mean the working folder
        return None
    try:
        path = _path(source)
        if path.is_dir():
            inside = path / "config.json"
            return inside if inside.exists() else None
        looks_like_path = any(mark in source for mark in _separators()) or path.suffix == ".json"
        return path if looks_like_path and path.exists() else None
    except (OSError, ValueError) as error:
        # A folder that may not be searched, a name longer than the system takes, a null byte.
        raise ConfigError(f"cannot look for {source!r}: {_cause(error)}") from error


def _path(source: str) -> Path:
    try:
        return Path(source).expanduser()
    except RuntimeError:  # "~name" of a user who is not here
        return Path(source)


def _separators() -> tuple[str, ...]:
    return tuple(mark for mark in (os.sep, os.altsep) if mark)


def _nothing_there(source: str) -> ModelError:
    path = _path(source)
    if source and path.is_dir():
        return ConfigError(f"{source}: the folder holds no config.json")
    if path.suffix == ".json" or source.startswith(("~", ".", *_separators())):
        return ConfigError(f"{source}: no such file or folder")
    return unknown_model(source)


def load_config(file: Path) -> dict[str, object]:
    """Read a config.json; raises ConfigError."""
    try:
        if not file.is_file():
            raise ConfigError(f"{file}: expected a file of JSON, found something else")
        if file.stat().st_size > MOST_FILE_BYTES:
            raise ConfigError(f"{file}: larger than {MOST_FILE_BYTES} bytes, no config.json")
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {_cause(error)}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{file}: expected JSON in UTF-8, found byte 0x{error.object[error.start]:02x} "
            f"at position {error.start}"
        ) from error
    return _object(text, file)


def _object(text: str, file: Path) -> dict[str, object]:
    if not text.strip():
        raise ConfigError(f"{file}: expected a JSON object, found an empty file")
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"{file}: broken JSON at line {error.lineno}, column {error.colno}: {error.msg}"
        ) from error
    except (ValueError, RecursionError) as error:
        # A number of thousands of digits, or thousands of nested brackets.
        raise ConfigError(f"{file}: no config.json: {error}") from error
    if not isinstance(value, dict):
        found = "a list" if isinstance(value, list) else f"a bare {type(value).__name__}"
        raise ConfigError(f"{file}: expected a JSON object, found {found}")
    return value


def _cause(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
