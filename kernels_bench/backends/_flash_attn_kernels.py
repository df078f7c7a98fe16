"""What each build of FlashAttention can do, and what it needs.

Read against vLLM 0.13 to 0.33 (version 4: 0.24), flash-attn 2.6 to 2.8, flash-attn-4 4.0.0b36,
sglang-kernel 0.4.10, and hopper/ of Dao-AILab/flash-attention.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from kernels_bench.backends._needs import Feature, compute_capability, needs_dtype, needs_package
from kernels_bench.backends._releases import Release, needs_release
from kernels_bench.spec import AttentionSpec, Device, Pages, Phase, Reason, Stack

Version: TypeAlias = Literal[2, 3, 4]

_PAGES = tuple(Pages(size) for size in (16, 32, 64, 128, 256))
"""vLLM's default first; it takes multiples of 16."""
_PAGES_OF_SGLANG = (Pages(1), *_PAGES)
"""sglang 0.5.23 keeps token by token unless it is told otherwise."""
_COMPILER_OF_4 = ("nvidia-cutlass-dsl", "quack-kernels")
"""Version 4 is written in Python, and compiled at its first use."""


@dataclass(frozen=True)
class Kernel:
    """One version from one provider."""

    version: Version
    distribution: str
    first: Release
    """Releases before this one have another interface."""
    missing: tuple[Feature, ...]
    what_to_do: str
    pages: tuple[Pages, ...] = _PAGES
    beside: tuple[str, ...] = ()
    """Distributions that it compiles with."""

    @property
    def name(self) -> str:
        """As `Variant.name`."""
        return f"fa{self.version}@{self.distribution}"

    @property
    def packages(self) -> tuple[str, ...]:
        """As `Variant.packages`."""
        return (self.distribution, *self.beside)


_VLLM = "pip install vllm"
KERNELS = (
    Kernel(3, "vllm", (0, 13), ("alibi", "chunk", "mla", "e5m2_kv", "value_dim"), _VLLM),
    Kernel(2, "vllm", (0, 13), ("sinks", "chunk", "mla", "quantized_kv", "value_dim"), _VLLM),
    Kernel(
        4,
        "vllm",
        (0, 24),
        # fa_utils.py: its schedule follows the shape of the batch
        ("alibi", "chunk", "mla", "quantized_kv", "batch_invariance"),
        _VLLM,
        beside=_COMPILER_OF_4,
    ),
    Kernel(
        3,
        "sglang-kernel",
        (0, 4),
        ("alibi", "mla", "e5m2_kv", "value_dim", "batch_invariance"),
        "pip install sglang-kernel",
        pages=_PAGES_OF_SGLANG,
    ),
    Kernel(
        3,
        "flash-attn-3",
        (3, 0),
        ("alibi", "sinks", "mla", "e5m2_kv", "value_dim"),
        "build it from hopper/ of Dao-AILab/flash-attention",
    ),
    Kernel(
        4,
        "flash-attn-4",
        (4, 0),
        ("alibi", "chunk", "mla", "quantized_kv", "batch_invariance"),
        "pip install --pre flash-attn-4",
        beside=_COMPILER_OF_4,
    ),
    Kernel(
        2,
        "flash-attn",
        (2, 6),
        ("sinks", "chunk", "mla", "quantized_kv", "value_dim", "batch_invariance"),
        "pip install flash-attn",
        # csrc/flash_attn/flash_api.cpp: "Paged KV cache block size must be divisible by 256"
        pages=(Pages(256),),
    ),
)
BY_NAME = {kernel.name: kernel for kernel in KERNELS}


def needs_build(kernel: Kernel, stack: Stack) -> list[Reason]:
    """The distribution, in a release whose interface is known, and what it compiles with."""
    reasons = needs_release(stack, kernel.distribution, kernel.first, None, kernel.what_to_do)
    for name in kernel.beside:
        reasons += needs_package(stack, name, f"{kernel.name} compiles with it: pip install {name}")
    return reasons


def needs_arch(kernel: Kernel, device: Device) -> list[Reason]:
    """For which NVIDIA parts a version was written."""
    capability = compute_capability(device)
    if capability is None or capability // 10 in _families(kernel):
        return []
    return [Reason("arch", f"arch {device.arch}: {_family_text(kernel)}")]


def _families(kernel: Kernel) -> tuple[int, ...]:
    match kernel.version:
        case 2:
            return (8, 9, 10, 11, 12)
        case 3 if kernel.distribution == "sglang-kernel":
            return (8, 9)  # sgl_kernel/flash_attn.py, `is_fa3_supported`
        case 3:
            return (9,)
        case 4:
            # cute/interface.py: "paged KV not supported on SM 8.0", nor on 12.0; vLLM's build asks
            # for the same three: flash_attn_interface.py, `_is_fa4_supported`.
            return (9, 10, 11)


def _family_text(kernel: Kernel) -> str:
    match kernel.version:
        case 2:
            return "FlashAttention 2 needs sm_80 or later"
        case 3 if kernel.distribution == "sglang-kernel":
            return "FlashAttention 3 is for sm_8x and sm_90 there"
        case 3:
            return "FlashAttention 3 is for sm_90 alone"
        case 4:
            return "FlashAttention 4 reads pages on sm_90, sm_10x and sm_110"


def limits(kernel: Kernel, device: Device, spec: AttentionSpec, phase: Phase) -> list[Reason]:
    """Head dimensions, dtypes, and masks that it means otherwise."""
    reasons = []
    if (most := _most_head_dim(kernel, device)) < spec.head_dim:
        reasons.append(Reason("head_dim", f"head_dim {spec.head_dim}: at most {most}"))
    # cute/paged_kv.py: pages come to shared memory in pieces of 16 numbers.
    step = 16 if kernel.version == 4 else 8
    if spec.head_dim % step:
        reasons.append(Reason("head_dim", f"head_dim {spec.head_dim}: a multiple of {step}"))
    if kernel.version == 4:
        reasons += _value_dims_of_4(device, spec)
    reasons += needs_dtype(spec, "bfloat16", "float16")
    is_behind = spec.causal or phase is Phase.DECODE  # a newest token has nothing ahead of it
    if not is_behind and (spec.sliding_window is not None or spec.has_alibi):
        # Windows reach as far ahead as back in vLLM, and ALiBi counts distance, not direction.
        text = "causal false: windows and ALiBi then look ahead as well, unlike the layer's"
        reasons.append(Reason("causal", text))
    if kernel.version == 3 and spec.kv_dtype == "fp8_e4m3" and compute_capability(device) != 90:
        reasons.append(Reason("kv_dtype", f"kv_dtype {spec.kv_dtype}: on sm_90 alone"))
    return reasons


def _value_dims_of_4(device: Device, spec: AttentionSpec) -> list[Reason]:
    """cute/interface.py, `_validate_head_dims`: on Blackwell DeepSeek's pair alone may differ."""
    is_equal, pair = spec.value_dim == spec.head_dim, (spec.head_dim, spec.value_dim)
    if is_equal or (compute_capability(device) == 90 and spec.value_dim % 16 == 0):
        return []
    if compute_capability(device) != 90 and pair == (192, 128):
        return []
    text = f"head_dim_v {spec.value_dim}: must equal head_dim {spec.head_dim} on {device.arch}"
    return [Reason("head_dim_v", text)]


def _most_head_dim(kernel: Kernel, device: Device) -> int:
    if kernel.version != 4:
        return 256
    # cute/interface.py, `_validate_head_dims`; above 128 vLLM takes version 2 on Blackwell.
    return 512 if compute_capability(device) == 90 else 128
