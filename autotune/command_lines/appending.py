"""Which options a command gets for a choice, and why not. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autotune.command_lines.command import Command
from autotune.engine_options import Options, option_pairs
from autotune.start import Keep, Ruling, Take


@dataclass(frozen=True)
class Appended:
    """What is added to a command, and what a person is told."""

    words: tuple[str, ...]
    """None: the engine starts as given."""
    said: str
    """In one line."""
    is_warning: bool = False


def kept(command: Command) -> str:
    """Why nothing needs to be chosen; empty where something does."""
    if explicit := command.explicit:
        return f"{explicit} is given and stands"
    if unmodelled := command.unmodelled:
        return f"{unmodelled} changes what a rank attends to, which nothing here measures"
    return ""


def appended(command: Command, ruling: Ruling) -> Appended:
    """Whatever is not certain leaves the engine's own rule."""
    choice = ruling.choice
    words = _words_beside(command, choice.engine_options or {})
    match ruling:
        case Keep(why=why, is_warning=is_warning):
            is_held_back = choice.is_observed or command.agreement
            if is_held_back and words and isinstance(words, tuple):
                why = f"{why}; it would append {' '.join(words)}"
            return _nothing(command, why, is_warning)
        case Take():
            who = choice.label
            if isinstance(words, str):
                return _nothing(command, f"{words}, and {who} needs another value", True)
            where = f"{who} for {choice.model} on {choice.device.name}"
            said = f"appended {' '.join(words)}: {where}, {choice.state}; {choice.why}"
            return Appended(words, said)


def _nothing(command: Command, why: str, is_warning: bool = False) -> Appended:
    said = f"nothing appended, {command.engine}'s own rule stays: {why}"
    return Appended((), said, is_warning)


def _words_beside(command: Command, options: Options) -> tuple[str, ...] | str:
    """The options that the command lacks; or the one of its own that says something else, which
    would lose to ours, since of a repeated option the last wins.
    """
    pairs = dict(option_pairs(options))
    nested = {
        name
        for name, value in zip(pairs, options.values(), strict=True)
        if isinstance(value, Mapping)
    }
    for given in command.read.given:
        if given.name in pairs and (given.name in nested or given.value != pairs[given.name]):
            return f"{'.'.join((given.name, *given.keys))} is given"
    own = {given.name for given in command.read.given}
    return _flat([pair for pair in pairs.items() if pair[0] not in own])


def _flat(pairs: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    return tuple(word for pair in pairs for word in pair)
