"""Requests that stand for a profile's traffic in a whole engine: how many, and how long."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from autotune.errors import UsageError
from autotune.profiles import Profile

_GRAMMAR = re.compile(r"(\d{1,6})x(\d{1,6})(k?)\+(\d{1,6})")


@dataclass(frozen=True)
class Load:
    """A batch of requests that are handed over together."""

    requests: int
    input_tokens: int
    """Of each, none of which another request shares."""
    output_tokens: int
    """Of each, whatever the model would say."""

    @property
    def text(self) -> str:
        """As `parse_load` reads it."""
        tokens = self.input_tokens
        prompt = f"{tokens // 1024}k" if tokens % 1024 == 0 else f"{tokens}"
        return f"{self.requests}x{prompt}+{self.output_tokens}"

    @property
    def longest(self) -> int:
        """Tokens of a request at its end."""
        return self.input_tokens + self.output_tokens

    def within(self, max_model_len: int) -> Load:
        """With shorter prompts where a request would be longer than a model takes."""
        over = max(0, self.longest - max_model_len)
        return Load(self.requests, max(1, self.input_tokens - over), self.output_tokens)

    def scaled(self, divisor: int) -> Load:
        """A smaller one with the same prompts, to warm up by."""
        return Load(
            -(-self.requests // divisor),
            self.input_tokens,
            max(2, -(-self.output_tokens // divisor)),
        )


CHAT = Load(256, 1024, 128)
CODE = Load(128, 2048, 28)
"""The means of Azure's 2023 trace of code completion (Splitwise, table of inputs and outputs)."""
LONG = Load(24, 8192, 64)
DECODE_HEAVY = Load(256, 64, 512)
SINGLE = Load(1, 1024, 128)
_LOADS: Mapping[str, tuple[Load, ...]] = MappingProxyType(
    {
        "balanced": (CHAT, LONG, DECODE_HEAVY),
        "chat": (CHAT,),
        "code": (CODE,),
        "long-context": (LONG,),
        "decode-heavy": (DECODE_HEAVY,),
    }
)


def loads_of(profile: Profile) -> tuple[Load, ...]:
    """Those that stand for a built-in profile; raises UsageError for one's own."""
    if profile.is_own or profile.name not in _LOADS:
        raise UsageError(
            f"profile {profile.name}: its weights say what a step holds, not which requests come;"
            " give --load REQUESTSxINPUT+OUTPUT, as 256x1k+128"
        )
    return _LOADS[profile.name]


def parse_load(text: str) -> Load:
    """From "256x1k+128"; raises UsageError."""
    match = _GRAMMAR.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f"load {text!r}: expected REQUESTSxINPUT+OUTPUT, the last two in tokens, as 256x1k+128"
        )
    requests, tokens, kilo, output = match.groups()
    load = Load(int(requests), int(tokens) * (1024 if kilo else 1), int(output))
    if not (load.requests and load.input_tokens and load.output_tokens > 1):
        raise UsageError(f"load {text!r}: at least one request, one token in and two out")
    return load
