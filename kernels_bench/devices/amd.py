"""AMD GPUs through amdsmi, which reads them without creating a context on any."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernels_bench.devices.amd_parts import LARGEST_INFINITY_CACHE_BYTES, LAST_LEVEL_CACHE_BYTES
from kernels_bench.devices.found import Findings, FoundDevice
from kernels_bench.devices.smi import message_of
from kernels_bench.devices.visible import visible_rocm
from kernels_bench.spec import Device

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kernels_bench.devices.smi import Amdsmi, Handle
    from kernels_bench.spec import Stack

_KIB = 1 << 10
_L2 = 2

_WHOLE = {"", "N/A", "SPX", "NPS1"}
"""Partition modes in which a device is the whole package."""

_HIGHEST_WATTS = 10_000
"""amdsmi gives a power cap in microwatts on bare metal and in watts on a virtual host."""


@dataclass(frozen=True)
class VisibleGpu:
    """A GPU, or a partition of one, as amdsmi refers to it."""

    uuid: str
    handle: Handle


def read_amd(smi: Amdsmi, environ: Mapping[str, str]) -> Findings:
    """The GPUs and partitions that HIP would list for this process."""
    try:
        smi.amdsmi_init()
    except smi.AmdSmiException as error:
        return Findings(notes=(f"the AMD driver does not answer: {message_of(error)}",))
    try:
        return _read_visible(smi, environ)
    except (smi.AmdSmiException, KeyError, ValueError) as error:
        return Findings(notes=(f"the AMD driver does not answer: {message_of(error)}",))
    finally:
        with suppress(smi.AmdSmiException):
            smi.amdsmi_shut_down()


def visible_gpus(smi: Amdsmi, environ: Mapping[str, str]) -> Mapping[str, VisibleGpu]:
    """What HIP lists under this environment, by torch's name: "cuda:0".

    amdsmi must be initialised; raises its AmdSmiException, or KeyError.
    """
    handles = _in_hip_order(smi, smi.amdsmi_get_processor_handles())
    gpus = [VisibleGpu(_uuid(smi, handle), handle) for handle in handles]
    indices = visible_rocm([gpu.uuid for gpu in gpus], environ)
    return {f"cuda:{number}": gpus[index] for number, index in enumerate(indices)}


def _read_visible(smi: Amdsmi, environ: Mapping[str, str]) -> Findings:
    devices, notes = [], []
    for selector, gpu in visible_gpus(smi, environ).items():
        try:
            device, driver = _read_gpu(smi, gpu.handle), _driver(smi, gpu.handle)
            devices.append(FoundDevice(selector, device, driver))
        except (smi.AmdSmiException, KeyError, ValueError) as error:
            notes.append(f"{selector} ({gpu.uuid}) cannot be read: {message_of(error)}")
    return Findings(tuple(devices), tuple(notes))


def _in_hip_order(smi: Amdsmi, handles: Sequence[Handle]) -> Sequence[Handle]:
    """amdsmi lists by PCI address, HIP by the kernel driver's node."""
    try:
        ranks = [smi.amdsmi_get_gpu_enumeration_info(handle)["hip_id"] for handle in handles]
    except (smi.AmdSmiException, AttributeError):  # AttributeError: an amdsmi before 6.4
        return handles
    if not all(isinstance(rank, int) for rank in ranks):  # "N/A"
        return handles
    return [handles[position] for position in sorted(range(len(handles)), key=ranks.__getitem__)]


def _uuid(smi: Amdsmi, handle: Handle) -> str:
    """As ROCR_VISIBLE_DEVICES spells it: "GPU-" and the 16 hex digits of the serial number."""
    serial = str(smi.amdsmi_get_gpu_asic_info(handle)["asic_serial"])
    return f"GPU-{serial.lower().removeprefix('0x')}"


def _read_gpu(smi: Amdsmi, handle: Handle) -> Device:
    asic = smi.amdsmi_get_gpu_asic_info(handle)
    arch = str(asic["target_graphics_version"])
    return Device(
        kind="rocm",
        name=str(asic["market_name"]),
        arch=arch,
        multiprocessors=int(asic["num_compute_units"]),
        memory_bytes=smi.amdsmi_get_gpu_memory_total(handle, smi.AmdSmiMemoryType.VRAM),
        last_level_cache_bytes=LAST_LEVEL_CACHE_BYTES.get(arch)
        or _reported_cache_bytes(smi, handle, arch),
        partition=_partition(smi, handle),
        power_limit_w=_power_limit_w(smi, handle),
    )


def _reported_cache_bytes(smi: Amdsmi, handle: Handle, arch: str) -> int:
    """All instances of the highest level that the kernel driver knows; its sizes are in KiB."""
    caches = smi.amdsmi_get_gpu_cache_info(handle)["cache"]
    last = max(caches, key=lambda cache: int(cache["cache_level"]))
    reported = int(last["cache_size"]) * _KIB * int(last["num_cache_instance"])
    if int(last["cache_level"]) > _L2:
        return reported
    return LARGEST_INFINITY_CACHE_BYTES.get(arch, reported)


def _partition(smi: Amdsmi, handle: Handle) -> str:
    """ "CPX/NPS4"; empty where the GPU is not cut up, or cannot be."""
    try:
        modes = (
            smi.amdsmi_get_gpu_compute_partition(handle),
            smi.amdsmi_get_gpu_memory_partition(handle),
        )
    except smi.AmdSmiException:  # Radeon and older Instinct parts
        return ""
    return "" if set(modes) <= _WHOLE else "/".join(modes)


def _power_limit_w(smi: Amdsmi, handle: Handle) -> int:
    try:
        cap = int(smi.amdsmi_get_power_cap_info(handle)["power_cap"])
    except (smi.AmdSmiException, ValueError):  # a partition or a virtual GPU; "N/A"
        return 0
    return cap if cap < _HIGHEST_WATTS else round(cap / 1_000_000)


def _driver(smi: Amdsmi, handle: Handle) -> Stack:
    versions = {"amdgpu-driver": smi.amdsmi_get_gpu_driver_info(handle)["driver_version"]}
    try:
        is_known, rocm = smi.amdsmi_get_rocm_version()
    except (smi.AmdSmiException, AttributeError, OSError):
        is_known, rocm = False, ""
    return versions | {"rocm-runtime": rocm} if is_known else versions
