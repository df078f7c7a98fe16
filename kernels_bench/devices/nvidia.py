"""NVIDIA GPUs through NVML, which reads them without creating a context on any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernels_bench.devices.cuda_attributes import CudaQuestionError
from kernels_bench.devices.found import Findings, FoundDevice
from kernels_bench.devices.nvidia_parts import (
    CORES_PER_MULTIPROCESSOR,
    L2_BYTES,
    mig_eighths,
    mig_profile,
)
from kernels_bench.devices.visible import CudaGpu, visible_cuda
from kernels_bench.spec import Device

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TypeAlias

    from kernels_bench.devices.cuda_attributes import CudaAttributes
    from kernels_bench.devices.nvml import Handle, Nvml
    from kernels_bench.spec import Stack

    AskCuda: TypeAlias = Callable[[str | None], tuple[CudaAttributes, ...]]

_MIB = 1 << 20


@dataclass(frozen=True)
class Gpu:
    """A whole GPU, as NVML refers to it."""

    uuid: str
    handle: Handle


@dataclass(frozen=True)
class MigInstance:
    """A part of a GPU that CUDA lists as a device; some facts are known of the whole alone."""

    uuid: str
    handle: Handle
    gpu: Gpu


@dataclass(frozen=True)
class VisibleUnits:
    """What CUDA lists for a process."""

    units: Mapping[str, Gpu | MigInstance]
    """By torch's name: "cuda:0"."""
    present: int
    """GPUs of the host."""
    notes: tuple[str, ...]


def read_nvidia(nvml: Nvml, environ: Mapping[str, str], ask: AskCuda) -> Findings:
    """The GPUs and MIG instances that CUDA would list for this process."""
    try:
        nvml.nvmlInit()
    except nvml.NVMLError_LibraryNotFound:
        return Findings(notes=("no NVIDIA driver: libnvidia-ml.so.1 not found",))
    except nvml.NVMLError as error:
        return Findings(notes=(f"the NVIDIA driver does not answer: {error}",))
    try:
        return _read_visible(nvml, environ, ask)
    except nvml.NVMLError as error:
        return Findings(notes=(f"the NVIDIA driver does not answer: {error}",))
    finally:
        nvml.nvmlShutdown()


def visible_units(nvml: Nvml, environ: Mapping[str, str], ask: AskCuda) -> VisibleUnits:
    """The GPUs and MIG instances that CUDA lists under this environment, in its order.

    NVML must be initialised; raises its NVMLError.
    """
    handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
    present = [Gpu(nvml.nvmlDeviceGetUUID(handle), handle) for handle in handles]
    ordered, notes = _in_cuda_order(nvml, present, environ, ask)
    units: dict[str, Gpu | MigInstance] = {}
    gpus = []
    for gpu in ordered:
        instances = _mig_instances(nvml, gpu)
        if not instances and _mig_is_on(nvml, gpu):
            continue  # CUDA cannot use a GPU that is to be cut up and has no instance yet.
        units[gpu.uuid] = gpu
        units |= {instance.uuid: instance for instance in instances}
        gpus.append(CudaGpu(gpu.uuid, tuple(instance.uuid for instance in instances)))
    listed = enumerate(visible_cuda(gpus, environ))
    return VisibleUnits(
        {f"cuda:{number}": units[uuid] for number, uuid in listed}, len(present), notes
    )


def _read_visible(nvml: Nvml, environ: Mapping[str, str], ask: AskCuda) -> Findings:
    visible = visible_units(nvml, environ, ask)
    driver = _driver(nvml)
    devices, notes = [], list(visible.notes)
    for selector, unit in visible.units.items():
        try:
            devices.append(FoundDevice(selector, _read_unit(nvml, unit, ask), driver))
        except (nvml.NVMLError, CudaQuestionError) as error:
            notes.append(f"{selector} ({unit.uuid}) cannot be read: {error}")
    if visible.present and not devices and not notes:
        notes.append(
            f"NVIDIA GPUs are here ({visible.present}), but CUDA lists none: see MIG mode "
            f"and CUDA_VISIBLE_DEVICES={environ.get('CUDA_VISIBLE_DEVICES')!r}"
        )
    return Findings(tuple(devices), tuple(notes))


def _in_cuda_order(
    nvml: Nvml, gpus: Sequence[Gpu], environ: Mapping[str, str], ask: AskCuda
) -> tuple[Sequence[Gpu], tuple[str, ...]]:
    """NVML lists by PCI bus; CUDA puts the fastest first by a rule that NVIDIA does not publish.

    GPUs of one name tie and stay in bus order, so CUDA is asked only where names differ.
    """
    names = {nvml.nvmlDeviceGetName(gpu.handle) for gpu in gpus}
    if len(names) < 2 or environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID":
        return gpus, ()
    try:
        ranks = {found.uuid: rank for rank, found in enumerate(ask(None))}
    except CudaQuestionError as error:
        note = "GPUs differ and CUDA does not tell their order: set CUDA_DEVICE_ORDER=PCI_BUS_ID"
        return gpus, (f"{note} ({error})",)
    return sorted(gpus, key=lambda gpu: ranks.get(gpu.uuid.removeprefix("GPU-"), len(ranks))), ()


