"""Which calls an engine replays from a CUDA graph, and so must be measured from one."""

from __future__ import annotations

from kernels_bench.spec import Device, Phase, Variant

UNIFORM_PHASES = frozenset({Phase.DECODE, Phase.VERIFY})
"""Phases in which all queries of a batch are of one length, from 1 to a few."""


def engines_capture(device: Device, phase: Phase) -> bool:
    """Whether engines put attention into a graph: that of uniform batches; other attention runs
    eagerly. vLLM 0.33: `FULL_AND_PIECEWISE`, its default; SGLang 0.5: decode and verify.
    """
    return device.kind != "cpu" and phase in UNIFORM_PHASES


def table_tokens(device: Device, phase: Phase, max_model_len: int) -> int:
    """The longest context that a block table has room for: the engine's own where it puts attention
    into a graph; otherwise 0, and the table is as wide as its longest request.
    """
    return max_model_len if engines_capture(device, phase) else 0


def is_captured(device: Device, variant: Variant, phase: Phase) -> bool:
    """Whether a graph holds the call, with the engine's longest context as its maximum."""
    return engines_capture(device, phase) and phase in variant.graph_phases
