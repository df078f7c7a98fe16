"""Picks one of the devices found, by the name that a person gives. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from kernels_bench.devices.found import devices_text
from kernels_bench.errors import DeviceError

if TYPE_CHECKING:
    from kernels_bench.devices.found import Findings, FoundDevice


@dataclass(frozen=True)
class Auto:
    """The first GPU, or the CPU where there is none."""


@dataclass(frozen=True)
class Cpu:
    """The CPU, though there be GPUs."""


@dataclass(frozen=True)
class Gpu:
    """One GPU. "cuda" fits both vendors, because torch on ROCm says "cuda" too."""

    vendor: Literal["cuda", "rocm"]
    number: int


Selector: TypeAlias = Auto | Cpu | Gpu

_KINDS = {"cuda": ("cuda", "rocm"), "rocm": ("rocm",)}


def parse_selector(text: str) -> Selector:
    """Reads "auto", "cpu", "cuda:0" or "rocm:0"; "cuda" is "cuda:0"."""
    if text == "auto":
        return Auto()
    if text == "cpu":
        return Cpu()
    gpu = re.fullmatch(r"(cuda|rocm)(?::(\d{1,4}))?", text, re.ASCII)
    if gpu is None:
        raise DeviceError(f"device {text!r}: expected auto, cpu, cuda:N or rocm:N")
    return Gpu("cuda" if gpu[1] == "cuda" else "rocm", int(gpu[2] or 0))


def pick(selector: Selector, findings: Findings) -> FoundDevice:
    """The device that the selector names; the findings end with the CPU."""
    match selector:
        case Auto():
            return findings.devices[0]
        case Cpu():
            return findings.devices[-1]
        case Gpu(vendor, number):
            for found in findings.devices:
                if found.device.kind in _KINDS[vendor] and found.selector == f"cuda:{number}":
                    return found
            raise DeviceError(_not_here(f"{vendor}:{number}", findings))


def _not_here(wanted: str, findings: Findings) -> str:
    here = devices_text(findings.devices)
    why = f"\n{'; '.join(findings.notes)}" if findings.notes else ""
    return f"device {wanted} is not here; here are: {here}{why}"
