from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from kernels_bench.devices import survey_devices
from kernels_bench.devices.cuda_attributes import CudaAttributes, CudaQuestionError, ask_cuda
from kernels_bench.devices.nvidia import read_nvidia
from kernels_bench.devices.nvidia_parts import mig_profile
from kernels_bench.devices.nvml import load_nvml
from kernels_bench.spec import Device

MIB = 1 << 20


class FakeError(Exception):
    pass


class FakeLibraryNotFoundError(FakeError):
    pass


@dataclass
class Board:
    name: str
    uuid: str
    capability: tuple[int, int]
    cores: int
    memory_mib: int
    power_mw: int | None = 700_000
    instances: list[SimpleNamespace] | None = None
    """None: MIG is off."""


@dataclass
class FakeNvml:
    """Answers as NVML does for these boards; a method that a board does not know raises."""

    boards: list[Board]
    has_library: bool = True
    open_sessions: int = 0
    NVMLError: type[Exception] = field(default=FakeError)
    NVMLError_LibraryNotFound: type[Exception] = field(default=FakeLibraryNotFoundError)

    def nvmlInit(self):
        if not self.has_library:
            raise FakeLibraryNotFoundError("NVML Shared Library Not Found")
        self.open_sessions += 1

    def nvmlShutdown(self):
        self.open_sessions -= 1

    def nvmlSystemGetDriverVersion(self):
        return "580.159.04"

    def nvmlSystemGetCudaDriverVersion(self):
        return 13000

    def nvmlDeviceGetCount(self):
        return len(self.boards)

    def nvmlDeviceGetHandleByIndex(self, index):
        return self.boards[index]

    def nvmlDeviceGetUUID(self, handle):
        return handle.uuid

    def nvmlDeviceGetName(self, handle):
        return handle.name

    def nvmlDeviceGetCudaComputeCapability(self, handle):
        return handle.capability

    def nvmlDeviceGetNumGpuCores(self, handle):
        return handle.cores

    def nvmlDeviceGetMemoryInfo(self, handle):
        return SimpleNamespace(total=handle.memory_mib * MIB)

    def nvmlDeviceGetEnforcedPowerLimit(self, handle):
        if handle.power_mw is None:
            raise FakeError("Not Supported")
        return handle.power_mw

    def nvmlDeviceGetMigMode(self, device):
        if device.capability < (8, 0):
            raise FakeError("Not Supported")
        return (0, 0) if device.instances is None else (1, 1)

    def nvmlDeviceGetMaxMigDeviceCount(self, _device):
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, device, index):
        if index >= len(device.instances):
            raise FakeError("Not Found")
        return device.instances[index]

    def nvmlDeviceGetAttributes(self, device):
        return device


def h100(uuid="GPU-h100", **changes):
    return Board("NVIDIA H100 80GB HBM3", uuid, (9, 0), 132 * 128, 81559, **changes)


def t4(uuid="GPU-t4"):
    return Board("Tesla T4", uuid, (7, 5), 40 * 64, 15360, power_mw=70_000)


def unknown(uuid="GPU-new"):
    return Board("NVIDIA Z900", uuid, (13, 0), 30_000, 300_000)


def one_slice(uuid):
    return SimpleNamespace(
        uuid=uuid,
        multiprocessorCount=16,
        memorySizeMB=9984,
        gpuInstanceSliceCount=1,
        computeInstanceSliceCount=1,
    )


def never_ask(visible_devices):
    raise AssertionError(f"CUDA was asked about {visible_devices}")


def refuse(_visible_devices):
    raise CudaQuestionError("libcuda.so.1: cannot open shared object file")


def test_a_known_part_is_read_without_the_cuda_driver():
    (found,) = read_nvidia(FakeNvml([h100()]), {}, never_ask).devices
    assert found.selector == "cuda:0"
    assert found.driver == {"nvidia-driver": "580.159.04", "cuda-driver": "13.0"}
    assert found.device == Device(
        kind="cuda",
        name="NVIDIA H100 80GB HBM3",
        arch="sm_90",
        multiprocessors=132,
        memory_bytes=81559 * MIB,
        last_level_cache_bytes=50 * MIB,
        power_limit_w=700,
    )


def test_cores_per_multiprocessor_follow_the_architecture():
    (found,) = read_nvidia(FakeNvml([t4()]), {}, never_ask).devices
    assert (found.device.arch, found.device.multiprocessors) == ("sm_75", 40)


def test_an_unknown_part_is_asked_of_the_cuda_driver_by_its_uuid():
    asked = []

    def ask(visible_devices):
        asked.append(visible_devices)
        return (CudaAttributes("new", 200, 192 * MIB),)

    (found,) = read_nvidia(FakeNvml([unknown()]), {}, ask).devices
    assert asked == ["GPU-new"]
    assert found.device.multiprocessors == 200
    assert found.device.last_level_cache_bytes == 192 * MIB
    assert found.device.arch == "sm_130"


