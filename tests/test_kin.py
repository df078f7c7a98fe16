"""Which devices may borrow from each other."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes import CPU, H100

from autotune.kin import kinship
from kernels_bench.spec import Device

A100_80 = Device("cuda", "NVIDIA A100-SXM4-80GB", "sm_80", 108, 80 << 30, 40 << 20)
A100_40 = replace(A100_80, name="NVIDIA A100-SXM4-40GB", memory_bytes=40 << 30)
MI300X = Device("rocm", "AMD Instinct MI300X", "gfx942", 304, 192 << 30, 256 << 20)
MI325X = replace(MI300X, name="AMD Instinct MI325X", memory_bytes=256 << 30)


def test_another_memory_size_of_the_same_part() -> None:
    assert kinship(A100_40, A100_80) == (
        "name NVIDIA A100-SXM4-80GB where it was measured, NVIDIA A100-SXM4-40GB here",
        "memory 80 GiB where it was measured, 40 GiB here",
    )


def test_another_partition_of_the_same_part() -> None:
    slice_ = replace(H100, partition="3g.40gb", multiprocessors=60, memory_bytes=40 << 30)
    assert kinship(slice_, H100)[1:] == (
        "partition none where it was measured, 3g.40gb here",
        "multiprocessors 132 where it was measured, 60 here",
    )


def test_a_declared_alias() -> None:
    assert kinship(MI325X, MI300X)
    assert kinship(MI300X, MI325X)


def test_a_gpu_that_is_passed_through_to_a_virtual_host() -> None:
    virtual = replace(MI300X, name="AMD Instinct MI300X VF", memory_bytes=205822885888)
    assert kinship(virtual, MI300X)
    assert kinship(virtual, MI325X) == ()


def test_an_alias_that_the_user_declares() -> None:
    pcie = replace(H100, name="NVIDIA H100 PCIe", multiprocessors=114)
    assert kinship(pcie, H100) == ()
    assert kinship(pcie, H100, (("nvidia h100 80gb hbm3", "NVIDIA H100 PCIe"),))


@pytest.mark.parametrize(
    "other",
    [
        replace(H100, name="NVIDIA H200"),
        replace(H100, multiprocessors=114),
        replace(H100, arch="sm_100"),
        CPU,
        H100,
    ],
)
def test_everything_else_is_no_kin(other: Device) -> None:
    assert kinship(H100, other) == ()
