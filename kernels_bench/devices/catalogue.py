"""Parts that can be asked about on any machine. Imported where nothing else knows the name."""

from __future__ import annotations

from kernels_bench.devices.catalogue_amd import AMD
from kernels_bench.devices.catalogue_cpu import CPUS
from kernels_bench.devices.catalogue_nvidia import NVIDIA
from kernels_bench.devices.catalogue_part import Part

__all__ = ["PARTS", "Part", "part_called", "short_names"]

PARTS: tuple[Part, ...] = (*NVIDIA, *AMD, *CPUS)


def part_called(alias: str) -> Part | None:
    """The part of a declared short name, in any case."""
    wanted = alias.strip().lower()
    return next((part for part in PARTS if wanted in part.aliases), None)


def short_names() -> str:
    """One a part, for people."""
    return ", ".join(part.aliases[0] for part in PARTS)
