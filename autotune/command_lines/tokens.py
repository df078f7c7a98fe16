"""The words of a command line as argparse reads them: options by any of their names, their values,
and what stands by itself. Pure.

Of Python's argparse, and of vLLM's FlexibleArgumentParser on top of it (vllm 0.24 and 0.32,
utils/argparse_utils.py): underscores for dashes, and `--option.key value` for a key of its JSON.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_END = "--"
_NEGATIVE = re.compile(r"-\d+|-\d*\.\d+")


@dataclass(frozen=True)
class Option:
    """One option, by all of its names."""

    names: tuple[str, ...]
    """The first is for people."""
    is_flag: bool = False
    """It takes no value."""

    @property
    def name(self) -> str:
        """For people, and to find it again."""
        return self.names[0]


@dataclass(frozen=True)
class Given:
    """An option as it stands in a command line."""

    name: str
    """`Option.name`; as it is written, dashed, where the option is none that was asked for."""
    value: str
    """ "true" or "false" of a flag; empty where a value is missing."""
    keys: tuple[str, ...] = ()
    """Into its JSON: ("backend",) of `--attention-config.backend`."""


@dataclass(frozen=True)
class Words:
    """A command line that was read."""

    model: str | None
    """The word that comes before every option, or after a bare `--`."""
    given: tuple[Given, ...]
    """In their order: of a repeated option the last counts."""
    end: int
    """Where a bare `--` stands, or behind all words."""

    def of(self, option: Option) -> tuple[Given, ...]:
        """Every time that it was given."""
        return tuple(each for each in self.given if each.name == option.name)

    def value(self, option: Option) -> str | None:
        """The last value; None where it was not given."""
        values = [each.value for each in self.of(option) if not each.keys]
        return values[-1] if values else None


def read_words(words: Sequence[str], options: Sequence[Option]) -> Words:
    """Read what follows the program."""
    end = words.index(_END) if _END in words else len(words)
    before, after = words[:end], words[end + 1 :]
    plain = [*before[:1], *after]
    model = next((word for word in plain if not _is_option(word)), None)
    return Words(model, tuple(_given(before, options)), end)


def _given(words: Sequence[str], options: Sequence[Option]) -> Iterator[Given]:
    place = 0
    while place < len(words):
        word = words[place]
        place += 1
        if not _is_option(word):
            continue
        written, equals, inline = word.partition("=")
        head, *keys = written.split(".")
        following = words[place] if place < len(words) else None
        if keys:
            # vLLM takes the next word as the value of a key, whatever it looks like.
            value = inline if equals else following or ""
            place += 0 if equals else 1
            yield Given(_name(head, options), value, tuple(key.rstrip("+") for key in keys))
            continue
        found, text = _find(head, options), inline if equals else None
        if found is None and not equals and (attached := _attached(word, options)) is not None:
            yield attached
            continue
        if found is not None and found.is_flag:
            yield Given(found.name, text or _state(head, found))
            continue
        if text is None and following is not None and not _is_option(following):
            text = following
            place += 1
        yield Given(_dashed(head) if found is None else found.name, text or "")


def _is_option(word: str) -> bool:
    """As argparse tells them from values: a lone dash, a negative number and words with a space
    are values.
    """
    is_value = word == "-" or " " in word or _NEGATIVE.fullmatch(word) is not None
    return word.startswith("-") and not is_value


def _find(written: str, options: Sequence[Option]) -> Option | None:
    """By a name, or by the beginning of one. argparse refuses a beginning that fits two options, so
    that whatever begins a name of ours is ours, or ends in the engine's own error.
    """
    head = _dashed(written)
    exact = [each for each in options if head in _every_name(each)]
    if exact:
        return exact[0]
    begun = [each for each in options if any(n.startswith(head) for n in _every_name(each))]
    return begun[0] if len(begun) == 1 and head not in ("-", "--") else None


def _every_name(option: Option) -> tuple[str, ...]:
    if not option.is_flag:
        return option.names
    # argparse.BooleanOptionalAction.
    return (*option.names, *(f"--no-{n[2:]}" for n in option.names if n.startswith("--")))


def _state(written: str, flag: Option) -> str:
    is_off = _dashed(written).startswith("--no-") and not flag.name.startswith("--no-")
    return "false" if is_off else "true"


def _attached(word: str, options: Sequence[Option]) -> Given | None:
    """`-n2`: a short name of one letter, and its value."""
    for option in options:
        if not option.is_flag and not word.startswith("--") and word[:2] in option.names:
            return Given(option.name, word[2:])
    return None


def _name(written: str, options: Sequence[Option]) -> str:
    found = _find(written, options)
    return _dashed(written) if found is None else found.name


def _dashed(written: str) -> str:
    return written.replace("_", "-") if written.startswith("--") else written
