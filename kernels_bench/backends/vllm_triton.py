"""vLLM's unified Triton kernel, as its TRITON_ATTN runs it.

Read against vLLM 0.24 to 0.33: v1/attention/backends/triton_attn.py and ops/ beside it. From 0.26
on its cache holds a token's key and value side by side; here they lie apart, as before.
"""

from __future__ import annotations

from functools import lru_cache, partial
from importlib import import_module
from typing import TYPE_CHECKING

from kernels_bench.backends._fp8_query import PlainQuery, Quantised, query_for
from kernels_bench.backends._needs import (
    compute_capability,
    lacks,
    needs_dtype,
    needs_encoder_phase,
    needs_gpu,
    needs_torch,
)
from kernels_bench.backends._releases import needs_release, release
from kernels_bench.backends._vllm import CAPTURE_SIZES, bound
from kernels_bench.spec import AttentionSpec, Device, Pages, Phase, Reason, Stack, Support, Variant

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from kernels_bench.backends.base import Launch, PagedBatch

_UNIFIED = Variant(
    "unified",
    ("vllm",),
    tuple(Pages(size) for size in (16, 32, 64, 128, 256)),
    engine_options={"vllm": {"attention_backend": "TRITON_ATTN"}},
)
_FIRST, _LAST = (0, 24), (0, 33)
_FIRST_WITH_64_SEGMENTS = (0, 31)

SEGMENTS = 16
"""Parts of a context that one request's softmax is split into: NUM_PAR_SOFTMAX_SEGMENTS."""
MIN_PROGRAMS = 128
"""A grid of fewer programs than this splits contexts: MIN_LAUNCH_GRID_SIZE_2D."""
MAX_SPLIT_QUERY_LEN = 8
"""Longest query that is split: MAX_3D_QUERY_LEN, from 0.33 on; before that, 1."""


class VllmTriton:
    """One kernel for all phases; short decodes split their contexts."""

    name = "vllm_triton"

    def variants(self, device: Device, spec: AttentionSpec, stack: Stack) -> tuple[Variant, ...]:
        """One: vLLM sets its tiles by fixed rules."""
        return (_UNIFIED,)

    def supports(
        self,
        variant: Variant,
        device: Device,
        spec: AttentionSpec,
        phase: Phase,
        stack: Stack,
    ) -> Support:
        """Everything but chunks, MLA, and fp8_e5m2, which vLLM reads as fp8_e4m3."""
        return Support(
            (
                *needs_torch(device, stack),
                *needs_gpu(device, "cuda", "rocm"),
                *needs_release(stack, "vllm", _FIRST, _LAST, "pip install vllm"),
                *_needs_arch(device, spec, stack),
                *_limits(device, spec, phase),
                *lacks(spec, "chunk", "mla", "e5m2_kv", "value_dim"),
                *needs_encoder_phase(spec, phase),
            )
        )

    def prepare(self, variant: Variant, spec: AttentionSpec, batch: PagedBatch) -> Launch:
        """Bind to a batch; the first `run` of a new kind of layer compiles."""
        return _unified(spec, batch)


