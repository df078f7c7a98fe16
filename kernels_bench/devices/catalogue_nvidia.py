"""NVIDIA's parts: names as NVML spells them, sizes and powers as the data sheets give them.

Multiprocessors are the CUDA cores of a data sheet over those of one multiprocessor. L2 is that of
`nvidia_parts.py`, which has the sources.
"""

from __future__ import annotations

from kernels_bench.devices.catalogue_part import Part
from kernels_bench.devices.documented import VLLM_CUDA
from kernels_bench.devices.nvidia_parts import L2_BYTES
from kernels_bench.spec import Device

_MIB = 1 << 20
_GIB = 1 << 30


def _part(device: Device, *aliases: str) -> Part:
    return Part(device, aliases, VLLM_CUDA)


def _device(
    name: str, arch: str, multiprocessors: int, memory_gib: int, power_w: int, l2_bytes: int = 0
) -> Device:
    return Device(
        kind="cuda",
        name=name,
        arch=arch,
        multiprocessors=multiprocessors,
        memory_bytes=memory_gib * _GIB,
        last_level_cache_bytes=l2_bytes or L2_BYTES[name],
        power_limit_w=power_w,
    )


NVIDIA = (
    # A100 data sheet: 6912 cores of 64 a multiprocessor; 400 W as SXM, 300 and 250 W as PCIe.
    _part(_device("NVIDIA A100-SXM4-80GB", "sm_80", 108, 80, 400), "a100", "a100-80gb", "a100-sxm"),
    _part(_device("NVIDIA A100-SXM4-40GB", "sm_80", 108, 40, 400), "a100-40gb"),
    _part(_device("NVIDIA A100 80GB PCIe", "sm_80", 108, 80, 300), "a100-pcie"),
    # GA102 white paper: 10496 cores of 128 a multiprocessor, 350 W.
    _part(_device("NVIDIA GeForce RTX 3090", "sm_86", 82, 24, 350), "rtx3090", "3090"),
    # Data sheets of L4 (7424 cores, 72 W) and L40S (18176 cores, 350 W); Ada white paper (RTX 4090:
    # 16384 cores, 450 W).
    _part(_device("NVIDIA L4", "sm_89", 58, 24, 72), "l4"),
    _part(_device("NVIDIA L40S", "sm_89", 142, 48, 350), "l40s"),
    _part(_device("NVIDIA GeForce RTX 4090", "sm_89", 128, 24, 450), "rtx4090", "4090"),
    # H100 data sheet: 16896 cores and 700 W as SXM, 14592 and 350 W as PCIe; H200: as the SXM.
    _part(_device("NVIDIA H100 80GB HBM3", "sm_90", 132, 80, 700), "h100", "h100-sxm"),
    _part(_device("NVIDIA H100 PCIe", "sm_90", 114, 80, 350), "h100-pcie"),
    _part(_device("NVIDIA H200", "sm_90", 132, 141, 700), "h200"),
    # HGX B200 data sheet: 180 GB and 1000 W a GPU. Its driver says 148 multiprocessors and an L2 of
    # 126 MiB, rounded down.
    _part(_device("NVIDIA B200", "sm_100", 148, 180, 1000, 126 * _MIB), "b200"),
    # "Inside NVIDIA Blackwell Ultra": 288 GB, the L2 of a B200; 1100 W in an HGX, 1400 W beside a
    # Grace, where 152 of the chip's 160 multiprocessors are on.
    _part(_device("NVIDIA B300 SXM6 AC", "sm_103", 148, 288, 1100, 126 * _MIB), "b300"),
    _part(_device("NVIDIA GB300", "sm_103", 152, 288, 1400, 126 * _MIB), "gb300"),
    # RTX Blackwell white paper: 21760 cores of 128 a multiprocessor, L2 of 98304 KB, 575 W.
    _part(_device("NVIDIA GeForce RTX 5090", "sm_120", 170, 32, 575, 96 * _MIB), "rtx5090", "5090"),
)
