"""What the options of an engine mean to us. The engines' own are data, a module each."""

from __future__ import annotations

import json
from dataclasses import dataclass

from autotune.command_lines.tokens import Given, Option, Words

_UNSET = frozenset({"", "none", "null"})


@dataclass(frozen=True)
class Condition:
    """An option that rules something out, where it is given and says something."""

    option: Option
    unless: frozenset[str] = frozenset()
    """Values that say as much as leaving it out; in lower case."""
    only: frozenset[str] = frozenset()
    """The one value or two that count; empty: every value."""
    keys: frozenset[str] = frozenset()
    """Of its JSON, those that count; empty: it counts whatever its JSON says."""

    def said(self, words: Words) -> str:
        """The option as it was given, for people; empty where it rules nothing out."""
        given = words.of(self.option)
        # Of a repeated option the last counts, but each may set another key.
        for each in given if self.keys else given[-1:]:
            if self._counts(each):
                dotted = ".".join((each.name, *each.keys))
                return dotted if self.option.is_flag else f"{dotted} {each.value}"
        return ""

    def _counts(self, given: Given) -> bool:
        value = given.value.strip().lower()
        if self.keys:
            return self._names_key(given)
        if self.option.is_flag and value == "false":
            return False
        return value not in _UNSET | self.unless and (not self.only or value in self.only)

    def _names_key(self, given: Given) -> bool:
        if given.keys:
            value = given.value.strip().lower()
            return given.keys[0] in self.keys and value not in _UNSET | self.unless
        try:
            value = json.loads(given.value or "{}")
        except ValueError:
            return True  # the engine may read what we do not
        if not isinstance(value, dict):
            return value is not None
        return any(
            value.get(key) and str(value[key]).lower() not in self.unless for key in self.keys
        )


@dataclass(frozen=True)
class Dialect:
    """One engine's options."""

    engine: str
    source: str
    """Where names and aliases were read, with the version."""
    model: Option
    revision: Option
    tensor_parallel: Option
    dtype: Option
    kv_dtype: Option
    page_size: Option
    max_model_len: Option
    config_file: Option
    """A file of options, in YAML."""
    explicit: tuple[Condition, ...]
    """The user chose the attention backend."""
    agreement: tuple[Condition, ...]
    """Other instances must load the same backend, and are started elsewhere."""
    unmodelled: tuple[Condition, ...]
    """What a rank attends to is not what the config.json says, or not known to us."""
    config_source: Option | None = None
    """Another place of the config.json."""
    device: Option | None = None
    apart: tuple[Option, ...] = ()
    """Options of no interest, whose names begin one of those above."""

    @property
    def options(self) -> tuple[Option, ...]:
        """All of them, each once."""
        fields = (
            self.model, self.revision, self.tensor_parallel, self.dtype, self.kv_dtype,
            self.page_size, self.max_model_len, self.config_file, self.config_source, self.device,
        )  # fmt: skip
        conditions = (*self.explicit, *self.agreement, *self.unmodelled)
        every = (*fields, *(each.option for each in conditions), *self.apart)
        return tuple(dict.fromkeys(each for each in every if each is not None))


def first_said(conditions: tuple[Condition, ...], words: Words) -> str:
    """The first option that rules something out; empty where none does."""
    return next((said for each in conditions if (said := each.said(words))), "")