def _mig_is_on(nvml: Nvml, gpu: Gpu) -> bool:
    try:
        current, _pending = nvml.nvmlDeviceGetMigMode(gpu.handle)
    except nvml.NVMLError:  # the part knows no MIG
        return False
    return current == 1


def _mig_instances(nvml: Nvml, gpu: Gpu) -> tuple[MigInstance, ...]:
    if not _mig_is_on(nvml, gpu):
        return ()
    instances = []
    for index in range(nvml.nvmlDeviceGetMaxMigDeviceCount(gpu.handle)):
        try:
            handle = nvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu.handle, index)
        except nvml.NVMLError:  # a free slot
            continue
        instances.append(MigInstance(nvml.nvmlDeviceGetUUID(handle), handle, gpu))
    return tuple(instances)


def _read_unit(nvml: Nvml, unit: Gpu | MigInstance, ask: AskCuda) -> Device:
    match unit:
        case Gpu():
            return _read_gpu(nvml, unit, ask)
        case MigInstance():
            return _read_mig_instance(nvml, unit, ask)


def _read_gpu(nvml: Nvml, gpu: Gpu, ask: AskCuda) -> Device:
    name = nvml.nvmlDeviceGetName(gpu.handle)
    multiprocessors = _multiprocessors(nvml, gpu)
    l2_bytes = L2_BYTES.get(name)
    if multiprocessors is None or l2_bytes is None:
        asked = _ask_about(gpu, ask)
        multiprocessors = multiprocessors or asked.multiprocessors
        l2_bytes = l2_bytes or asked.l2_bytes
    return Device(
        kind="cuda",
        name=name,
        arch=_arch(nvml, gpu),
        multiprocessors=multiprocessors,
        # Version 1 of the query: what the board has, the driver's own share included. What a
        # context can allocate (torch's total_memory) is some hundred MiB less.
        memory_bytes=nvml.nvmlDeviceGetMemoryInfo(gpu.handle).total,
        last_level_cache_bytes=l2_bytes,
        power_limit_w=_power_limit_w(nvml, gpu),
    )


def _read_mig_instance(nvml: Nvml, instance: MigInstance, ask: AskCuda) -> Device:
    name = nvml.nvmlDeviceGetName(instance.gpu.handle)
    whole_bytes = nvml.nvmlDeviceGetMemoryInfo(instance.gpu.handle).total
    size = nvml.nvmlDeviceGetAttributes(instance.handle)
    memory_bytes = size.memorySizeMB * _MIB
    whole_l2_bytes = L2_BYTES.get(name)
    return Device(
        kind="cuda",
        name=name,
        arch=_arch(nvml, instance.gpu),
        multiprocessors=size.multiprocessorCount,
        memory_bytes=memory_bytes,
        last_level_cache_bytes=(
            _ask_about(instance, ask).l2_bytes
            if whole_l2_bytes is None
            else whole_l2_bytes * mig_eighths(memory_bytes, whole_bytes) // 8
        ),
        partition=mig_profile(
            size.computeInstanceSliceCount, size.gpuInstanceSliceCount, memory_bytes, whole_bytes
        ),
        power_limit_w=_power_limit_w(nvml, instance.gpu),
    )


def _ask_about(unit: Gpu | MigInstance, ask: AskCuda) -> CudaAttributes:
    answers = ask(unit.uuid)
    if len(answers) != 1:
        raise CudaQuestionError(f"CUDA lists {len(answers)} devices for it")
    return answers[0]


def _multiprocessors(nvml: Nvml, gpu: Gpu) -> int | None:
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(gpu.handle)
    cores_each = CORES_PER_MULTIPROCESSOR.get((major, minor))
    if cores_each is None:
        return None
    try:
        return nvml.nvmlDeviceGetNumGpuCores(gpu.handle) // cores_each
    except nvml.NVMLError:
        return None


def _arch(nvml: Nvml, gpu: Gpu) -> str:
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(gpu.handle)
    return f"sm_{major}{minor}"


def _power_limit_w(nvml: Nvml, gpu: Gpu) -> int:
    try:
        return round(nvml.nvmlDeviceGetEnforcedPowerLimit(gpu.handle) / 1000)
    except nvml.NVMLError:  # a virtual GPU does not tell
        return 0


def _driver(nvml: Nvml) -> Stack:
    cuda = nvml.nvmlSystemGetCudaDriverVersion()  # 13000 is 13.0, 12080 is 12.8
    return {
        "nvidia-driver": nvml.nvmlSystemGetDriverVersion(),
        "cuda-driver": f"{cuda // 1000}.{cuda % 1000 // 10}",
    }
