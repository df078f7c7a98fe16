"""FlashInfer over a paged cache: its prefill kernels, its decode kernel, TensorRT-LLM's two, and
what vLLM's FLASHINFER makes of them.

Read against flashinfer-python 0.6.12 and 0.7.4. Its precompiled cubins are TensorRT-LLM's kernels
for Blackwell ("trtllm-gen"); all else is compiled.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kernels_bench.backends._flashinfer_limits import (
    Kernel,
    limits,
    needs_arch,
    needs_compiler,
    needs_package,
    needs_phase,
)
from kernels_bench.backends._needs import compute_capability, lacks, needs_gpu, needs_torch
from kernels_bench.capture import UNIFORM_PHASES
from kernels_bench.spec import AttentionSpec, Device, Pages, Phase, Stack, Support, Variant

if TYPE_CHECKING:
    from kernels_bench.backends.base import Launch, PagedBatch

_PACKAGES = ("flashinfer-python", "flashinfer-jit-cache", "nvcc", "c++", "ninja")
_PAGES = tuple(Pages(size) for size in (16, 32, 64))
"""vLLM's: larger ones go to TensorRT-LLM's kernels."""
_DECODE = frozenset({Phase.DECODE})
_VLLM = {"vllm": {"attention_backend": "FLASHINFER"}}

_TRTLLM_GEN = Variant(
    "trtllm-gen",
    ("flashinfer-python", "flashinfer-cubin"),
    # vLLM keeps heads before tokens there: `get_required_kv_cache_layout`.
    tuple(Pages(size, "HND") for size in (16, 32, 64)),
    UNIFORM_PHASES,  # AttentionCGSupport.UNIFORM_BATCH
)
_VARIANTS = (
    # AttentionCGSupport.UNIFORM_SINGLE_TOKEN_DECODE
    Variant("vllm", _PACKAGES, _PAGES, _DECODE, _VLLM),
    Variant("fa2", _PACKAGES, _PAGES, UNIFORM_PHASES),
    Variant("fa3", _PACKAGES, _PAGES, UNIFORM_PHASES),
    Variant("xqa", _PACKAGES, tuple(Pages(size) for size in (16, 32, 64, 128)), _DECODE),
    Variant("decode", _PACKAGES, _PAGES, _DECODE),
    # Last, since no more than four are raced: it decodes with the same kernel as "vllm".
    Variant("decode-tc", _PACKAGES, _PAGES, _DECODE),
)


class FlashInfer:
    """Seven ways to run the same batch on one library."""

    name = "flashinfer"

    def variants(self, device: Device, spec: AttentionSpec, stack: Stack) -> tuple[Variant, ...]:
        """All; the first is what vLLM runs by default."""
        if _is_blackwell(device):
            return (replace(_TRTLLM_GEN, engine_options=_VLLM), *_VARIANTS[1:])
        if not spec.causal:  # vLLM gives such decodes to the prefill wrapper, outside of any graph
            eager = replace(_VARIANTS[0], graph_phases=frozenset())
            return (eager, *_VARIANTS[1:], _TRTLLM_GEN)
        return (*_VARIANTS, _TRTLLM_GEN)

    def supports(
        self,
        variant: Variant,
        device: Device,
        spec: AttentionSpec,
        phase: Phase,
        stack: Stack,
    ) -> Support:
        """Causal or not, windows, soft caps and fp8 caches on the library's own kernels; sinks on
        TensorRT-LLM's.
        """
        kernels = _kernels(variant.name, device, spec)
        return Support(
            (
                *needs_torch(device, stack),
                *needs_gpu(device, "cuda"),
                *needs_package(kernels, stack),
                *needs_compiler(kernels, spec, stack),
                *needs_arch(variant.name, kernels, device),
                *needs_phase(variant.name, spec, phase),
                *limits(kernels, spec, phase),
                *lacks(spec, "chunk", "mla", "value_dim", "batch_invariance"),
                *(lacks(spec, "encoder_only", "cross") if variant.name == "vllm" else ()),
            )
        )

    def prepare(self, variant: Variant, spec: AttentionSpec, batch: PagedBatch) -> Launch:
        """Bind to a batch; the first plan of a kind of layer loads its kernel or compiles it."""
        from kernels_bench.backends import _flashinfer_launches as launches
        from kernels_bench.backends import _flashinfer_trtllm as trtllm

        match variant.name:
            case "fa2" | "fa3" as kernel:
                return launches.prefill(spec, batch, kernel)
            case "decode-tc" | "decode" as name:
                return launches.decode(spec, batch, use_tensor_cores=name == "decode-tc")
            case "xqa":
                return trtllm.xqa(spec, batch)
            case "trtllm-gen":
                return trtllm.trtllm_gen(spec, batch)
            case _:
                return launches.as_vllm(spec, batch)


def _kernels(name: str, device: Device, spec: AttentionSpec) -> tuple[Kernel, ...]:
    """What a variant runs in one phase or another."""
    match name:
        case "fa3" | "decode" | "xqa" | "trtllm-gen" as kernel:
            return (kernel,)
        case "vllm" if _takes_fa3(device, spec):
            return ("fa2", "fa3")
        case _:
            return ("fa2",)


def _takes_fa3(device: Device, spec: AttentionSpec) -> bool:
    """What backend "auto" prefills with: flashinfer/utils.py, `determine_attention_backend`."""
    capability = compute_capability(device)
    return capability is not None and capability // 10 == 9 and spec.kv_dtype is None


def _is_blackwell(device: Device) -> bool:
    """Where vLLM gives its batches to TensorRT-LLM's kernels: `supports_trtllm_attention`."""
    capability = compute_capability(device)
    return capability is not None and capability // 10 == 10


BACKEND = FlashInfer()
