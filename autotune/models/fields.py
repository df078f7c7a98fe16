"""Typed reads of a config.json: a wrong value ends in one line that names file, field and value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from autotune.errors import ConfigError

MOST_TOKENS_OR_HEADS = 2**40
"""No field counts more; beyond it a file is nonsense and arithmetic would overflow."""


@dataclass(frozen=True)
class Fields:
    """One JSON object over the defaults recorded for its `model_type`."""

    where: str
    """The file, and the object within: "llama/config.json", "gemma/config.json: text_config"."""
    values: Mapping[str, object]
    defaults: Mapping[str, object]
    """Read where the file is silent. A null in the file is an answer, not silence."""

    def has(self, name: str) -> bool:
        """Whether the file or the table of defaults knows this field."""
        return name in self.values or name in self.defaults

    def integer(self, name: str, least: int = 1, most: int = MOST_TOKENS_OR_HEADS) -> int:
        """A whole number within bounds."""
        expected = f"a whole number from {least} to {most}"
        value = self._read(name, expected)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self.wrong(name, expected)
        return value

    def integer_or_none(self, name: str) -> int | None:
        """A whole number of at least 1, or null."""
        if self._read(name, "a whole number of at least 1, or null") is None:
            return None
        return self.integer(name)

    def number_or_none(self, name: str) -> float | None:
        """A positive finite number, or null."""
        expected = "a positive number, or null"
        value = self._read(name, expected)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(name, expected)
        # Also refuses NaN, and whole numbers that no float can hold.
        if not 0 < value < MOST_TOKENS_OR_HEADS:
            raise self.wrong(name, expected)
        return float(value)

    def flag(self, name: str) -> bool:
        """True, or false; null counts as false."""
        value = self._read(name, "true or false")
        if value is None:
            return False
        if not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        return value

    def text_or_none(self, name: str) -> str | None:
        """A text that is not empty, or null."""
        value = self._read(name, "a text")
        if value is not None and (not isinstance(value, str) or not value):
            raise self.wrong(name, "a text")
        return value

    def per_layer(self, name: str, item: type[str] | type[int], layers: int) -> list[object] | None:
        """A list with one item for each layer, or null; an empty list counts as null."""
        expected = f"a list of {layers} {'texts' if item is str else 'whole numbers'}"
        value = self._read(name, f"{expected}, or null")
        if value is None or value == []:
            return None
        if not isinstance(value, list) or not all(type(entry) is item for entry in value):
            raise self.wrong(name, expected)
        if len(value) != layers:
            raise ConfigError(
                f"{self.where}: field '{name}': expected one item for each of "
                f"{layers} layers, found {len(value)}"
            )
        return value

    def object_or_none(self, name: str) -> Fields | None:
        """A nested object, without defaults; null and an empty object count as none."""
        value = self.values.get(name)
        if value is None or value == {}:
            return None
        if not isinstance(value, dict):
            raise self.wrong(name, "an object, or null")
        return Fields(f"{self.where}: {name}", value, {})

    def wrong(self, name: str, expected: str) -> ConfigError:
        """The error for a value that is there and does not fit."""
        value = self.values.get(name, self.defaults.get(name))
        return ConfigError(
            f"{self.where}: field '{name}': expected {expected}, found {shown(value)}"
        )

    def _read(self, name: str, expected: str) -> object:
        if name in self.values:
            return self.values[name]
        if name in self.defaults:
            return self.defaults[name]
        raise ConfigError(
            f"{self.where}: field '{name}' is missing: expected {expected} "
            "(no default is recorded for this model_type)"
        )


def shown(value: object) -> str:
    """A value as the file writes it, cut to fit a line."""
    if isinstance(value, dict):
        text = f"an object with {', '.join(map(str, value)) or 'no fields'}"
    elif isinstance(value, list):
        text = f"a list of {len(value)}"
    elif isinstance(value, int) and abs(value) > MOST_TOKENS_OR_HEADS:
        # Python refuses to print a whole number of some thousand digits.
        text = f"a whole number beyond {MOST_TOKENS_OR_HEADS}"
    else:
        text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."