def test_a_part_that_cannot_be_read_is_a_note_and_the_others_keep_their_number():
    findings = read_nvidia(
        FakeNvml([unknown(), h100()]), {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, refuse
    )
    assert [found.selector for found in findings.devices] == ["cuda:1"]
    assert findings.notes == (
        "cuda:0 (GPU-new) cannot be read: libcuda.so.1: cannot open shared object file",
    )


def test_visible_devices_are_numbered_as_cuda_numbers_them():
    nvml = FakeNvml([h100("GPU-a"), h100("GPU-b", power_mw=500_000)])
    first, second = read_nvidia(nvml, {"CUDA_VISIBLE_DEVICES": "1,0"}, never_ask).devices
    assert (first.selector, first.device.power_limit_w) == ("cuda:0", 500)
    assert (second.selector, second.device.power_limit_w) == ("cuda:1", 700)


def test_different_gpus_are_numbered_in_the_order_that_cuda_tells():
    def fastest_first(visible_devices):
        assert visible_devices is None
        return (CudaAttributes("h100", 132, 50 * MIB), CudaAttributes("t4", 40, 4 * MIB))

    nvml = FakeNvml([t4(), h100()])
    names = [found.device.name for found in read_nvidia(nvml, {}, fastest_first).devices]
    assert names == ["NVIDIA H100 80GB HBM3", "Tesla T4"]


def test_without_an_answer_different_gpus_stay_in_bus_order_and_a_note_says_what_to_set():
    findings = read_nvidia(FakeNvml([t4(), h100()]), {}, refuse)
    assert findings.devices[0].device.name == "Tesla T4"
    assert "CUDA_DEVICE_ORDER=PCI_BUS_ID" in findings.notes[0]


def test_bus_order_needs_no_question():
    nvml = FakeNvml([t4(), h100()])
    findings = read_nvidia(nvml, {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, never_ask)
    assert findings.devices[0].device.name == "Tesla T4"


def test_a_mig_instance_is_a_device_of_its_own_size():
    nvml = FakeNvml([h100(instances=[one_slice("MIG-1"), one_slice("MIG-2")])])
    (found,) = read_nvidia(nvml, {"CUDA_VISIBLE_DEVICES": "MIG-2"}, never_ask).devices
    assert found.device == Device(
        kind="cuda",
        name="NVIDIA H100 80GB HBM3",
        arch="sm_90",
        multiprocessors=16,
        memory_bytes=9984 * MIB,
        last_level_cache_bytes=50 * MIB // 8,
        partition="1g.10gb",
        power_limit_w=700,
    )


def test_a_gpu_in_mig_mode_without_an_instance_is_no_device_and_a_note_says_why():
    findings = read_nvidia(FakeNvml([h100(instances=[])]), {}, never_ask)
    assert findings.devices == ()
    assert "see MIG mode" in findings.notes[0]


def test_a_virtual_gpu_may_keep_its_power_limit_to_itself():
    (found,) = read_nvidia(FakeNvml([h100(power_mw=None)]), {}, never_ask).devices
    assert found.device.power_limit_w == 0


def test_a_missing_driver_is_a_note():
    nvml = FakeNvml([], has_library=False)
    findings = read_nvidia(nvml, {}, never_ask)
    assert findings.devices == ()
    assert findings.notes == ("no NVIDIA driver: libnvidia-ml.so.1 not found",)


@pytest.mark.parametrize("environ", [{}, {"CUDA_VISIBLE_DEVICES": ""}])
def test_nvml_is_closed_again(environ):
    nvml = FakeNvml([h100()])
    read_nvidia(nvml, environ, never_ask)
    assert nvml.open_sessions == 0


@pytest.mark.parametrize(
    ("slices", "instance_mib", "whole_mib", "profile"),
    [
        ((1, 1), 4864, 40536, "1g.5gb"),
        ((2, 2), 9856, 40536, "2g.10gb"),
        ((3, 3), 20096, 40536, "3g.20gb"),
        ((1, 3), 20096, 40536, "1c.3g.20gb"),
        ((1, 1), 9984, 81559, "1g.10gb"),
        ((7, 7), 81079, 81559, "7g.80gb"),
    ],
)
def test_profiles_are_named_as_nvidia_smi_names_them(slices, instance_mib, whole_mib, profile):
    assert mig_profile(*slices, instance_mib * MIB, whole_mib * MIB) == profile


def test_the_published_library_has_every_function_that_the_fake_has():
    nvml = load_nvml()
    wanted = [name for name in dir(FakeNvml) if name.startswith(("nvml", "NVML"))]
    assert [name for name in wanted if not hasattr(nvml, name)] == []


def child_that(folder, monkeypatch, script):
    """Lets this shell script stand for the Python that would ask the driver."""
    program = folder / "python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))


def test_the_child_sees_the_devices_it_is_asked_about(tmp_path, monkeypatch):
    answer = '[{"uuid": "\'"$CUDA_VISIBLE_DEVICES"\'", "multiprocessors": 132, "l2_bytes": 7}]'
    child_that(tmp_path, monkeypatch, f"echo '{answer}'")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert ask_cuda("GPU-a") == (CudaAttributes("GPU-a", 132, 7),)
    assert ask_cuda(None) == (CudaAttributes("", 132, 7),)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo context >&2; echo 'cuInit returned CUDA error 999' >&2; exit 1", "CUDA error 999"),
        ("exit 3", "ended with 3"),
    ],
)
def test_a_child_that_fails_gives_its_last_line(tmp_path, monkeypatch, script, reason):
    child_that(tmp_path, monkeypatch, script)
    with pytest.raises(CudaQuestionError, match=reason) as caught:
        ask_cuda(None)
    assert "\n" not in str(caught.value)


def test_a_host_program_without_python_gives_a_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "absent"))
    with pytest.raises(CudaQuestionError, match="was not reached"):
        ask_cuda(None)


@pytest.mark.gpu
def test_the_probe_agrees_with_the_cuda_driver_on_every_visible_gpu():
    findings = survey_devices()
    gpus = [found.device for found in findings.devices if found.device.kind == "cuda"]
    asked = ask_cuda(os.environ.get("CUDA_VISIBLE_DEVICES"))
    assert gpus
    assert [(gpu.multiprocessors, gpu.last_level_cache_bytes) for gpu in gpus] == [
        (answer.multiprocessors, answer.l2_bytes) for answer in asked
    ]
