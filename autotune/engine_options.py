"""From who was chosen to an engine's own options: names and values of its arguments. Pure.

vllm 0.24 and 0.32: `EngineArgs` of engine/arg_utils.py; it refuses a backend that is named both in
`attention_backend` and in `attention_config`. sglang 0.5.23: `ServerArgs`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

from autotune.decision import Seats
from autotune.engines import Engine
from autotune.ranking import Candidate
from kernels_bench.spec import Phase

Options: TypeAlias = Mapping[str, object]
"""Names as the engine's arguments have them, values as JSON has them."""

_BACKEND = "attention_backend"
_PREFILL, _DECODE = "prefill_attention_backend", "decode_attention_backend"
_CONFIG = "attention_config"

# vllm 0.32: v1/kv_cache_interface.py, `KVCacheSpecKind`, as v1/attention/selector.py picks them.
KINDS: Mapping[str, str] = MappingProxyType(
    {
        "full": "full_attention",
        "window": "sliding_window",
        "chunk": "chunked_local_attention",
        "mla": "mla_attention",
    }
)
"""Our kind of layer -> vLLM's word for it."""


@dataclass(frozen=True)
class Unsayable:
    """A split that the engine has no words for."""

    why: str


def single_options(engine: str, own: Options | None) -> Options | None:
    """For one backend everywhere, from what its variant says; None where the engine has none."""
    if own is None or engine != "sglang" or _BACKEND not in own:
        return own
    word = own[_BACKEND]
    return {_PREFILL: word, _DECODE: word} | _others(own)


def split_options(
    engine: Engine, seats: Seats, winner: Candidate, own: Mapping[Candidate, Options]
) -> Options | Unsayable:
    """For several backends: `own` is what the variant of each says, `winner` the best alone."""
    if len({_word(options) for options in own.values()}) == 1:
        return Unsayable(f"{engine.name} has one name for all of its backends")
    if any(_word(options) is None for options in own.values()):
        return Unsayable(f"{engine.name} has no name for one of its backends")
    others = _merged(own)
    if isinstance(others, Unsayable):
        return others
    if engine.takes_kinds:
        return _by_kind(engine, seats, winner, own, others)
    if engine.decode_phases:
        return _by_side(engine, seats, own, others)
    return Unsayable(f"this {engine.name} loads one backend for all")


def _by_kind(
    engine: Engine,
    seats: Seats,
    winner: Candidate,
    own: Mapping[Candidate, Options],
    others: Options,
) -> Options | Unsayable:
    """A kind that is not listed falls back to `attention_backend`."""
    words: dict[str, object] = {}
    for kind, phases in seats.items():
        named = {_word(own[who]) for who in phases.values()}
        # "full2" is a second kind of full layer, and vLLM tells only full from windowed ones.
        theirs = KINDS.get(re.sub(r"\d+$", "", kind))
        if theirs is None:
            return Unsayable(f"{engine.name} has no name for {kind} layers")
        if len(named) > 1:
            return Unsayable(f"{engine.name} loads one backend for all phases of a kind of layer")
        (word,) = named
        if words.setdefault(theirs, word) != word:
            return Unsayable(f"{engine.name} has one name, {theirs}, for two kinds of layer")
    # One of the members: a third backend would set the engine's page size, and serve nothing.
    first = next(iter(words.values()))
    name = _word(own[winner]) if winner in own else first
    if set(words.values()) == {name}:
        return Unsayable(f"{engine.name} has one name for all of its backends")
    config = dict(_mapping(others.get(_CONFIG))) | {"backend_per_kind": words}
    return {_BACKEND: name} | dict(others) | {_CONFIG: config}


def _by_side(
    engine: Engine, seats: Seats, own: Mapping[Candidate, Options], others: Options
) -> Options | Unsayable:
    """One word for the phases of the decode seat, one for all the others."""
    words: dict[str, object] = {}
    for phases in seats.values():
        for phase, who in phases.items():
            side = _DECODE if Phase(phase) in engine.decode_phases else _PREFILL
            word = _word(own[who])
            if words.setdefault(side, word) != word:
                name = side.replace("_", "-")
                return Unsayable(f"{engine.name} loads one backend for all that --{name} serves")
    if set(words) != {_PREFILL, _DECODE}:
        return Unsayable(f"{engine.name} splits by prefill and decode alone")
    return {_PREFILL: words[_PREFILL], _DECODE: words[_DECODE]} | dict(others)


def _word(options: Options) -> str | None:
    """The engine's name of the backend."""
    word = options.get(_BACKEND)
    return word if isinstance(word, str) else None


def _others(options: Options) -> dict[str, object]:
    return {name: value for name, value in options.items() if name != _BACKEND}


def _merged(own: Mapping[Candidate, Options]) -> Options | Unsayable:
    """What the members want beside their names, since an engine hears it once for all of them.

    Two variants under one name differ in just that, so that neither may speak for the other.
    """
    named: dict[str | None, tuple[Candidate, Options]] = {}
    found: dict[str, object] = {}
    for who, options in own.items():
        first, its = named.setdefault(_word(options), (who, options))
        if dict(its) != dict(options):
            return Unsayable(f"{first.label} and {who.label} want other options under one name")
        for name, value in _others(options).items():
            merged = _both(found.get(name, value), value)
            if merged is None:
                return Unsayable(f"its backends want different values of --{_dashed(name)}")
            found[name] = merged
    if "backend" in _mapping(found.get(_CONFIG)):
        return Unsayable(f"a backend is named both in {_BACKEND} and in {_CONFIG}")
    return found


def _both(one: object, other: object) -> object | None:
    """The value that says both; None where they contradict each other."""
    if not (isinstance(one, Mapping) and isinstance(other, Mapping)):
        return one if one == other else None
    if any(one[key] != other[key] for key in one.keys() & other.keys()):
        return None
    return {**one, **other}


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def option_pairs(options: Options) -> Iterable[tuple[str, str]]:
    """Options of a command line and their words. Nested ones are JSON without a space, so that a
    shell keeps each a word.
    """
    for name, value in options.items():
        yield f"--{_dashed(name)}", _text(value)


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _text(value: object) -> str:
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value, separators=(",", ":"))
    return str(value)
