"""What SGLang takes by itself. tests/published/defaults-sglang-0.5.23.json holds what its own code
says.

sglang 0.5.23, srt/arg_groups: model_override_base.py, `get_default_attn_backend`, all but MLA;
platform_hook.py for a CPU; overrides.py for what comes before and after. It takes one and looks for
no other; those behind the first are what it takes where that one is missing. A model may have a
rule of its own in model_overrides/: of these only Llama 4's can be told from the layers.
"""

from __future__ import annotations

from collections.abc import Sequence

from kernels_bench.spec import AttentionSpec, Device

# Its names: fa3 and fa4, flashinfer, trtllm_mha, triton, aiter, intel_amx, torch_native.
_FA, _TRITON, _TRTLLM = "flash_attn", "sglang_triton", "flashinfer_trtllm"
_FLASHINFER = ("flashinfer", _TRITON)


def sglang_order(device: Device, specs: Sequence[AttentionSpec]) -> tuple[str, ...]:
    """The model's one backend, and what stands in for it."""
    match device.kind:
        case "cpu":
            # intel_amx but on Arm; `_attention_backend_platform_fallbacks`: without AMX neither.
            has_amx = "amx" in device.arch.split("+")
            return ("sglang_amx", "sglang_native") if has_amx else ("sglang_native",)
        case "cuda":
            return _cuda(device.arch, specs)
        case "rocm":
            # `_deterministic_attention_backend` looks at compute capabilities alone, there too.
            return (_FA,) if _is_invariant(specs) else ("aiter_fa",)


def _cuda(arch: str, specs: Sequence[AttentionSpec]) -> tuple[str, ...]:
    is_sm10x, is_hopper = arch.startswith("sm_10"), arch == "sm_90"
    if _is_invariant(specs):
        return ("flashinfer",) if is_sm10x or arch.startswith("sm_12") else (_FA,)
    is_llama4 = any(spec.attention_chunk is not None for spec in specs)
    if is_sm10x:
        # trtllm_mha wants keys and values of one width; fa4 takes others. Llama 4 has one width.
        is_one_width = all(spec.value_dim == spec.head_dim for spec in specs)
        return (_TRTLLM if is_one_width else _FA, *_FLASHINFER)
    if is_hopper:
        # `_attention_backend_fa3_fp8_fallback`: of the 8-bit caches, fa3 reads e4m3 alone.
        has_e5m2 = any(spec.kv_dtype == "fp8_e5m2" for spec in specs)
        return (_TRITON,) if has_e5m2 else (_FA, *_FLASHINFER)
    has_sinks = any(spec.has_sinks for spec in specs)
    return (_TRITON,) if is_llama4 or has_sinks else _FLASHINFER


def _is_invariant(specs: Sequence[AttentionSpec]) -> bool:
    """--enable-deterministic-inference"""
    return any(spec.batch_invariant for spec in specs)
