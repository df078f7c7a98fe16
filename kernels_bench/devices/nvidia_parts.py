"""Facts about NVIDIA parts that NVML does not tell."""

from __future__ import annotations

_MIB = 1 << 20

CORES_PER_MULTIPROCESSOR = {
    (7, 0): 64,
    (7, 2): 64,
    (7, 5): 64,
    (8, 0): 64,
    (8, 6): 128,
    (8, 7): 128,
    (8, 9): 128,
    (9, 0): 128,
    (10, 0): 128,
    (10, 1): 128,
    (10, 3): 128,
    (11, 0): 128,
    (12, 0): 128,
    (12, 1): 128,
}
"""FP32 cores by compute capability. NVML counts the cores of a GPU, not its multiprocessors.

Source: `_ConvertSMVer2Cores` in helper_cuda.h of NVIDIA's CUDA samples.
"""

L2_BYTES = {
    # Volta and Turing white papers
    "Tesla V100-SXM2-16GB": 6 * _MIB,
    "Tesla V100-SXM2-32GB": 6 * _MIB,
    "Tesla T4": 4 * _MIB,
    # Ampere tuning guide: 40 MB; GA102 white paper: 6144 KB
    "NVIDIA A100-SXM4-40GB": 40 * _MIB,
    "NVIDIA A100-SXM4-80GB": 40 * _MIB,
    "NVIDIA A100-PCIE-40GB": 40 * _MIB,
    "NVIDIA A100 80GB PCIe": 40 * _MIB,
    "NVIDIA A10": 6 * _MIB,
    "NVIDIA A10G": 6 * _MIB,
    "NVIDIA GeForce RTX 3090": 6 * _MIB,
    # Ada white paper: 98304 KB in a full AD102, 73728 KB in the RTX 4090, 49152 KB in AD104
    "NVIDIA L4": 48 * _MIB,
    "NVIDIA L40": 96 * _MIB,
    "NVIDIA L40S": 96 * _MIB,
    "NVIDIA GeForce RTX 4090": 72 * _MIB,
    # Hopper tuning guide: 50 MB; torch reports 60 MB on an H200
    "NVIDIA H100 80GB HBM3": 50 * _MIB,
    "NVIDIA H100 PCIe": 50 * _MIB,
    "NVIDIA H200": 60 * _MIB,
}
"""L2 by the name that NVML gives. NVML has no query for it, so any other part is asked of CUDA.

Whole names: "NVIDIA A10" is the beginning of "NVIDIA A100-SXM4-40GB". A part whose documented size
is rounded (B200, "126 MB") stays out, because the driver knows it to the byte.
"""


def mig_eighths(instance_bytes: int, whole_bytes: int) -> int:
    """How many eighths of a GPU's memory, and so of its L2, a MIG instance has.

    Source: the profile tables of NVIDIA's MIG user guide, where both fractions are equal.
    """
    return min(8, -(-8 * instance_bytes // whole_bytes))


def mig_profile(compute_slices: int, gpu_slices: int, instance_bytes: int, whole_bytes: int) -> str:
    """The profile's name as nvidia-smi writes it: "1g.10gb", "1c.3g.20gb".

    NVML does not spell it; this is the arithmetic of NVIDIA's own Kubernetes device plugin.
    """
    whole_gib = -(-whole_bytes // (1 << 30))
    memory_gb = round(mig_eighths(instance_bytes, whole_bytes) * whole_gib / 8)
    part = "" if compute_slices == gpu_slices else f"{compute_slices}c."
    return f"{part}{gpu_slices}g.{memory_gb}gb"
