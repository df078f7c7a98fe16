"""FlashInfer over a paged cache: its prefill kernels, its decode kernel, and what vLLM's FLASHINFER
makes of them.

Read against flashinfer-python 0.6.12. Its precompiled cubins are TensorRT-LLM's kernels, which
none of these variants runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from kernels_bench.backends._needs import (
    compute_capability,
    lacks,
    needs_dtype,
    needs_gpu,
    needs_package,
    needs_torch,
)
from kernels_bench.backends._releases import needs_release
from kernels_bench.capture import UNIFORM_PHASES
from kernels_bench.spec import AttentionSpec, Device, Pages, Phase, Reason, Stack, Support, Variant

if TYPE_CHECKING:
    from kernels_bench.backends.base import Launch, PagedBatch

_PACKAGES = ("flashinfer-python", "flashinfer-jit-cache", "nvcc", "c++", "ninja")
_PAGES = tuple(Pages(size) for size in (16, 32, 64))
"""vLLM's: larger ones go to TensorRT-LLM's kernels."""
_DECODE = frozenset({Phase.DECODE})
_HEAD_DIMS = (64, 128, 256)
"""fa2 moves 64 numbers at a time and has no registers for 512 (prefill.cuh, `IsInvalid`); fa3 and
what is precompiled stop there too."""
_GROUP_SIZES = (1, 2, 3, 4, 8)
"""utils.cuh, DISPATCH_GQA_GROUP_SIZE: of the decode kernel, compiled here or not."""

_Kernel: TypeAlias = Literal["fa2", "fa3", "decode"]
"""A kernel of its own; a decode with tensor cores is fa2 with one query a request."""


_VARIANTS = (
    Variant(
        "vllm",
        _PACKAGES,
        _PAGES,
        _DECODE,  # AttentionCGSupport.UNIFORM_SINGLE_TOKEN_DECODE
        {"vllm": {"attention_backend": "FLASHINFER"}},
    ),
    Variant("fa2", _PACKAGES, _PAGES, UNIFORM_PHASES),
    Variant("fa3", _PACKAGES, _PAGES, UNIFORM_PHASES),
    Variant("decode", _PACKAGES, _PAGES, _DECODE),
    # Last, since no more than four are raced: it decodes with the same kernel as "vllm".
    Variant("decode-tc", _PACKAGES, _PAGES, _DECODE),
)
_DECODE_WRAPPER = ("decode-tc", "decode")
"""Variants that take a batch of decodes alone; all others take every phase."""


class FlashInfer:
    """Five ways to run the same batch on one library's wrappers."""

    name = "flashinfer"

    def variants(self, device: Device, spec: AttentionSpec, stack: Stack) -> tuple[Variant, ...]:
        """All; the first is what an engine runs by default."""
        return _VARIANTS

    def supports(
        self,
        variant: Variant,
        device: Device,
        spec: AttentionSpec,
        phase: Phase,
        stack: Stack,
    ) -> Support:
        """Causal or not, windows, soft caps, and fp8 caches on all but fa3."""
        kernels = _kernels(variant.name, device, spec)
        return Support(
            (
                *needs_torch(device, stack),
                *needs_gpu(device, "cuda"),
                *_needs_package(stack),
                *_needs_compiler(spec, stack),
                *_needs_arch(variant.name, kernels, device),
                *_needs_phase(variant.name, phase),
                *_limits(kernels, spec, phase),
                *lacks(spec, "sinks", "chunk", "mla", "value_dim"),
                *(lacks(spec, "quantized_kv") if "fa3" in kernels else ()),
            )
        )

    def prepare(self, variant: Variant, spec: AttentionSpec, batch: PagedBatch) -> Launch:
        """Bind to a batch; the first plan of a kind of layer loads its kernel or compiles it."""
        from kernels_bench.backends import _flashinfer_launches as launches

        match variant.name:
            case "fa2" | "fa3" as kernel:
                return launches.prefill(spec, batch, kernel)
            case "decode-tc" | "decode" as name:
                return launches.decode(spec, batch, use_tensor_cores=name == "decode-tc")
            case _:
                return launches.as_vllm(spec, batch)


