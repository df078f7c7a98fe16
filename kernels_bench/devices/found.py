"""What a look at the machine gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kernels_bench.spec import Device, Stack


@dataclass(frozen=True)
class FoundDevice:
    """A device that this process may use, how to name it, and the drivers under it."""

    selector: str
    """What `torch.device` takes: "cuda:0", "cpu". On ROCm torch says "cuda:0" too, and so do we."""
    device: Device
    driver: Stack = field(default_factory=dict)
    """{"nvidia-driver": "580.159.04", "cuda-driver": "13.0"}; a CPU has none."""


def devices_text(devices: Iterable[FoundDevice]) -> str:
    """What `--device` may name, for people."""
    return ", ".join(f"{found.selector} ({found.device.name})" for found in devices)


@dataclass(frozen=True)
class Findings:
    """The devices seen, and one line for each thing that could not be seen and why."""

    devices: tuple[FoundDevice, ...] = ()
    notes: tuple[str, ...] = ()

    def __add__(self, other: Findings) -> Findings:
        return Findings(self.devices + other.devices, self.notes + other.notes)
