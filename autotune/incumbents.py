"""What would run if nothing were measured: the incumbent of every race.

Data about engines, one place a platform, each with its source. For engine `any` it is the order
that the platform documents.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from kernels_bench.spec import AttentionSpec, Device, DeviceKind

# cpu: a model in plain torch attends through SDPA. transformers 5.23, modeling_utils.py,
#   get_correct_attn_implementation: "sdpa" unless asked otherwise; flex_attention is opt-in.
# cuda: vLLM's order, see below; our own Triton kernels, which no engine lists, stand behind the one
#   that it lists.
# rocm: vLLM 0.33, platforms/rocm.py: ROCM_ATTN (split Triton), ROCM_AITER_FA,
#   ROCM_AITER_UNIFIED_ATTN, TRITON_ATTN.
_ANY: Mapping[DeviceKind, tuple[str, ...]] = MappingProxyType(
    {
        "cpu": ("torch_sdpa", "torch_flex"),
        "cuda": (
            "flash_attn", "flashinfer", "vllm_triton", "triton_unified", "triton_split",
            "torch_flex", "torch_sdpa",
        ),
        "rocm": ("triton_split", "aiter_fa", "aiter_unified", "triton_unified", "torch_sdpa"),
    }
)  # fmt: skip
_ANY_SM10X = (
    "flashinfer", "flash_attn", "vllm_triton", "triton_unified", "triton_split",
    "torch_flex", "torch_sdpa",
)  # fmt: skip

# vLLM 0.33, platforms/cuda.py, `_get_backend_priorities`: FLASH_ATTN, FLASHINFER, TRITON_ATTN,
#   FLEX_ATTENTION; on compute capability 10.x FLASHINFER comes first. The first whose own check
#   passes is taken. platforms/cpu.py: CPU_ATTN, whatever is asked for. ROCm's list is above.
_VLLM: Mapping[DeviceKind, tuple[str, ...]] = MappingProxyType(
    {
        "cpu": ("vllm_cpu",),
        "cuda": ("flash_attn", "flashinfer", "vllm_triton", "torch_flex"),
        "rocm": _ANY["rocm"],
    }
)
_VLLM_SM10X = ("flashinfer", "flash_attn", "vllm_triton", "torch_flex")

# sglang 0.5.23, srt/arg_groups/model_override_base.py, `get_default_attn_backend`, all but MLA: fa3
#   on Hopper, trtllm_mha on compute capability 10.x, otherwise flashinfer, or triton where it is
#   missing or the model has sinks; aiter on ROCm. arg_groups/platform_hook.py and overrides.py: on
#   a CPU intel_amx, and torch_native on Arm or without AMX.
_SGLANG: Mapping[DeviceKind, tuple[str, ...]] = MappingProxyType(
    {
        "cpu": ("sglang_amx", "sglang_native"),
        "cuda": ("flashinfer", "sglang_triton"),
        "rocm": ("aiter_fa",),
    }
)
_SGLANG_SM90 = ("flash_attn", "flashinfer", "sglang_triton")
_SGLANG_SM10X = ("flashinfer_trtllm", "flashinfer", "sglang_triton")
_SGLANG_SINKS = ("sglang_triton",)


def default_order(
    engine: str, device: Device, specs: Sequence[AttentionSpec] = ()
) -> tuple[str, ...]:
    """Backends in the order in which an engine without measurements would take them: the first that
    can run. A name that is no candidate here is one that nobody measures yet.
    """
    is_sm10x = device.arch.startswith("sm_10")
    match engine:
        case "vllm":
            return _VLLM_SM10X if is_sm10x else _VLLM[device.kind]
        case "sglang":
            return _sglang(device, any(spec.has_sinks for spec in specs))
        case _:
            return _ANY_SM10X if is_sm10x else _ANY[device.kind]


def _sglang(device: Device, has_sinks: bool) -> tuple[str, ...]:
    if device.arch == "sm_90":
        return _SGLANG_SM90
    if device.arch.startswith("sm_10"):
        return _SGLANG_SM10X
    if device.kind == "cuda" and has_sinks:
        return _SGLANG_SINKS
    return _SGLANG[device.kind]


def with_variants(order: Sequence[str], labels: Iterable[str]) -> tuple[str, ...]:
    """The order with each backend's "backend:variant" in its place; `labels` stand in the backends'
    own order. A backend that the order does not name comes after all that it names, by name.
    """
    own: dict[str, list[str]] = {}
    for label in dict.fromkeys(labels):
        own.setdefault(label.partition(":")[0], []).append(label)
    names = dict.fromkeys([*order, *sorted(own)])
    return tuple(each for name in names for each in (*own.get(name, ()), name))
