"""The devices that this process may use, read without creating a GPU context."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from kernels_bench.devices.cpu import read_cpu, this_host
from kernels_bench.devices.found import Findings, FoundDevice, devices_text
from kernels_bench.devices.selector import Cpu, parse_selector, pick

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "Findings",
    "FoundDevice",
    "devices_text",
    "find_device",
    "find_devices",
    "survey_devices",
]

_AMD_DRIVER = Path("/dev/kfd")


def find_device(selector: str) -> FoundDevice:
    """The device named "auto", "cpu", "cuda:N" or "rocm:N"; DeviceError lists those that are here.

    "cpu" loads no GPU library.
    """
    wanted = parse_selector(selector)
    match wanted:
        case Cpu():
            return pick(wanted, read_cpu(this_host()))
        case _:
            return pick(wanted, survey_devices())


def find_devices() -> tuple[FoundDevice, ...]:
    """Every device that this process may use: GPUs as torch numbers them, then the CPU."""
    return survey_devices().devices


def survey_devices() -> Findings:
    """As `find_devices`, with the reasons why others are not here. Raises and prints nothing."""
    nvidia = _find_nvidia(os.environ)
    # A torch is built for one vendor. Beside an NVIDIA GPU, what AMD's driver lists is most often
    # the graphics part of a desktop CPU.
    amd = Findings() if nvidia.devices else _find_amd(os.environ)
    return nvidia + amd + read_cpu(this_host())


# The vendors' modules are imported where they are used: a start on the CPU does not pay for them.


def _find_nvidia(environ: Mapping[str, str]) -> Findings:
    from kernels_bench.devices.cuda_attributes import ask_cuda
    from kernels_bench.devices.nvidia import read_nvidia
    from kernels_bench.devices.nvml import load_nvml

    try:
        nvml = load_nvml()
    except ImportError:
        return Findings(notes=("no NVIDIA GPU can be seen: nvidia-ml-py is not installed",))
    return read_nvidia(nvml, environ, ask_cuda)


def _find_amd(environ: Mapping[str, str]) -> Findings:
    if not _AMD_DRIVER.exists():
        return Findings(notes=(f"no AMD driver: {_AMD_DRIVER} not found",))
    from kernels_bench.devices.amd import read_amd
    from kernels_bench.devices.smi import load_amdsmi, silence

    with silence():
        try:
            smi = load_amdsmi()
        except ImportError as error:
            return Findings(notes=(f"no AMD GPU can be seen: {error}",))
        return read_amd(smi, environ)
