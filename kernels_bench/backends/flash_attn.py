"""FlashAttention over a paged cache: vLLM's own builds of versions 2 and 3, and the packages.

Read against vLLM 0.13 to 0.33, flash-attn 2.6 to 2.8, and hopper/ of Dao-AILab/flash-attention.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from kernels_bench.backends._needs import (
    Feature,
    compute_capability,
    lacks,
    needs_dtype,
    needs_gpu,
    needs_torch,
)
from kernels_bench.backends._releases import Release, needs_release
from kernels_bench.capture import UNIFORM_PHASES
from kernels_bench.spec import AttentionSpec, Device, Pages, Phase, Reason, Stack, Support, Variant

if TYPE_CHECKING:
    from kernels_bench.backends.base import Launch, PagedBatch

_PAGES = tuple(Pages(size) for size in (16, 32, 64, 128, 256))
"""vLLM's default first; it takes multiples of 16."""


@dataclass(frozen=True)
class _Kernel:
    """One version from one provider."""

    version: Literal[2, 3]
    distribution: str
    first: Release
    """Releases before this one have another interface."""
    missing: tuple[Feature, ...]
    what_to_do: str
    pages: tuple[Pages, ...] = _PAGES

    @property
    def name(self) -> str:
        """As `Variant.name`."""
        return f"fa{self.version}@{self.distribution}"


_FA3 = _Kernel(
    3,
    "vllm",
    (0, 13),
    ("alibi", "chunk", "mla", "quantized_kv", "value_dim"),
    "pip install vllm",
)
_FA2 = _Kernel(
    2,
    "vllm",
    (0, 13),
    ("sinks", "chunk", "mla", "quantized_kv", "value_dim"),
    "pip install vllm",
)
_FA3_PACKAGE = _Kernel(
    3,
    "flash-attn-3",
    (3, 0),
    ("alibi", "sinks", "mla", "quantized_kv", "value_dim"),
    "build it from hopper/ of Dao-AILab/flash-attention",
)
_FA2_PACKAGE = _Kernel(
    2,
    "flash-attn",
    (2, 6),
    ("sinks", "chunk", "mla", "quantized_kv", "value_dim"),
    "pip install flash-attn",
    # csrc/flash_attn/flash_api.cpp: "Paged KV cache block size must be divisible by 256"
    pages=(Pages(256),),
)
_KERNELS = {kernel.name: kernel for kernel in (_FA3, _FA2, _FA3_PACKAGE, _FA2_PACKAGE)}


class FlashAttn:
    """The same algorithm as compiled by three distributions."""

    name = "flash_attn"

    def variants(self, device: Device, spec: AttentionSpec, stack: Stack) -> tuple[Variant, ...]:
        """All; the version that vLLM prefers among these two comes first."""
        preferred = _vllm_takes(device, spec) or 2
        kernels = sorted(_KERNELS.values(), key=lambda kernel: kernel.version != preferred)
        return tuple(
            Variant(
                kernel.name,
                (kernel.distribution,),
                kernel.pages,
                # vLLM: AttentionCGSupport.ALWAYS for version 3, UNIFORM_BATCH for version 2
                frozenset(Phase) if kernel.version == 3 else UNIFORM_PHASES,
                _engine_options(kernel, device, spec),
            )
            for kernel in kernels
        )

    def supports(
        self,
        variant: Variant,
        device: Device,
        spec: AttentionSpec,
        phase: Phase,
        stack: Stack,
    ) -> Support:
        """Everything but quantised caches, MLA, and what one of the versions lacks."""
        kernel = _KERNELS[variant.name]
        return Support(
            (
                *needs_torch(device, stack),
                *needs_gpu(device, "cuda"),
                *needs_release(stack, kernel.distribution, kernel.first, None, kernel.what_to_do),
                *_needs_arch(kernel, device),
                *_limits(spec),
                *lacks(spec, *kernel.missing),
            )
        )

    def prepare(self, variant: Variant, spec: AttentionSpec, batch: PagedBatch) -> Launch:
        """Bind to a batch; version 3 makes its first schedule here."""
        from kernels_bench.backends import _flash_attn_launches as launches

        match variant.name:
            case "fa3@vllm":
                return launches.vllm_flash_attn_3(spec, batch)
            case "fa2@vllm":
                return launches.vllm_flash_attn_2(spec, batch)
            case "fa3@flash-attn-3":
                return launches.flash_attn_3(spec, batch)
            case _:
                return launches.FlashAttn2(spec, batch)


def _vllm_takes(device: Device, spec: AttentionSpec) -> int | None:
    """The version that vLLM picks by itself (fa_utils.py, `get_flash_attn_version`).

    None on Blackwell and beyond, where that differs between its releases.
    """
    match compute_capability(device):
        case int(capability) if 90 <= capability < 100:
            return 2 if spec.has_alibi else 3
        case int(capability) if 80 <= capability < 90:
            return 2
        case _:
            return None


def _engine_options(
    kernel: _Kernel, device: Device, spec: AttentionSpec
) -> Mapping[str, Mapping[str, object]]:
    """vLLM's arguments (`EngineArgs`, 0.13 and later); nobody's for the packages."""
    if kernel.distribution != "vllm":
        return {}
    options: dict[str, object] = {"attention_backend": "FLASH_ATTN"}
    if kernel.version != _vllm_takes(device, spec):
        options["attention_config"] = {"flash_attn_version": kernel.version}
    return {"vllm": options}


def _needs_arch(kernel: _Kernel, device: Device) -> list[Reason]:
    capability = compute_capability(device)
    if capability is None:
        return []
    if kernel.version == 3 and capability // 10 != 9:
        return [Reason("arch", f"arch {device.arch}: FlashAttention 3 is for sm_90 alone")]
    if capability < 80:
        return [Reason("arch", f"arch {device.arch}: FlashAttention 2 needs sm_80 or later")]
    return []


def _limits(spec: AttentionSpec) -> list[Reason]:
    reasons = []
    if spec.head_dim > 256:
        reasons.append(Reason("head_dim", f"head_dim {spec.head_dim}: at most 256"))
    if spec.head_dim % 8:
        reasons.append(Reason("head_dim", f"head_dim {spec.head_dim}: a multiple of 8"))
    reasons += needs_dtype(spec, "bfloat16", "float16")
    if not spec.causal and (spec.sliding_window is not None or spec.has_alibi):
        # Windows reach as far ahead as back in vLLM, and ALiBi counts distance, not direction.
        text = "causal false: windows and ALiBi then look ahead as well, unlike the layer's"
        reasons.append(Reason("causal", text))
    return reasons


BACKEND = FlashAttn()
