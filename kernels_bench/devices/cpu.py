"""The CPU, read from /proc and /sys."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kernels_bench.devices.cgroup import cpu_limit, memory_limit_bytes
from kernels_bench.devices.files import text_of
from kernels_bench.devices.found import Findings, FoundDevice
from kernels_bench.spec import Device

if TYPE_CHECKING:
    from collections.abc import Mapping

_GIB = 1 << 30
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}

ASSUMED_CACHE_BYTES = 32 << 20
"""Where the kernel shows no cache (gVisor, some Arm hosts): a common size of a server's L3.

It sizes the data that a cold measurement walks through, so too much is safe and zero is not.
"""

_ARM_PARTS = {
    ("0x41", "0xd0c"): "Neoverse-N1",
    ("0x41", "0xd40"): "Neoverse-V1",
    ("0x41", "0xd49"): "Neoverse-N2",
    ("0x41", "0xd4f"): "Neoverse-V2",
    ("0xc0", "0xac3"): "Ampere-1",
    ("0xc0", "0xac4"): "Ampere-1A",
}
"""Arm CPUs have no name in /proc/cpuinfo: arch/arm64/include/asm/cputype.h of Linux."""


@dataclass(frozen=True)
class Host:
    """Where to read, and what the operating system says of this process."""

    root: Path
    machine: str
    """ "x86_64", "aarch64"."""
    allowed_cpus: int
    """Logical CPUs that the scheduler may put this process on."""


def this_host() -> Host:
    """The machine and the process that this code runs in."""
    # macOS has no affinity.
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Host(Path("/"), os.uname().machine, allowed or 1)


def read_cpu(host: Host) -> Findings:
    """One device, always; what had to be assumed is in the notes."""
    cpuinfo = _first_processor(host.root / "proc/cpuinfo")
    cpus = min(host.allowed_cpus, cpu_limit(host.root) or host.allowed_cpus)
    total_bytes = _total_memory_bytes(host.root / "proc/meminfo")
    memory_bytes = min(total_bytes, memory_limit_bytes(host.root) or total_bytes)
    cache_bytes = _last_level_cache_bytes(host.root / "sys/devices/system/cpu/cpu0/cache")
    device = Device(
        kind="cpu",
        name=_name(cpuinfo, host.machine),
        arch=cpu_arch(host.machine, frozenset(_flags(cpuinfo))),
        multiprocessors=math.ceil(cpus),
        # Whole GiB: what a kernel keeps for itself differs from one release to the next, and two
        # hosts of one part must be equal.
        memory_bytes=memory_bytes // _GIB * _GIB or memory_bytes,
        last_level_cache_bytes=cache_bytes or ASSUMED_CACHE_BYTES,
    )
    assumed = f"the kernel shows no CPU cache: {ASSUMED_CACHE_BYTES >> 20} MiB assumed"
    return Findings((FoundDevice("cpu", device),), () if cache_bytes else (assumed,))


def cpu_arch(machine: str, flags: frozenset[str]) -> str:
    """The machine and the extensions that attention kernels dispatch on, in a fixed order.

    The widest vector set alone (avx512 implies avx2, sve2 implies sve), then bf16 arithmetic, then
    the matrix unit: "x86_64+avx512+avx512_bf16+amx", "aarch64+sve2+bf16".
    """
    extensions = (
        "avx512" if "avx512f" in flags else "avx2" if "avx2" in flags else "",
        "avx512_bf16" if "avx512_bf16" in flags else "",
        "amx" if "amx_bf16" in flags else "",
        "sve2" if "sve2" in flags else "sve" if "sve" in flags else "",
        "bf16" if "bf16" in flags else "",
    )
    return "+".join((machine, *filter(None, extensions)))


def _first_processor(path: Path) -> Mapping[str, str]:
    """Processors of one host are taken to be alike."""
    first, _, _ = text_of(path).partition("\n\n")
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _flags(cpuinfo: Mapping[str, str]) -> list[str]:
    return (cpuinfo.get("flags") or cpuinfo.get("Features") or "").split()


def _name(cpuinfo: Mapping[str, str], machine: str) -> str:
    if "model name" in cpuinfo:
        return cpuinfo["model name"]
    implementer, part = cpuinfo.get("CPU implementer"), cpuinfo.get("CPU part")
    if implementer is None or part is None:
        return machine
    return _ARM_PARTS.get((implementer, part), f"{machine} {implementer}:{part}")


def _total_memory_bytes(path: Path) -> int:
    found = re.search(r"^MemTotal:\s*(\d+) kB", text_of(path), re.MULTILINE)
    if found is None:  # no Linux
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return int(found[1]) << 10


def _last_level_cache_bytes(folder: Path) -> int | None:
    """Of the first CPU: on a chip of several dies, what its own die shares."""
    sizes = {}
    for index in sorted(folder.glob("index*")):
        size = re.fullmatch(r"(\d+)([KMG]?)", text_of(index / "size").strip())
        level = text_of(index / "level").strip()
        if size and level.isdigit() and text_of(index / "type").strip() != "Instruction":
            sizes[int(level)] = int(size[1]) * _UNITS[size[2]]
    return sizes[max(sizes)] if sizes else None
