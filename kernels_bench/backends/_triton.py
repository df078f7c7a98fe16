"""What the backends of our Triton kernels share: refusals, pages and the package."""

from __future__ import annotations

from collections.abc import Sequence

from kernels_bench.backends._needs import (
    compute_capability,
    lacks,
    needs_dtype,
    needs_encoder_phase,
    needs_gpu,
    needs_package,
    needs_torch,
)
from kernels_bench.backends._triton_tiles import Tile, least_shared_kib, shared_kib
from kernels_bench.spec import AttentionSpec, Device, Pages, Phase, Reason, Stack

PAGES = tuple(Pages(size) for size in (16, 32, 64, 128))
"""The kernels look every token's page up, so that any power of two from 16 would do."""
_TRITON_PACKAGES = ("triton", "pytorch-triton-rocm", "triton-rocm")
"""Torch's wheels for ROCm bring Triton under a name of their own."""
_LEAST_CAPABILITY = 80
"""Triton 3.2 dropped the matrix units of older parts: triton-lang/triton pull request 5066."""
_MOST_HEAD_DIM = 512


def triton_package(stack: Stack) -> str:
    """The distribution that Triton is installed from, or would be."""
    return next((name for name in _TRITON_PACKAGES if name in stack), _TRITON_PACKAGES[0])


def triton_refusals(
    device: Device, spec: AttentionSpec, phase: Phase, stack: Stack, *tiles: Tile
) -> list[Reason]:
    """Every reason why no kernel of ours with these tiles can run this layer here."""
    reasons = needs_gpu(device, "cuda", "rocm") + needs_torch(device, stack)
    reasons += needs_package(stack, triton_package(stack), "install triton")
    capability = compute_capability(device)
    if capability is not None and capability < _LEAST_CAPABILITY:
        text = f"arch {device.arch}: Triton supports sm_{_LEAST_CAPABILITY} and newer"
        reasons.append(Reason("arch", text))
    reasons += lacks(spec, "sinks", "alibi", "chunk", "mla", "quantized_kv")
    reasons += needs_dtype(spec, "bfloat16", "float16")
    reasons += _dim_refusals("head_dim", spec.head_dim)
    if spec.value_dim != spec.head_dim:
        reasons += _dim_refusals("head_dim_v", spec.value_dim)
    reasons += _room_refusals(device, spec, tiles)
    return reasons + needs_encoder_phase(spec, phase)


def _dim_refusals(field: str, dim: int) -> list[Reason]:
    if dim <= _MOST_HEAD_DIM:
        return []
    return [Reason(field, f"{field} {dim}: at most {_MOST_HEAD_DIM}")]


def _room_refusals(device: Device, spec: AttentionSpec, tiles: Sequence[Tile]) -> list[Reason]:
    limit = shared_kib(device.arch)
    needed, tile = max((least_shared_kib(tile, spec, device.arch), tile.name) for tile in tiles)
    is_too_wide = max(spec.head_dim, spec.value_dim) > _MOST_HEAD_DIM  # which is told already
    if limit is None or needed <= limit or is_too_wide:
        return []
    text = f"head_dim {spec.head_dim}: {tile} takes {needed} KiB of shared memory, {limit} are"
    return [Reason("head_dim", f"{text} there on {device.arch}")]
