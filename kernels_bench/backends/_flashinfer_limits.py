"""What FlashInfer's kernels need and take."""

from __future__ import annotations

from typing import Literal, TypeAlias

from kernels_bench.backends import _needs
from kernels_bench.backends._needs import compute_capability, lacks, needs_dtype
from kernels_bench.backends._releases import needs_release
from kernels_bench.spec import AttentionSpec, Device, Phase, Reason, Stack

Kernel: TypeAlias = Literal["fa2", "fa3", "decode", "xqa", "trtllm-gen"]
"""A kernel of its own; a decode with tensor cores is fa2 with one query a request."""

_HEAD_DIMS = (64, 128, 256)
"""fa2 moves 64 numbers at a time and has no registers for 512 (prefill.cuh, `IsInvalid`); fa3 and
what is precompiled stop there too."""
_GROUP_SIZES = (1, 2, 3, 4, 8)
"""utils.cuh, DISPATCH_GQA_GROUP_SIZE: of the decode kernel, compiled here or not."""
_XQA_COMPILED = ((64, 128, 256), (1, 2, 4, 8))
"""Head dimensions and group sizes that flashinfer-jit-cache brings: aot.py, `gen_xqa`."""
_XQA_MOST_GROUP = 32
"""xqa/mha.cu, `nbValidRows`: the query heads of a group share one tile."""
_DECODE_ALONE = ("decode-tc", "decode", "xqa")
"""Variants that take a batch of decodes; all others take every phase."""


def needs_package(kernels: tuple[Kernel, ...], stack: Stack) -> list[Reason]:
    """The package, and the same release of what is precompiled beside it: its import fails
    otherwise.
    """
    reasons = needs_release(
        stack, "flashinfer-python", (0, 6), None, "pip install flashinfer-python"
    )
    ours = stack.get("flashinfer-python")
    beside = "flashinfer-cubin" if "trtllm-gen" in kernels else "flashinfer-jit-cache"
    theirs = stack.get(beside)
    if ours is not None and theirs is not None and not theirs.startswith(ours):
        text = f"{beside} {theirs}: install {ours}, the release of flashinfer-python"
        reasons.append(Reason("package", text))
    if "trtllm-gen" in kernels:
        # Without it the kernels are fetched at the first call, one by one, from NVIDIA's server.
        reasons += _needs.needs_package(stack, beside, f"pip install {beside}")
    return reasons


def needs_compiler(kernels: tuple[Kernel, ...], spec: AttentionSpec, stack: Stack) -> list[Reason]:
    """Kernels come compiled in flashinfer-jit-cache, all but a few; else nvcc compiles each at its
    first use, through ninja.
    """
    if "trtllm-gen" in kernels:
        return []
    is_compiled = _is_in_cache(kernels, spec)
    if is_compiled and "flashinfer-jit-cache" in stack:
        return []
    release = stack.get("flashinfer-python", "of its release")
    instead = f" or flashinfer-jit-cache {release}" if is_compiled else ""
    return [
        *_needs.needs_package(stack, "nvcc", f"install the CUDA toolkit{instead}"),
        *_needs.needs_package(stack, "c++", f"nvcc needs a host compiler: install g++{instead}"),
        *_needs.needs_package(stack, "ninja", f"pip install ninja{instead}"),
    ]


def _is_in_cache(kernels: tuple[Kernel, ...], spec: AttentionSpec) -> bool:
    """flashinfer/aot.py."""
    if spec.kv_dtype == "fp8_e5m2":
        return False
    if "xqa" not in kernels:
        return True
    dims, groups = _XQA_COMPILED
    return spec.head_dim in dims and _group_size(spec) in groups


def needs_arch(name: str, kernels: tuple[Kernel, ...], device: Device) -> list[Reason]:
    """For which NVIDIA parts a kernel was written."""
    capability = compute_capability(device)
    if capability is None:
        return []
    arch, family = f"arch {device.arch}", capability // 10
    reasons = []
    if capability < 80:
        reasons.append(Reason("arch", f"{arch}: needs sm_80 or later"))
    if "fa3" in kernels and family != 9:
        reasons.append(Reason("arch", f"{arch}: fa3 is for sm_90 alone"))
    if "xqa" in kernels and family not in (9, 10, 12):
        reasons.append(Reason("arch", f"{arch}: xqa is for sm_90, sm_10x and sm_12x"))
    if name == "vllm" and family == 10:
        reasons.append(Reason("arch", f"{arch}: vllm runs trtllm-gen there, not these"))
    if "trtllm-gen" in kernels and family != 10:
        reasons.append(Reason("arch", f"{arch}: trtllm-gen is compiled for sm_10x alone"))
    return reasons


def needs_phase(name: str, spec: AttentionSpec, phase: Phase) -> list[Reason]:
    """Which batches a variant takes."""
    if name in _DECODE_ALONE and phase is not Phase.DECODE:
        return [Reason("phase", f"phase {phase.value}: takes one new token a request")]
    return _needs.needs_encoder_phase(spec, phase)


def limits(kernels: tuple[Kernel, ...], spec: AttentionSpec, phase: Phase) -> list[Reason]:
    """Shapes, dtypes and masks."""
    reasons = needs_dtype(spec, "bfloat16", "float16")
    if "xqa" in kernels:
        return reasons + _limits_of_xqa(spec)
    if "trtllm-gen" in kernels:
        return reasons + _limits_of_trtllm_gen(spec)
    if spec.head_dim not in _HEAD_DIMS:
        reasons.append(Reason("head_dim", f"head_dim {spec.head_dim}: takes 64, 128 and 256"))
    if spec.has_alibi:
        text = "has_alibi: the slopes would be FlashInfer's own, not the layer's"
        reasons.append(Reason("has_alibi", text))
    reasons += lacks(spec, "sinks")
    if "fa3" in kernels:
        reasons += lacks(spec, "quantized_kv")
    if "decode" in kernels and spec.num_q_heads not in (
        size * spec.num_kv_heads for size in _GROUP_SIZES
    ):
        reasons.append(Reason("num_q_heads", f"{_heads(spec)}: takes 1, 2, 3, 4 and 8 to one"))
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


def _limits_of_xqa(spec: AttentionSpec) -> list[Reason]:
    """flashinfer/jit/xqa.py and xqa.py."""
    reasons = lacks(spec, "softcap", "alibi", "e5m2_kv")
    if spec.head_dim % 16 or spec.head_dim > 256:
        text = f"head_dim {spec.head_dim}: takes multiples of 16 up to 256"
        reasons.append(Reason("head_dim", text))
    if _group_size(spec) > _XQA_MOST_GROUP:
        reasons.append(Reason("num_q_heads", f"{_heads(spec)}: at most {_XQA_MOST_GROUP} to one"))
    return reasons


def _limits_of_trtllm_gen(spec: AttentionSpec) -> list[Reason]:
    """vllm 0.24, utils/flashinfer.py, and flashinfer/prefill.py."""
    reasons = lacks(spec, "softcap", "alibi", "non_causal", "e5m2_kv")
    if spec.head_dim not in _HEAD_DIMS:
        reasons.append(Reason("head_dim", f"head_dim {spec.head_dim}: takes 64, 128 and 256"))
    return reasons


def _group_size(spec: AttentionSpec) -> int:
    return spec.num_q_heads // spec.num_kv_heads


def _heads(spec: AttentionSpec) -> str:
    return f"num_q_heads {spec.num_q_heads} over num_kv_heads {spec.num_kv_heads}"
