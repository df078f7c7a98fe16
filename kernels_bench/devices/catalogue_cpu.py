"""CPUs, each in a machine that is rented out, since a CPU has neither memory nor a count of cores
of its own. Names are those of /proc/cpuinfo, architectures those of `cpu.cpu_arch`.
"""

from __future__ import annotations

from kernels_bench.devices.catalogue_part import Part
from kernels_bench.devices.documented import VLLM_CPU
from kernels_bench.spec import Device

_MIB = 1 << 20
_GIB = 1 << 30


def _part(device: Device, *aliases: str) -> Part:
    return Part(device, aliases, VLLM_CPU)


def _device(name: str, arch: str, cores: int, memory_gib: int, cache_mib: int) -> Device:
    return Device(
        kind="cpu",
        name=name,
        arch=arch,
        multiprocessors=cores,
        memory_bytes=memory_gib * _GIB,
        last_level_cache_bytes=cache_mib * _MIB,
    )


# Amazon EC2, instance types: logical CPUs and memory. L3: Intel's data sheet of the Xeon 8480
# (105 MB), whose sibling the 8488C is; of AMD's EPYC 7003 and 9004 the 32 MB that one die shares.
# Graviton4: 36 MB shared ("AWS Graviton4", Hot Chips 2024). Grace: 114 MB ("NVIDIA Grace CPU
# Superchip" data sheet), half of the superchip's cores and memory as in a GH200.
CPUS = (
    _part(  # m7i.metal-24xl
        _device(
            "Intel(R) Xeon(R) Platinum 8488C", "x86_64+avx512+avx512_bf16+amx", 96, 384, 105
        ),
        "sapphire-rapids", "spr",
    ),
    _part(  # m7a.24xlarge
        _device("AMD EPYC 9R14", "x86_64+avx512+avx512_bf16", 96, 384, 32), "zen4", "genoa"
    ),
    _part(  # m6a.24xlarge
        _device("AMD EPYC 7R13 Processor", "x86_64+avx2", 96, 384, 32), "zen3", "milan", "avx2"
    ),
    _part(  # m8g.24xlarge
        _device("Neoverse-V2", "aarch64+sve2+bf16", 96, 384, 36), "graviton4"
    ),
    _part(  # GH200
        _device("Neoverse-V2", "aarch64+sve2+bf16", 72, 480, 114), "grace"
    ),
)  # fmt: skip
