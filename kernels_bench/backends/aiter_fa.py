"""AITER's kernels as vLLM's ROCM_AITER_FA calls them: one for prompts, the same in pieces for
chunks over cached tokens, another for decodes.

Not run on an AMD GPU here: called against the recorded signatures, with the results checked
(tests/test_backends_aiter_fa.py). Read against vLLM 0.24 and 0.32,
v1/attention/backends/rocm_aiter_fa.py, and amd-aiter 0.1.10 to 0.1.20, ops/mha.py and
ops/attention.py. vLLM's own check takes more than its calls can do: what they get wrong is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernels_bench.backends._needs import (
    fp8_of_rocm,
    lacks,
    needs_dtype,
    needs_gpu,
    needs_torch,
)
from kernels_bench.backends._rocm import (
    AITER,
    CDNA3_AND_4,
    AiterRelease,
    needs_aiter,
    needs_gfx,
    needs_vllm,
)
from kernels_bench.capture import UNIFORM_PHASES
from kernels_bench.spec import AttentionSpec, Device, Pages, Phase, Reason, Stack, Support, Variant

if TYPE_CHECKING:
    from kernels_bench.backends.base import Launch, PagedBatch

_SPLIT = Variant(
    "split",
    ("vllm", AITER),
    (Pages(16), Pages(32)),
    UNIFORM_PHASES,  # AttentionCGSupport.UNIFORM_BATCH
    {"vllm": {"attention_backend": "ROCM_AITER_FA"}},
)
_HEAD_DIMS = (64, 128, 256)
_FIRST_WITH_SINKS: AiterRelease = (0, 1, 10)
_HEADS_AT_ONCE = 16
"""Query heads of one key head that the decode kernel holds in a matrix instruction; more take equal
parts: csrc/cpp_itfs/pa/pa_kernels.cuh, `GQA_RATIO_PER_LOOP`."""
_OVER_CACHED = (Phase.EXTEND, Phase.MIXED)
"""Phases with chunks over cached tokens."""
_WITH_PROMPTS = (Phase.PREFILL, Phase.EXTEND, Phase.MIXED)
"""Phases that go through the kernel for prompts."""


class AiterFa:
    """Three ways, by what a request's tokens are."""

    name = "aiter_fa"

    def variants(self, device: Device, spec: AttentionSpec, stack: Stack) -> tuple[Variant, ...]:
        """One: vLLM fixes what runs when."""
        return (_SPLIT,)

    def supports(
        self,
        variant: Variant,
        device: Device,
        spec: AttentionSpec,
        phase: Phase,
        stack: Stack,
    ) -> Support:
        """By phase, since each of the three ways forgets something else."""
        return Support(
            (
                *needs_torch(device, stack),
                *needs_gpu(device, "rocm"),
                *needs_gfx(device, *CDNA3_AND_4),
                *needs_vllm(stack),
                *needs_aiter(stack, _FIRST_WITH_SINKS, "whose prefill takes sinks"),
                *_limits(spec, phase),
                *_masks(spec, phase),
                *_over_cached(spec, phase),
                *fp8_of_rocm(device, spec),
                *(lacks(spec, "softcap") if phase in _WITH_PROMPTS else ()),
                *lacks(spec, "chunk", "mla", "e5m2_kv", "value_dim"),
                *lacks(spec, "encoder_only", "cross", "batch_invariance"),
            )
        )

    def prepare(self, variant: Variant, spec: AttentionSpec, batch: PagedBatch) -> Launch:
        """Bind to a batch; decodes of one length alone are one call, that a graph may hold."""
        from kernels_bench.backends import _aiter_fa_launches as launches

        return launches.aiter_fa(spec, batch)


def _limits(spec: AttentionSpec, phase: Phase) -> list[Reason]:
    reasons = needs_dtype(spec, "bfloat16", "float16")
    if spec.head_dim not in _HEAD_DIMS:
        text = f"head_dim {spec.head_dim}: takes 64, 128 and 256"
        reasons.append(Reason("head_dim", text))
    group = spec.num_q_heads // spec.num_kv_heads
    if phase in (Phase.DECODE, Phase.MIXED) and group % -(-group // _HEADS_AT_ONCE):
        text = f"num_q_heads {spec.num_q_heads} over {spec.num_kv_heads}: a decode takes"
        reasons.append(Reason("num_q_heads", f"{text} groups of 16, or of equal parts up to 16"))
    return reasons


def _masks(spec: AttentionSpec, phase: Phase) -> list[Reason]:
    if spec.causal:
        return []
    reasons = []
    if phase is not Phase.PREFILL:
        text = "causal false: over cached tokens vLLM asks for the causal mask all the same"
        reasons.append(Reason("causal", text))
    if spec.sliding_window is not None or spec.has_alibi:
        text = "causal false: windows and ALiBi then look ahead as well, unlike the layer's"
        reasons.append(Reason("causal", text))
    return reasons


def _over_cached(spec: AttentionSpec, phase: Phase) -> list[Reason]:
    """Without a window vLLM attends to a chunk and to each part of its context by itself, and adds
    up: `extend_forward`.
    """
    if phase not in _OVER_CACHED or spec.sliding_window is not None:
        return []
    reasons = []
    if spec.has_sinks:
        text = "has_sinks: over cached tokens vLLM adds the sink once for each part of the context"
        reasons.append(Reason("has_sinks", text))
    if spec.has_alibi:
        text = "has_alibi: over cached tokens vLLM counts distances from the end of each part"
        reasons.append(Reason("has_alibi", text))
    return reasons


BACKEND = AiterFa()
