"""What would run if nothing were measured: the incumbent of every race.

Data about engines, one place a platform, each with its source. For engine `any` it is the order
that the platform documents.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from kernels_bench.spec import Device, DeviceKind

# cpu: a model in plain torch attends through SDPA. transformers 5.23, modeling_utils.py,
#   get_correct_attn_implementation: "sdpa" unless asked otherwise; flex_attention is opt-in.
# cuda: vLLM 0.33, platforms/cuda.py: FLASH_ATTN, FLASHINFER, TRITON_ATTN, FLEX_ATTENTION; our own
#   Triton kernels, which no engine lists, stand behind the one that it lists.
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
# The same list on compute capability 10.x puts FLASHINFER first.
_ANY_SM10X = (
    "flashinfer", "flash_attn", "vllm_triton", "triton_unified", "triton_split",
    "torch_flex", "torch_sdpa",
)  # fmt: skip


def default_order(device: Device) -> tuple[str, ...]:
    """Backends in the order in which an engine without measurements would take them."""
    if device.arch.startswith("sm_10"):
        return _ANY_SM10X
    return _ANY[device.kind]


def rank(order: tuple[str, ...], backend: str) -> tuple[int, str]:
    """A sort key: the order first, then whoever it does not name, by name."""
    return (order.index(backend) if backend in order else len(order), backend)
