"""The catalogue agrees with itself, and with what our own probes know of the parts."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from autotune.elsewhere import is_selector
from kernels_bench.devices.amd_parts import LARGEST_INFINITY_CACHE_BYTES, LAST_LEVEL_CACHE_BYTES
from kernels_bench.devices.catalogue import PARTS, Part, part_called, short_names
from kernels_bench.devices.cpu import cpu_arch
from kernels_bench.devices.nvidia_parts import CORES_PER_MULTIPROCESSOR, L2_BYTES
from kernels_bench.stack import normalised

NEEDED = {
    "cuda": {"torch", "triton", "cuda", "vllm", "flashinfer-python", "nvcc", "c++", "ninja",
             "nvidia-driver"},
    "rocm": {"torch", "triton", "hip", "vllm", "amd-aiter", "c++", "ninja"},
    "cpu": {"torch", "vllm", "c++", "python-headers"},
}  # fmt: skip
"""What backends of a kind ask a stack for."""
ARCH = {"cuda": r"sm_\d{2,3}", "rocm": r"gfx[0-9a-f]{3,4}", "cpu": r"(x86_64|aarch64)(\+\w+)+"}

each_part = pytest.mark.parametrize("part", PARTS, ids=lambda part: part.aliases[0])


@pytest.mark.parametrize(
    "alias",
    [
        "a100",
        "a100-40gb",
        "l4",
        "l40s",
        "3090",
        "4090",
        "5090",
        "h100",
        "h100-pcie",
        "h200",
        "b200",
        "gb300",
        "b300",
        "mi250x",
        "mi300x",
        "mi325x",
        "mi355x",
        "7900xtx",
        "9070xt",
        "strix-halo",
        "gfx90a",
        "gfx950",
        "gfx1100",
        "gfx1201",
        "gfx1151",
        "sapphire-rapids",
        "zen4",
        "avx2",
        "graviton4",
        "grace",
    ],
)
def test_every_part_is_called_by_its_short_names(alias: str) -> None:
    part = part_called(alias.upper())
    assert part is not None
    assert alias in part.aliases


def test_an_a100_is_the_one_with_80_gib() -> None:
    part = part_called("a100")
    assert part is not None
    assert part.device.name == "NVIDIA A100-SXM4-80GB"


def test_a_name_that_nobody_declared() -> None:
    assert part_called("a100 80gb") is None


def test_an_alias_is_for_one_part_alone_and_no_selector() -> None:
    aliases = [alias for part in PARTS for alias in part.aliases]
    assert [alias for alias, count in Counter(aliases).items() if count > 1] == []
    assert [alias for alias in aliases if is_selector(alias) or alias != alias.lower()] == []


def test_no_part_is_in_it_twice_and_each_is_told_to_people() -> None:
    assert len({part.device for part in PARTS}) == len(PARTS)
    assert short_names().split(", ") == [part.aliases[0] for part in PARTS]


@each_part
def test_a_part_has_every_fact(part: Part) -> None:
    device = part.device
    assert re.fullmatch(ARCH[device.kind], device.arch)
    assert device.multiprocessors > 0
    assert device.memory_bytes >= 1 << 30
    assert device.memory_bytes > device.last_level_cache_bytes > 0
    assert (device.power_limit_w > 0) == (device.kind != "cpu")
    assert device.partition == ""


@each_part
def test_a_stack_has_what_the_kind_needs_and_a_source(part: Part) -> None:
    versions = part.stack.versions
    assert set(versions) >= NEEDED[part.device.kind]
    assert all(normalised(name) == name and version for name, version in versions.items())
    assert part.stack.source


@each_part
def test_nvidia_s_parts_agree_with_the_probe_s_table(part: Part) -> None:
    device = part.device
    if device.kind == "cuda":
        assert L2_BYTES.get(device.name, device.last_level_cache_bytes) == (
            device.last_level_cache_bytes
        )
        number = int(device.arch.removeprefix("sm_"))
        assert (number // 10, number % 10) in CORES_PER_MULTIPROCESSOR


@each_part
def test_amd_s_parts_agree_with_the_probe_s_table(part: Part) -> None:
    device = part.device
    if device.kind == "rocm":
        known = {**LARGEST_INFINITY_CACHE_BYTES, **LAST_LEVEL_CACHE_BYTES}
        assert known[device.arch] == device.last_level_cache_bytes


FLAGS = {
    "sapphire-rapids": ("x86_64", "avx2 avx512f avx512_bf16 amx_bf16"),
    "zen4": ("x86_64", "avx2 avx512f avx512_bf16"),
    "zen3": ("x86_64", "avx2"),
    "graviton4": ("aarch64", "sve sve2 bf16"),
    "grace": ("aarch64", "sve sve2 bf16"),
}


@pytest.mark.parametrize("alias", FLAGS)
def test_a_cpu_s_architecture_is_spelled_as_the_probe_spells_it(alias: str) -> None:
    machine, flags = FLAGS[alias]
    part = part_called(alias)
    assert part is not None
    assert part.device.arch == cpu_arch(machine, frozenset(flags.split()))