def _unified(spec: AttentionSpec, batch: PagedBatch) -> Quantised:
    """A call with the buffers that vLLM's metadata builder would hand it. A split decode launches
    two kernels.
    """
    import torch

    module = import_module("vllm.v1.attention.ops.triton_unified_attention")
    threshold = split_threshold(spec.num_kv_heads)
    rows = threshold * min(batch.max_query_len, MAX_SPLIT_QUERY_LEN)
    padded_dim = 1 << (spec.head_dim - 1).bit_length()
    device = batch.query.device
    output, maxima, sums = _buffers(device, (rows, spec.num_q_heads, SEGMENTS), padded_dim)
    # vLLM leaves the query as it is on ROCm: `supports_quant_query_input`.
    query = query_for(batch) if torch.version.hip is None else PlainQuery(batch)
    is_fp8_query = query.tensor is not batch.query
    call = partial(
        bound(module.unified_attention, spec, batch),
        q=query.tensor,
        q_descale=batch.q_scale if is_fp8_query else None,
        k_descale=_scales(spec, batch, batch.k_scale),
        v_descale=_scales(spec, batch, batch.v_scale),
        # Split or not, a result differs in its last bits: vLLM then never splits.
        seq_threshold_3D=None if spec.batch_invariant else threshold,
        num_par_softmax_segments=SEGMENTS,
        softmax_segm_output=output,
        softmax_segm_max=maxima,
        softmax_segm_expsum=sums,
        alibi_slopes=batch.alibi_slopes,
        sinks=batch.sinks,
    )
    if spec.kv_dtype is None:
        return Quantised(query, call)
    modes = import_module("vllm.v1.kv_cache_interface").KVQuantMode
    return Quantised(query, partial(call, kv_quant_mode=modes.FP8_PER_TENSOR))


def _scales(spec: AttentionSpec, batch: PagedBatch, scale: Tensor | None) -> Tensor:
    """[B, Hkv] of a cache's one scale."""
    import torch

    one = torch.ones((), device=batch.query.device) if scale is None else scale
    return one.expand(len(batch.seq_lens), spec.num_kv_heads)


def split_threshold(num_kv_heads: int) -> int:
    """Most requests whose contexts are split: the capture size nearest to a grid's least width, so
    that each captured graph holds the right one of the two kernels.
    """
    wanted = MIN_PROGRAMS // num_kv_heads
    return min(CAPTURE_SIZES, key=lambda size: abs(size - wanted))


@lru_cache(maxsize=1)
def _buffers(
    device: torch.device, shape: tuple[int, int, int], padded_dim: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Partial outputs, maxima and sums. All launches of a layer share them, as a model's layers do:
    one runs after the other, and each writes what it reads.
    """
    import torch

    empty = partial(torch.empty, dtype=torch.float32, device=device)
    return empty((*shape, padded_dim)), empty(shape), empty(shape)


def _needs_arch(device: Device, spec: AttentionSpec, stack: Stack) -> list[Reason]:
    capability = compute_capability(device)
    if capability is None:
        return []  # on AMD's parts Triton converts fp8 itself where there is no instruction
    reasons = []
    if capability < 80 and spec.dtype == "bfloat16":
        reasons.append(Reason("arch", f"arch {device.arch}: bfloat16 needs sm_80 or later"))
    if capability < 89 and spec.kv_dtype is not None:
        text = f"kv_dtype {spec.kv_dtype}: needs sm_89 or later, this is {device.arch}"
        reasons.append(Reason("kv_dtype", text))
    version = stack.get("vllm", "")
    if capability == 120 and release(version) >= _FIRST_WITH_64_SEGMENTS:
        text = f"arch {device.arch}: vllm {version} splits contexts by a rule of its own there"
        reasons.append(Reason("arch", f"{text}, which is not reproduced"))
    return reasons


def _limits(device: Device, spec: AttentionSpec, phase: Phase) -> list[Reason]:
    reasons = []
    if spec.head_dim < 32:
        text = f"head_dim {spec.head_dim}: vllm takes 32 or more"
        reasons.append(Reason("head_dim", text))
    reasons += needs_dtype(spec, "bfloat16", "float16")
    if not spec.causal and spec.sliding_window is not None and phase is not Phase.DECODE:
        text = "causal false: a window then reaches as far ahead as back, unlike the layer's"
        reasons.append(Reason("causal", text))
    if device.kind == "cuda" and spec.kv_dtype is not None and spec.has_sinks:
        # Weights are rounded to fp8 as they are beside the largest of all logits. Seen on an H200:
        # beside sinks as heavy as all keys of 1,000 tokens, outputs were 40 to 70 % off.
        text = f"kv_dtype {spec.kv_dtype}: beside a heavy sink weights vanish in fp8"
        reasons.append(Reason("kv_dtype", text))
    return reasons


BACKEND = VllmTriton()
