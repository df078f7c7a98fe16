"""The options that an engine reads from a YAML file, as words of a command line."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path

from autotune.errors import UsageError


def config_words(file: Path) -> tuple[str, ...]:
    """As vllm 0.32 (utils/argparse_utils.py, `load_config_file`) and sglang 0.5.23
    (srt/utils/server_args_config_parser.py) write them out. Raises UsageError.
    """
    try:
        # Engines bring it along; nothing of ours needs it.
        yaml = importlib.import_module("yaml")
    except ImportError as error:
        raise UsageError(f"--config {file}: cannot be read without PyYAML") from error
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"--config {file}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise UsageError(f"--config {file}: no YAML") from error
    if not isinstance(found, dict):
        raise UsageError(f"--config {file}: expected options and their values")
    return tuple(_words(found))


def _words(options: dict[object, object]) -> Iterator[str]:
    for name, value in options.items():
        match value:
            case bool():
                yield f"--{name}" if value else f"--no-{name}"
            case list():
                yield from (f"--{name}", *map(str, value))
            case dict():
                yield from (f"--{name}", json.dumps(value))
            case _:
                yield from (f"--{name}", str(value))
