"""AMD's parts: names as amdsmi gives them (`market_name`), sizes and powers of the data sheets.

Source: "AMD GPU specifications" in ROCm's documentation, and AMD's product pages for the powers.
The last level cache of Instinct parts and the Radeons' Infinity Cache are those of `amd_parts.py`.
"""

from __future__ import annotations

from kernels_bench.devices.amd_parts import LARGEST_INFINITY_CACHE_BYTES, LAST_LEVEL_CACHE_BYTES
from kernels_bench.devices.catalogue_part import Part
from kernels_bench.devices.documented import VLLM_ROCM
from kernels_bench.spec import Device

_GIB = 1 << 30
_CACHE_BYTES = {**LARGEST_INFINITY_CACHE_BYTES, **LAST_LEVEL_CACHE_BYTES}


def _part(device: Device, *aliases: str) -> Part:
    return Part(device, aliases, VLLM_ROCM)


def _device(name: str, arch: str, compute_units: int, memory_gib: int, power_w: int) -> Device:
    return Device(
        kind="rocm",
        name=name,
        arch=arch,
        multiprocessors=compute_units,
        memory_bytes=memory_gib * _GIB,
        last_level_cache_bytes=_CACHE_BYTES[arch],
        power_limit_w=power_w,
    )


AMD = (
    # One of the two dies of a module: HIP lists each as a device. The 560 W are the module's.
    _part(_device("AMD Instinct MI250X", "gfx90a", 110, 64, 560), "mi250x", "mi250", "gfx90a"),
    _part(_device("AMD Instinct MI300X", "gfx942", 304, 192, 750), "mi300x", "mi300"),
    _part(_device("AMD Instinct MI325X", "gfx942", 304, 256, 1000), "mi325x", "mi325"),
    _part(_device("AMD Instinct MI355X", "gfx950", 256, 288, 1400), "mi355x", "mi355", "gfx950"),
    _part(
        _device("AMD Radeon RX 7900 XTX", "gfx1100", 96, 24, 355), "7900xtx", "rx7900xtx", "gfx1100"
    ),
    _part(
        _device("AMD Radeon RX 9070 XT", "gfx1201", 64, 16, 304), "9070xt", "rx9070xt", "gfx1201"
    ),
    # Ryzen AI Max+ 395: of 128 GiB that it shares with the CPU it may be given 96; 120 W for both.
    _part(
        _device("AMD Radeon 8060S Graphics", "gfx1151", 40, 96, 120),
        "strix-halo", "8060s", "gfx1151",
    ),
)  # fmt: skip
