"""What the catalogue knows of a part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kernels_bench.devices.documented import DocumentedStack
    from kernels_bench.spec import Device


@dataclass(frozen=True)
class Part:
    """A device that may be asked about wherever one is, and how it is called."""

    device: Device
    """By the vendor's documents. Its own driver reports up to 4 % less memory, and on a host of
    another power limit or number of cores another device.
    """
    aliases: tuple[str, ...]
    """In small letters, each for one part alone; the first is told to people."""
    stack: DocumentedStack
