"""FlashAttention over a paged cache, as five distributions build it: vLLM's own builds of versions
2, 3 and 4, SGLang's of version 3, and the packages.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from kernels_bench.backends._flash_attn_kernels import (
    BY_NAME,
    KERNELS,
    Kernel,
    Version,
    limits,
    needs_arch,
    needs_build,
)
from kernels_bench.backends._flash_attn_windows import sees_future
from kernels_bench.backends._needs import (
    compute_capability,
    lacks,
    needs_encoder_phase,
    needs_gpu,
    needs_torch,
)
from kernels_bench.capture import UNIFORM_PHASES
from kernels_bench.spec import AttentionSpec, Device, Phase, Stack, Support, Variant

if TYPE_CHECKING:
    from kernels_bench.backends.base import Launch, PagedBatch


class FlashAttn:
    """The same algorithm in three versions."""

    name = "flash_attn"

    def variants(self, device: Device, spec: AttentionSpec, stack: Stack) -> tuple[Variant, ...]:
        """All; the version that vLLM prefers comes first, and vLLM's build of each."""
        preferred = _vllm_takes(device, spec) or 2
        kernels = sorted(KERNELS, key=lambda kernel: kernel.version != preferred)
        return tuple(
            Variant(
                kernel.name,
                kernel.packages,
                kernel.pages,
                # vLLM: AttentionCGSupport.ALWAYS for version 3, UNIFORM_BATCH for the others
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
        """All attention types; fp8 caches and sinks from version 3 on."""
        kernel = BY_NAME[variant.name]
        return Support(
            (
                *needs_torch(device, stack),
                *needs_gpu(device, "cuda"),
                *needs_build(kernel, stack),
                *needs_arch(kernel, device),
                *limits(kernel, device, spec, phase),
                *lacks(spec, *kernel.missing),
                *needs_encoder_phase(spec, phase),
                *(sees_future(spec, phase, stack) if kernel.name == "fa3@vllm" else ()),
            )
        )

    def prepare(self, variant: Variant, spec: AttentionSpec, batch: PagedBatch) -> Launch:
        """Bind to a batch; version 3 makes its first schedule here, version 4 compiles when it
        runs first.
        """
        from kernels_bench.backends import _flash_attn_launches as vllm
        from kernels_bench.backends import _flash_attn_packages as packages

        match variant.name:
            case "fa3@vllm":
                return vllm.vllm_flash_attn_3(spec, batch)
            case "fa2@vllm":
                return vllm.vllm_flash_attn_2(spec, batch)
            case "fa4@vllm":
                return vllm.vllm_flash_attn_4(spec, batch)
            case "fa3@sglang-kernel":
                return packages.sglang_flash_attn_3(spec, batch)
            case "fa3@flash-attn-3":
                return packages.flash_attn_3(spec, batch)
            case "fa4@flash-attn-4":
                return packages.flash_attn_4(spec, batch)
            case _:
                return packages.FlashAttn2(spec, batch)


def _vllm_takes(device: Device, spec: AttentionSpec) -> Version | None:
    """The version that vLLM picks by itself (0.24, fa_utils.py, `get_flash_attn_version`)."""
    match compute_capability(device):
        case int(capability) if capability // 10 == 9:
            if spec.has_alibi:
                return 2
            return 4 if spec.head_dim > 256 else 3
        case int(capability) if capability // 10 == 10:
            is_for_2 = spec.has_alibi or spec.batch_invariant or spec.head_dim > 128
            return 2 if is_for_2 else 4
        case int(capability) if capability >= 80:
            return 2
        case _:
            return None


def _engine_options(
    kernel: Kernel, device: Device, spec: AttentionSpec
) -> Mapping[str, Mapping[str, object]]:
    """vLLM's arguments (`EngineArgs`, 0.13 and later) and SGLang's (`ServerArgs`); nobody's for the
    packages.
    """
    match kernel.distribution:
        case "sglang-kernel" if spec.attention_chunk is None:  # it cuts such batches up itself
            return {"sglang": {"attention_backend": "fa3"}}
        case "vllm" if (
            spec.value_dim != spec.head_dim
        ):  # its pages hold keys and values of one size
            return {}
        case "vllm" if kernel.version == _vllm_takes(device, spec):
            return {"vllm": {"attention_backend": "FLASH_ATTN"}}
        case "vllm":
            version: dict[str, object] = {"flash_attn_version": kernel.version}
            return {"vllm": {"attention_backend": "FLASH_ATTN", "attention_config": version}}
        case _:
            return {}


BACKEND = FlashAttn()
