"""What an engine would take by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes import CPU, FULL, H100

from autotune.incumbents import default_order, with_variants
from kernels_bench.spec import Device

MI300X = Device("rocm", "AMD Instinct MI300X", "gfx942", 304, 192 << 30, 256 << 20)


@pytest.mark.parametrize(
    ("engine", "device", "first"),
    [
        ("any", CPU, "torch_sdpa"),
        ("any", H100, "flash_attn"),
        ("any", replace(H100, arch="sm_100"), "flashinfer"),
        ("any", replace(H100, arch="sm_103"), "flashinfer"),
        ("any", replace(H100, arch="sm_120"), "flash_attn"),
        ("any", MI300X, "triton_split"),
        ("vllm", CPU, "vllm_cpu"),
        ("vllm", H100, "flash_attn"),
        ("vllm", replace(H100, arch="sm_100"), "flashinfer"),
        ("vllm", replace(H100, arch="sm_120"), "flash_attn"),
        ("sglang", CPU, "sglang_amx"),
        ("sglang", H100, "flash_attn"),
        ("sglang", replace(H100, arch="sm_100"), "flashinfer_trtllm"),
        ("sglang", replace(H100, arch="sm_89"), "flashinfer"),
        ("sglang", MI300X, "aiter_fa"),
    ],
)
def test_the_first_of_each_engine_and_platform(engine: str, device: Device, first: str) -> None:
    order = default_order(engine, device)
    assert order[0] == first
    assert len(set(order)) == len(order)


def test_sglang_goes_around_flashinfer_where_a_model_has_sinks() -> None:
    sinks = (FULL, replace(FULL, has_sinks=True))
    assert default_order("sglang", replace(H100, arch="sm_89"), sinks)[0] == "sglang_triton"
    assert default_order("sglang", H100, sinks)[0] == "flash_attn"


def test_variants_stand_in_their_own_order_and_strangers_come_last_by_name() -> None:
    labels = ("zeta:a", "torch_flex:y", "torch_flex:x", "alpha:b", "torch_sdpa:c")
    assert with_variants(("torch_sdpa", "torch_flex", "absent"), labels) == (
        "torch_sdpa:c", "torch_sdpa", "torch_flex:y", "torch_flex:x", "torch_flex", "absent",
        "alpha:b", "alpha", "zeta:a", "zeta",
    )  # fmt: skip
