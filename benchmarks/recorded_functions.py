"""What is recorded of published packages: the functions that backends call, each under the module
that it is imported from.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Function:
    """Something that a backend calls."""

    module: str
    """Where it is imported from."""
    name: str
    """ "function" or "Class.method"."""
    defined_in: tuple[str, ...] = ()
    """Files, where it is not the module's own: that of one release or another."""

    @property
    def files(self) -> tuple[str, ...]:
        """Where it may be defined, inside the package's folder."""
        return self.defined_in or (f"{self.module.replace('.', '/')}.py",)


@dataclass(frozen=True)
class Package:
    """What is recorded of a distribution."""

    functions: tuple[Function, ...]
    operators: tuple[Function, ...] = ()
    """`torch.ops.MODULE.NAME`, registered from a Python function of that name."""


def _all(module: str, *names: str, defined_in: str = "") -> tuple[Function, ...]:
    files = (defined_in,) if defined_in else ()
    return tuple(Function(module, name, files) for name in names)


def _wrapper(name: str, defined_in: str) -> tuple[Function, ...]:
    methods = ("__init__", "plan", "run")
    return _all("flashinfer", *(f"{name}.{each}" for each in methods), defined_in=defined_in)


_OPS = "vllm.v1.attention.ops"
_FLASH = "vllm/vllm_flash_attn/flash_attn_interface.py"
PACKAGES = {
    "vllm": Package(
        (
            Function(f"{_OPS}.triton_unified_attention", "unified_attention"),
            Function(f"{_OPS}.chunked_prefill_paged_decode", "chunked_prefill_paged_decode"),
            Function(f"{_OPS}.triton_prefill_attention", "context_attention_fwd"),
            Function(f"{_OPS}.merge_attn_states", "merge_attn_states"),
            Function("vllm.v1.attention.backends.rocm_aiter_fa", "cp_mha_gather_cache"),
            Function("vllm._aiter_ops", "rocm_aiter_ops.flash_attn_varlen_func"),
            *_all(
                "vllm.vllm_flash_attn",
                "flash_attn_varlen_func",
                "get_scheduler_metadata",
                defined_in=_FLASH,
            ),
            *_all(
                "vllm._custom_ops",
                "paged_attention_rocm",
                "cpu_attn_get_scheduler_metadata",
                "cpu_attn_reshape_and_cache",
                "cpu_attention_with_kv_cache",
            ),
        )
    ),
    "amd-aiter": Package(
        (
            Function("aiter", "flash_attn_varlen_func", ("aiter/ops/mha.py",)),
            # Later releases find it under its old name by a hook of the package.
            Function(
                "aiter.ops.triton.unified_attention",
                "unified_attention",
                (
                    "aiter/ops/triton/unified_attention.py",
                    "aiter/ops/triton/attention/unified_attention.py",
                ),
            ),
        ),
        (Function("aiter", "paged_attention_v1", ("aiter/ops/attention.py",)),),
    ),
    "flashinfer-python": Package(
        (
            *_wrapper("BatchPrefillWithPagedKVCacheWrapper", "flashinfer/prefill.py"),
            *_wrapper("BatchDecodeWithPagedKVCacheWrapper", "flashinfer/decode.py"),
            *_all(
                "flashinfer.decode",
                "fast_decode_plan",
                "trtllm_batch_decode_with_kv_cache",
                "xqa_batch_decode_with_kv_cache",
            ),
            Function("flashinfer.prefill", "trtllm_batch_context_with_kv_cache"),
            Function("flashinfer.xqa", "xqa"),
        )
    ),
    "flash-attn-4": Package(
        _all("flash_attn.cute", "flash_attn_varlen_func", defined_in="flash_attn/cute/interface.py")
    ),
    "sglang-kernel": Package(
        _all(
            "sgl_kernel.flash_attn",
            "flash_attn_varlen_func",
            "flash_attn_with_kvcache",
            "get_scheduler_metadata",
        )
    ),
    "flash-attn": Package(
        _all(
            "flash_attn",
            "flash_attn_varlen_func",
            "flash_attn_with_kvcache",
            defined_in="flash_attn/flash_attn_interface.py",
        )
    ),
}
