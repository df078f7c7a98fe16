"""The answers below have the shape that amdsmi 7.0.2 gives them."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from kernels_bench.devices.amd import read_amd
from kernels_bench.devices.smi import load_amdsmi, silence
from kernels_bench.spec import Device

GIB = 1 << 30
MIB = 1 << 20


class FakeError(Exception):
    pass


@dataclass
class Board:
    serial: str
    hip_id: object
    name: str = "AMD Instinct MI300X OAM"
    arch: str = "gfx942"
    compute_units: object = 304
    memory_bytes: int = 192 * GIB
    caches: tuple[tuple[int, int, int], ...] = ((1, 32, 304), (2, 4096, 8), (3, 262144, 1))
    """Level, KiB, instances."""
    modes: tuple[str, str] | None = ("SPX", "NPS1")
    power_cap: object = 750_000_000


@dataclass
class FakeAmdsmi:
    boards: list[Board]
    works: bool = True
    AmdSmiException: type[Exception] = field(default=FakeError)
    AmdSmiMemoryType: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(VRAM=0))

    def amdsmi_init(self):
        if not self.works:
            raise FakeError("Error code:\n\t34 | AMDSMI_STATUS_DRIVER_NOT_LOADED - not loaded")

    def amdsmi_shut_down(self):
        raise FakeError("Error code:\n\t32 | AMDSMI_STATUS_NOT_INIT")

    def amdsmi_get_processor_handles(self):
        return self.boards

    def amdsmi_get_gpu_enumeration_info(self, handle):
        return {"drm_render": 128, "drm_card": 0, "hsa_id": 1, "hip_id": handle.hip_id}

    def amdsmi_get_gpu_asic_info(self, handle):
        return {
            "market_name": handle.name,
            "vendor_id": "0x1002",
            "asic_serial": handle.serial,
            "num_compute_units": handle.compute_units,
            "target_graphics_version": handle.arch,
        }

    def amdsmi_get_gpu_memory_total(self, handle, mem_type):
        assert mem_type == self.AmdSmiMemoryType.VRAM
        return handle.memory_bytes

    def amdsmi_get_gpu_cache_info(self, handle):
        return {
            "cache": [
                {
                    "cache_properties": ["DATA_CACHE", "SIMD_CACHE"],
                    "cache_size": size,
                    "cache_level": level,
                    "max_num_cu_shared": 1,
                    "num_cache_instance": count,
                }
                for level, size, count in handle.caches
            ]
        }

    def amdsmi_get_gpu_compute_partition(self, handle):
        if handle.modes is None:
            raise FakeError("AMDSMI_STATUS_NOT_SUPPORTED")
        return handle.modes[0]

    def amdsmi_get_gpu_memory_partition(self, handle):
        return handle.modes[1]

    def amdsmi_get_power_cap_info(self, handle):
        return {"power_cap": handle.power_cap, "default_power_cap": 750_000_000}

    def amdsmi_get_gpu_driver_info(self, _handle):
        return {"driver_name": "amdgpu", "driver_version": "6.14.14", "driver_date": "2015/01/01"}

    def amdsmi_get_rocm_version(self):
        return True, "7.0.2"


def only_device(board):
    (found,) = read_amd(FakeAmdsmi([board]), {}).devices
    return found.device


def test_an_mi300x_has_the_infinity_cache_and_torchs_selector():
    (found,) = read_amd(FakeAmdsmi([Board("0x0A", 0)]), {}).devices
    assert found.selector == "cuda:0"
    assert found.driver == {"amdgpu-driver": "6.14.14", "rocm-runtime": "7.0.2"}
    assert found.device == Device(
        kind="rocm",
        name="AMD Instinct MI300X OAM",
        arch="gfx942",
        multiprocessors=304,
        memory_bytes=192 * GIB,
        last_level_cache_bytes=256 * MIB,
        power_limit_w=750,
    )


def test_a_driver_that_knows_no_infinity_cache_makes_no_other_device():
    with_l3 = only_device(Board("0x0A", 0))
    without_l3 = only_device(Board("0x0A", 0, caches=((1, 32, 304), (2, 4096, 8))))
    assert with_l3 == without_l3


@pytest.mark.parametrize(
    ("arch", "caches", "expected"),
    [
        ("gfx1100", ((1, 32, 96), (2, 6144, 1), (3, 98304, 1)), 96 * MIB),
        ("gfx1100", ((1, 32, 80), (2, 6144, 1), (3, 65536, 1)), 64 * MIB),
        ("gfx1103", ((1, 16, 12), (2, 2048, 1)), 2 * MIB),
        ("gfx906", ((1, 16, 60), (2, 4096, 2)), 8 * MIB),
    ],
)
def test_a_radeons_cache_is_what_its_driver_reports(arch, caches, expected):
    radeon = Board("0x0A", 0, "AMD Radeon", arch, 96, caches=caches, modes=None)
    assert only_device(radeon).last_level_cache_bytes == expected


@pytest.mark.parametrize(
    ("arch", "expected"), [("gfx1030", 128 * MIB), ("gfx1100", 96 * MIB), ("gfx1201", 64 * MIB)]
)
def test_an_infinity_cache_that_the_driver_hides_is_that_of_the_largest_part(arch, expected):
    caches = ((1, 32, 64), (2, 4096, 1))
    radeon = Board("0x0A", 0, "AMD Radeon", arch, 64, caches=caches, modes=None)
    assert only_device(radeon).last_level_cache_bytes == expected


def test_a_partition_is_named_by_both_modes():
    assert only_device(Board("0x0A", 0, modes=("CPX", "NPS4"))).partition == "CPX/NPS4"
    assert only_device(Board("0x0A", 0, modes=("CPX", "NPS1"))).partition == "CPX/NPS1"
    assert only_device(Board("0x0A", 0, modes=("SPX", "NPS1"))).partition == ""
    assert only_device(Board("0x0A", 0, modes=None)).partition == ""


@pytest.mark.parametrize(("cap", "watts"), [(750_000_000, 750), (750, 750), ("N/A", 0)])
def test_a_power_cap_comes_in_microwatts_or_in_watts(cap, watts):
    assert only_device(Board("0x0A", 0, power_cap=cap)).power_limit_w == watts


def test_gpus_are_numbered_as_hip_numbers_them():
    boards = [Board("0x0A", 1, name="second"), Board("0x0B", 0, name="first")]
    names = [found.device.name for found in read_amd(FakeAmdsmi(boards), {}).devices]
    assert names == ["first", "second"]


def test_without_hips_number_the_librarys_order_stays():
    boards = [Board("0x0A", "N/A", name="first"), Board("0x0B", 0, name="second")]
    names = [found.device.name for found in read_amd(FakeAmdsmi(boards), {}).devices]
    assert names == ["first", "second"]


def test_a_gpu_is_chosen_by_the_serial_number_that_rocm_uses():
    boards = [Board("0x0000000000000A0A", 0), Board("0x0000000000000B0B", 1, name="chosen")]
    environ = {"ROCR_VISIBLE_DEVICES": "GPU-0000000000000b0b"}
    (found,) = read_amd(FakeAmdsmi(boards), environ).devices
    assert (found.selector, found.device.name) == ("cuda:0", "chosen")


def test_a_gpu_that_cannot_be_read_is_a_note_and_the_others_keep_their_number():
    boards = [Board("0x0A", 0, compute_units="N/A"), Board("0x0B", 1)]
    findings = read_amd(FakeAmdsmi(boards), {})
    assert [found.selector for found in findings.devices] == ["cuda:1"]
    assert findings.notes[0].startswith("cuda:0 (GPU-0a) cannot be read")


def test_a_driver_that_is_not_loaded_is_one_line():
    findings = read_amd(FakeAmdsmi([], works=False), {})
    assert findings.notes == (
        "the AMD driver does not answer: "
        "Error code: 34 | AMDSMI_STATUS_DRIVER_NOT_LOADED - not loaded",
    )


def test_a_library_that_prints_and_raises_at_import_is_an_import_error(
    tmp_path, monkeypatch, capfd
):
    (tmp_path / "amdsmi.py").write_text(
        "import os\nprint('Unable to find it')\nos.write(1, b'from C')\n{}['libamd_smi.so']\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "amdsmi", raising=False)
    with silence(), pytest.raises(ImportError, match="no ROCm library"):
        load_amdsmi()
    assert capfd.readouterr() == ("", "")


def test_silence_ends(capfd):
    with silence():
        os.write(1, b"hidden")
    os.write(1, b"seen")
    assert capfd.readouterr().out == "seen"