def _kernels(name: str, device: Device, spec: AttentionSpec) -> tuple[_Kernel, ...]:
    """What a variant runs in one phase or another."""
    match name:
        case "fa3":
            return ("fa3",)
        case "decode":
            return ("decode",)
        case "vllm" if _takes_fa3(device, spec):
            return ("fa2", "fa3")
        case _:
            return ("fa2",)


def _takes_fa3(device: Device, spec: AttentionSpec) -> bool:
    """What backend "auto" prefills with: flashinfer/utils.py, `determine_attention_backend`."""
    capability = compute_capability(device)
    return capability is not None and capability // 10 == 9 and spec.kv_dtype is None


def _needs_package(stack: Stack) -> list[Reason]:
    """The package, and the same release of the cache beside it: its import fails otherwise."""
    reasons = needs_release(
        stack, "flashinfer-python", (0, 6), None, "pip install flashinfer-python"
    )
    ours, cache = stack.get("flashinfer-python"), stack.get("flashinfer-jit-cache")
    if ours is not None and cache is not None and not cache.startswith(ours):
        text = f"flashinfer-jit-cache {cache}: install {ours}, the release of flashinfer-python"
        reasons.append(Reason("package", text))
    return reasons


def _needs_compiler(spec: AttentionSpec, stack: Stack) -> list[Reason]:
    """Kernels come compiled in flashinfer-jit-cache, all but those for e5m2 (flashinfer/aot.py);
    else nvcc compiles each at its first use, through ninja.
    """
    if "flashinfer-jit-cache" in stack and spec.kv_dtype != "fp8_e5m2":
        return []
    release = stack.get("flashinfer-python", "of its release")
    instead = f" or flashinfer-jit-cache {release}" if spec.kv_dtype != "fp8_e5m2" else ""
    return [
        *needs_package(stack, "nvcc", f"install the CUDA toolkit{instead}"),
        *needs_package(stack, "c++", f"nvcc needs a host compiler: install g++{instead}"),
        *needs_package(stack, "ninja", f"pip install ninja{instead}"),
    ]


def _needs_arch(name: str, kernels: tuple[_Kernel, ...], device: Device) -> list[Reason]:
    capability = compute_capability(device)
    if capability is None:
        return []
    arch = f"arch {device.arch}"
    if capability < 80:
        return [Reason("arch", f"{arch}: needs sm_80 or later")]
    if "fa3" in kernels and capability // 10 != 9:
        return [Reason("arch", f"{arch}: fa3 is for sm_90 alone")]
    if name == "vllm" and capability // 10 == 10:
        return [Reason("arch", f"{arch}: vllm runs TensorRT-LLM's kernels there, not these")]
    return []


def _needs_phase(name: str, phase: Phase) -> list[Reason]:
    if name not in _DECODE_WRAPPER or phase is Phase.DECODE:
        return []
    return [Reason("phase", f"phase {phase.value}: takes one new token a request")]


def _limits(kernels: tuple[_Kernel, ...], spec: AttentionSpec, phase: Phase) -> list[Reason]:
    reasons = []
    if spec.head_dim not in _HEAD_DIMS:
        reasons.append(Reason("head_dim", f"head_dim {spec.head_dim}: takes 64, 128 and 256"))
    reasons += needs_dtype(spec, "bfloat16", "float16")
    if spec.has_alibi:
        text = "has_alibi: the slopes would be FlashInfer's own, not the layer's"
        reasons.append(Reason("has_alibi", text))
    if "decode" in kernels and spec.num_q_heads not in (
        size * spec.num_kv_heads for size in _GROUP_SIZES
    ):
        heads = f"num_q_heads {spec.num_q_heads} over num_kv_heads {spec.num_kv_heads}"
        text = f"{heads}: takes 1, 2, 3, 4 and 8 to one"
        reasons.append(Reason("num_q_heads", text))
    if (
        kernels == ("fa2",)
        and not spec.causal
        and spec.sliding_window is not None
        and phase is not Phase.DECODE
    ):
        # flashinfer issue 4972: chunks are sized for keys up to the query's own.
        text = f"sliding_window {spec.sliding_window}: fa2 loses keys where causal is false"
        reasons.append(Reason("sliding_window", text))
    return reasons


BACKEND = FlashInfer()
