"""What an engine would take by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes import CPU, H100

from autotune.incumbents import default_order, rank
from kernels_bench.spec import Device

MI300X = Device("rocm", "AMD Instinct MI300X", "gfx942", 304, 192 << 30, 256 << 20)


@pytest.mark.parametrize(
    ("device", "first"),
    [
        (CPU, "torch_sdpa"),
        (H100, "flash_attn"),
        (replace(H100, arch="sm_100"), "flashinfer"),
        (replace(H100, arch="sm_103"), "flashinfer"),
        (replace(H100, arch="sm_120"), "flash_attn"),
        (MI300X, "triton_split"),
    ],
)
def test_the_first_of_each_platform(device: Device, first: str) -> None:
    order = default_order(device)
    assert order[0] == first
    assert len(set(order)) == len(order)


def test_who_is_not_named_comes_last_by_name() -> None:
    order = ("torch_sdpa", "torch_flex")
    names = ["zeta", "torch_flex", "alpha", "torch_sdpa"]
    ranked = sorted(names, key=lambda name: rank(order, name))
    assert ranked == ["torch_sdpa", "torch_flex", "alpha", "zeta"]
