"""A part of the catalogue, by the names that people use."""

from __future__ import annotations

from autotune.elsewhere import fitting
from kernels_bench.devices.catalogue import PARTS, Part, part_called
from kernels_bench.errors import DeviceError
from kernels_bench.spec import Device


def find_part(name: str) -> Part | None:
    """The part of that short name, or else the one that the words fit; raises DeviceError where
    they fit several.
    """
    if part := part_called(name):
        return part
    fit = fitting(name, [part.device for part in PARTS])
    match [part for part in PARTS if part.device in fit]:
        case []:
            return None
        case [part]:
            return part
        case several:
            named = ", ".join(f"{each.aliases[0]} ({each.device.name})" for each in several)
            raise DeviceError(
                f"device {name!r} fits {len(several)} devices of the catalogue; take a short name:"
                f" {named}"
            )


def is_whole(part: Part, device: Device) -> bool:
    """Whether a device that was found or stored is this part, though its driver counts memory and
    power otherwise than a data sheet.
    """
    ours = part.device
    same = (device.kind, device.name, device.arch, device.multiprocessors, device.partition)
    return same == (ours.kind, ours.name, ours.arch, ours.multiprocessors, ours.partition)
