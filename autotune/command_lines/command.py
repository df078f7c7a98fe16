"""An engine's command, and what it says about the model and the backend."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from autotune.command_lines.dialect import Dialect, first_said
from autotune.command_lines.programs import find_program
from autotune.command_lines.tokens import Option, Words, read_words
from autotune.errors import UsageError
from autotune.models import ModelRequest

# vllm 0.24 and 0.32, utils/argparse_utils.py, `human_readable_int_or_auto`; sglang 0.5.23 likewise.
_SIZES = {
    "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12,
    "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40,
}  # fmt: skip
_AUTO_LENGTHS = ("", "auto", "-1", "None")


@dataclass(frozen=True)
class Command:
    """A command that starts an engine."""

    words: tuple[str, ...]
    """As it was given."""
    dialect: Dialect
    read: Words
    """Its options, those of its config file among them."""
    end: int
    """Where options may be added."""

    @property
    def engine(self) -> str:
        """Its name among ours."""
        return self.dialect.engine

    @property
    def explicit(self) -> str:
        """The user's own word on the backend; empty where there is none."""
        return first_said(self.dialect.explicit, self.read)

    @property
    def agreement(self) -> str:
        """Why others must load the same backend; empty where this instance is alone."""
        return first_said(self.dialect.agreement, self.read)

    @property
    def unmodelled(self) -> str:
        """What changes the attention beyond the config.json; empty where nothing does."""
        return first_said(self.dialect.unmodelled, self.read)

    @property
    def device(self) -> str:
        """A selector: the first of this machine, unless the engine is told to use the CPU."""
        option = self.dialect.device
        return "cpu" if option is not None and self.read.value(option) == "cpu" else "auto"

    @property
    def revision(self) -> str | None:
        """Of the model, on the hub."""
        return self.read.value(self.dialect.revision) or None

    def request(self) -> ModelRequest:
        """The model and how it will be served; raises UsageError."""
        dialect, read = self.dialect, self.read
        source = read.model or read.value(dialect.model)
        if dialect.config_source is not None:
            source = read.value(dialect.config_source) or source
        if not source:
            place = "right after serve, or " if "serve" in self.words else ""
            raise UsageError(f"the command names no model: expected it {place}as --model MODEL")
        return ModelRequest(
            source,
            _number(read, dialect.tensor_parallel) or 1,
            read.value(dialect.dtype) or None,
            read.value(dialect.kv_dtype) or None,
            _number(read, dialect.page_size),
            _number(read, dialect.max_model_len),
        )

    def with_words(self, words: Sequence[str]) -> tuple[str, ...]:
        """The command with more options at its end, before a bare `--`."""
        return (*self.words[: self.end], *words, *self.words[self.end :])


def read_command(words: Sequence[str], read_config: Callable[[Path], Sequence[str]]) -> Command:
    """Raises UsageError for a program that is not known, or what `read_config` raises."""
    place = find_program(words)
    dialect = place.program.dialect
    own = tuple(words[place.start :])
    read = read_words(own, dialect.options)
    if not place.program.takes_model:
        read = replace(read, model=None)
    if file := _config_file(own, dialect):
        # Before the command's own, so that those come last and win.
        filed = read_words(tuple(read_config(Path(file))), dialect.options)
        read = replace(read, given=(*filed.given, *read.given))
    return Command(tuple(words), dialect, read, place.start + read.end)


def _config_file(own: Sequence[str], dialect: Dialect) -> str:
    """Both engines look for the bare word alone: `--config=FILE` is parsed, and read by nobody."""
    (name,) = dialect.config_file.names
    after = own.index(name) + 1 if name in own else len(own)
    return own[after] if after < len(own) else ""


def _number(read: Words, option: Option) -> int | None:
    text = (read.value(option) or "").strip()
    if text in _AUTO_LENGTHS:
        return None
    match = re.fullmatch(r"(\d{1,15})(\.\d{1,9})?([kmgtKMGT]?)", text, re.ASCII)
    if match is None or not text:
        raise UsageError(f"{option.name} {text}: expected a whole number")
    return int(float(f"{match[1]}{match[2] or ''}") * _SIZES.get(match[3], 1))
