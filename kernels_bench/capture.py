"""Which calls an engine replays from a CUDA graph, and so must be measured from one."""

from __future__ import annotations

from kernels_bench.spec import Device, Phase, Variant

FULL_GRAPH_PHASES = frozenset({Phase.DECODE, Phase.VERIFY})
"""Phases whose batches are uniform, which engines capture with attention inside; the others run
attention eagerly. vLLM 0.33: `FULL_AND_PIECEWISE`, its default; SGLang 0.5: decode and verify.
"""


def is_captured(device: Device, variant: Variant, phase: Phase) -> bool:
    """Whether a graph holds the call, with the engine's longest context as its maximum."""
    return device.kind != "cpu" and phase in FULL_GRAPH_PHASES and phase in variant.graph_phases
