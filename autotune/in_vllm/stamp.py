"""What a config carries of our decision, to every process that vLLM hands it to.

An attribute beside the fields of `AttentionConfig`: pickled with it, no part of its hash, and gone
from the copies that vLLM makes for a draft model by `replace`, whose backend is none of ours.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from autotune.in_vllm.messages import Option

_ATTRIBUTE = "attn_autotune"


@dataclass(frozen=True)
class Stamp:
    """A decision that was applied."""

    taken: Option
    runners_up: tuple[Option, ...]
    """Who is better than vLLM's default, should vLLM refuse the winner."""


def put_stamp(config: Any, stamp: Stamp) -> None:
    """As text, since a process that lacks us must be able to unpickle it."""
    setattr(config, _ATTRIBUTE, json.dumps(dataclasses.asdict(stamp)))


def stamp_of(config: object) -> Stamp | None:
    """None where the config is not of our making."""
    text = getattr(config, _ATTRIBUTE, None)
    if not isinstance(text, str):
        return None
    fields = json.loads(text)
    others = tuple(Option(**each) for each in fields["runners_up"])
    return Stamp(Option(**fields["taken"]), others)
