"""vLLM's ROCM_ATTN: a prefill kernel in Triton, and a decode kernel in HIP, or in Triton where
HIP's does not fit.

Not run on an AMD GPU here: called against the recorded signatures, with the results checked
(tests/test_backends_vllm_rocm.py); the published Triton kernels of 0.32 are right under Triton's
interpreter (tests/engine/test_rocm_attn_kernels.py). Read against vLLM 0.24 and 0.32:
v1/attention/backends/rocm_attn.py, v1/attention/ops/chunked_prefill_paged_decode.py and
prefix_prefill.py; which decode kernel runs is `use_rocm_custom_paged_attention` of
platforms/rocm.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernels_bench.backends._needs import (
    fp8_of_rocm,
    lacks,
    needs_dtype,
    needs_encoder_phase,
    needs_gpu,
    needs_torch,
)
from kernels_bench.backends._releases import release
from kernels_bench.backends._rocm import needs_vllm
from kernels_bench.spec import AttentionSpec, Device, Pages, Phase, Reason, Stack, Support, Variant

if TYPE_CHECKING:
    from kernels_bench.backends.base import Launch, PagedBatch

_PAGED = Variant(
    "paged",
    ("vllm",),
    # HIP's kernel takes 16 and 32 on CDNA and 16 on RDNA; Triton's every multiple of 16.
    tuple(Pages(size) for size in (16, 32, 64, 128, 256)),
    engine_options={"vllm": {"attention_backend": "ROCM_ATTN"}},
)
_HEAD_DIMS = (32, 64, 80, 96, 128, 160, 192, 224, 256)
_FIRST_WITH_WHOLE_WINDOWS = (0, 32)
"""0.24 to 0.31 hand their kernels the window without the query's own key, which they count as
well."""


class VllmRocm:
    """Two kernels, by the length of a request's query."""

    name = "vllm_rocm"

    def variants(self, device: Device, spec: AttentionSpec, stack: Stack) -> tuple[Variant, ...]:
        """One: the page size and the layer decide which decode kernel runs."""
        return (_PAGED,)

    def supports(
        self,
        variant: Variant,
        device: Device,
        spec: AttentionSpec,
        phase: Phase,
        stack: Stack,
    ) -> Support:
        """Neither sinks nor soft caps: vLLM takes the cap and passes it to nobody."""
        return Support(
            (
                *needs_torch(device, stack),
                *needs_gpu(device, "rocm"),
                *needs_vllm(stack),
                *needs_encoder_phase(spec, phase),
                *_limits(spec),
                *_windows(spec, stack),
                *_biases(spec, phase),
                *fp8_of_rocm(device, spec),
                *lacks(spec, "sinks", "chunk", "softcap", "mla", "e5m2_kv", "value_dim"),
                *lacks(spec, "cross", "batch_invariance"),
                *(lacks(spec, "quantized_kv") if spec.attention_type == "encoder_only" else ()),
            )
        )

    def prepare(self, variant: Variant, spec: AttentionSpec, batch: PagedBatch) -> Launch:
        """Bind to a batch; the first on a pool of pages orders them as the kernels want them."""
        from kernels_bench.backends import _vllm_rocm_launches as launches

        if spec.attention_type == "encoder_only":
            return launches.encoder(spec, batch)
        return launches.prefill_and_decode(spec, batch)


def _limits(spec: AttentionSpec) -> list[Reason]:
    reasons = needs_dtype(spec, "bfloat16", "float16", "float32")
    if spec.head_dim not in _HEAD_DIMS:
        *others, last = map(str, _HEAD_DIMS)
        text = f"head_dim {spec.head_dim}: takes {', '.join(others)} and {last}"
        reasons.append(Reason("head_dim", text))
    return reasons


def _windows(spec: AttentionSpec, stack: Stack) -> list[Reason]:
    if spec.sliding_window is None:
        return []
    reasons = []
    version = stack.get("vllm", "")
    if version and release(version) < _FIRST_WITH_WHOLE_WINDOWS:
        text = f"vllm {version} hides one key too many; needs vllm >= 0.32"
        reasons.append(Reason("sliding_window", f"sliding_window {spec.sliding_window}: {text}"))
    if not spec.causal:
        text = "causal false: a window then reaches as far ahead as back, unlike the layer's"
        reasons.append(Reason("causal", text))
    return reasons


def _biases(spec: AttentionSpec, phase: Phase) -> list[Reason]:
    """What the prefill kernel for ALiBi, one of its own, knows nothing of."""
    if not spec.has_alibi:
        return []
    reasons = []
    if not spec.causal:
        reasons.append(Reason("has_alibi", "has_alibi: its kernel hides every later token"))
    if spec.sliding_window is not None and phase is not Phase.DECODE:
        reasons.append(Reason("has_alibi", "has_alibi: its prefill kernel has no window"))
    return reasons


BACKEND = VllmRocm()
