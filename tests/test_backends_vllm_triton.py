"""What vLLM's unified Triton kernel refuses, and how it is called."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fake_kernels import Recorder, attend, install, make_batch
from torch import Tensor

from kernels_bench.backends.base import Launch
from kernels_bench.backends.vllm_triton import BACKEND, split_threshold
from kernels_bench.batch import Batch, make_batches, make_contents
from kernels_bench.gate import check, make_truth
from kernels_bench.spec import AttentionSpec, Device, Mla, Pages, Phase
from kernels_bench.workload import parse_workload

H100 = Device("cuda", "NVIDIA H100 80GB HBM3", "sm_90", 132, 80 << 30, 50 << 20)
RTX_5090 = replace(H100, name="NVIDIA GeForce RTX 5090", arch="sm_120")
A100 = replace(H100, name="NVIDIA A100-SXM4-80GB", arch="sm_80")
T4 = replace(H100, name="Tesla T4", arch="sm_75")
MI300 = Device("rocm", "AMD Instinct MI300X", "gfx942", 304, 192 << 30, 256 << 20)
CPU = Device("cpu", "CPU", "x86_64+avx2", 2, 16 << 30, 32 << 20)
STACK = {"torch": "2.11.0", "cuda": "13.0", "vllm": "0.24.0"}
SPEC = AttentionSpec(8, 2, 32, "bfloat16", num_layers=1)
(UNIFIED,) = BACKEND.variants(H100, SPEC, STACK)


def refusals(
    device: Device = H100,
    features: Mapping[str, Any] | None = None,
    stack: Mapping[str, str] = STACK,
) -> dict[str, str]:
    spec = replace(SPEC, **(features or {}))
    support = BACKEND.supports(UNIFIED, device, spec, Phase.DECODE, stack)
    return {reason.field: reason.text for reason in support.reasons}


def test_the_variant() -> None:
    assert UNIFIED.name == "unified"
    assert UNIFIED.packages == ("vllm",)
    assert UNIFIED.graph_phases == set(Phase)
    assert UNIFIED.pages == tuple(Pages(size) for size in (16, 32, 64, 128, 256))
    assert UNIFIED.engine_options == {"vllm": {"attention_backend": "TRITON_ATTN"}}


@pytest.mark.parametrize(
    ("features", "fields"),
    [
        ({}, set()),
        ({"sliding_window": 128}, set()),
        ({"logit_softcap": 50.0}, set()),
        ({"has_sinks": True}, set()),
        ({"has_alibi": True}, set()),
        ({"causal": False}, set()),
        ({"dtype": "float16"}, set()),
        ({"num_kv_heads": 1}, set()),
        ({"head_dim": 512}, set()),
        ({"head_dim": 16}, {"head_dim"}),
        ({"dtype": "float64"}, {"dtype"}),
        ({"head_dim_v": 128}, {"head_dim_v"}),
        ({"attention_chunk": 8192}, {"attention_chunk"}),
        ({"kv_dtype": "fp8_e4m3"}, set()),
        ({"kv_dtype": "fp8_e5m2"}, {"kv_dtype"}),
        ({"batch_invariant": True}, set()),
        ({"causal": False, "attention_type": "cross"}, set()),
        ({"causal": False, "attention_type": "encoder_only"}, {"phase"}),
        ({"mla": Mla(512, 64, 128, 128)}, {"mla"}),
        ({"causal": False, "sliding_window": 128}, set()),
        ({"kv_dtype": "fp8_e4m3", "has_sinks": True}, {"kv_dtype"}),
        ({"head_dim": 16, "attention_chunk": 8192}, {"head_dim", "attention_chunk"}),
    ],
    ids=str,
)
def test_layers(features: dict[str, Any], fields: set[str]) -> None:
    assert set(refusals(features=features)) == fields


@pytest.mark.parametrize(
    ("device", "dtype", "version", "reasons"),
    [
        (H100, "bfloat16", "0.33.0", {}),
        (RTX_5090, "bfloat16", "0.30.1", {}),
        (
            RTX_5090,
            "bfloat16",
            "0.31.0",
            {
                "arch": "arch sm_120: vllm 0.31.0 splits contexts by a rule of its own there,"
                " which is not reproduced"
            },
        ),
        (T4, "bfloat16", "0.24.0", {"arch": "arch sm_75: bfloat16 needs sm_80 or later"}),
        (T4, "float16", "0.24.0", {}),
        (CPU, "bfloat16", "0.24.0", {"device": "device cpu: runs on cuda and rocm"}),
    ],
)
def test_devices(device: Device, dtype: str, version: str, reasons: dict[str, str]) -> None:
    assert refusals(device, {"dtype": dtype}, {**STACK, "vllm": version}) == reasons


def test_an_fp8_cache_needs_a_part_that_computes_with_it() -> None:
    fp8 = {"kv_dtype": "fp8_e4m3"}
    amd = {"torch": "2.11.0", "hip": "7.1", "vllm": "0.24.0+rocm"}
    assert refusals(A100, fp8) == {
        "kv_dtype": "kv_dtype fp8_e4m3: needs sm_89 or later, this is sm_80"
    }
    assert refusals(MI300, fp8, amd) == {}
    assert refusals(replace(MI300, arch="gfx1100"), fp8, amd) == {}


def test_amd_s_devices_run_it_too() -> None:
    assert refusals(MI300, stack={"torch": "2.11.0", "hip": "7.1", "vllm": "0.24.0+rocm"}) == {}


@pytest.mark.parametrize(
    ("stack", "text"),
    [
        ({}, "vllm: not installed; pip install vllm"),
        (
            {"vllm": "0.23.1"},
            "vllm 0.23.1: needs vllm >= 0.24",
        ),
        (
            {"vllm": "0.34.0rc1"},
            "vllm 0.34.0rc1: needs vllm <= 0.33, the newest that this was read against",
        ),
        ({"vllm": "dev"}, "vllm dev: needs vllm >= 0.24"),
    ],
)
def test_the_window_of_versions(stack: dict[str, str], text: str) -> None:
    assert refusals(stack={"torch": "2.11.0", "cuda": "13.0", **stack}) == {"package": text}


@pytest.mark.parametrize(
    ("num_kv_heads", "threshold"),
    [(1, 128), (2, 64), (3, 40), (4, 32), (8, 16), (16, 8), (32, 4), (64, 2), (256, 1)],
)
def test_how_many_requests_have_their_contexts_split(num_kv_heads: int, threshold: int) -> None:
    assert split_threshold(num_kv_heads) == threshold


def scaled(stored: Tensor, scale: Tensor) -> Tensor:
    return (stored.float() * scale[0, 0]).to(torch.bfloat16)


class FakeKernel(Recorder):
    """`unified_attention` with the parameters that 0.24 requires."""

    def unified_attention(
        self,
        *,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        out: Tensor,
        cu_seqlens_q: Tensor,
        max_seqlen_q: int,
        seqused_k: Tensor,
        max_seqlen_k: int,
        softmax_scale: float,
        causal: bool,
        window_size: tuple[int, int],
        block_table: Tensor,
        softcap: float,
        q_descale: Tensor | None,
        k_descale: Tensor,
        v_descale: Tensor,
        seq_threshold_3D: int | None,
        num_par_softmax_segments: int,
        softmax_segm_output: Tensor,
        softmax_segm_max: Tensor,
        softmax_segm_expsum: Tensor,
        alibi_slopes: Tensor | None,
        sinks: Tensor | None,
        kv_quant_mode: str = "none",
    ) -> None:
        self.calls.append(dict(locals()))
        assert (kv_quant_mode == "fp8") == (k.element_size() == 1)
        out.copy_(
            attend(
                (q.float() * (1 if q_descale is None else q_descale)).to(out.dtype),
                (scaled(k, k_descale), scaled(v, v_descale)),
                block_table,
                cu_seqlens_q,
                seqused_k,
                softmax_scale,
                causal,
                window_size,
                softcap,
                alibi_slopes,
                sinks,
            )
        )


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    fake = FakeKernel()
    name = "vllm.v1.attention.ops.triton_unified_attention"
    install(monkeypatch, name, unified_attention=fake.unified_attention)
    modes = SimpleNamespace(FP8_PER_TENSOR="fp8")
    install(monkeypatch, "vllm.v1.kv_cache_interface", KVQuantMode=modes)
    return fake


def run(spec: AttentionSpec, batch: Batch) -> Launch:
    batch.output.fill_(math.nan)
    launch = BACKEND.prepare(UNIFIED, spec, batch)
    launch.plan()
    launch.run()
    return launch


@pytest.mark.parametrize("text", ["q20_2q5v9", "q7s40", "3q1s30v60", "2q4s50"])
@pytest.mark.parametrize(
    "features",
    [
        {},
        {"sliding_window": 11},
        {"logit_softcap": 5.0, "softmax_scale": 0.3},
        {"has_sinks": True},
        {"has_alibi": True},
        {"causal": False},
        {"kv_dtype": "fp8_e4m3"},
        {"batch_invariant": True},
        {"num_q_heads": 12, "num_kv_heads": 4, "head_dim": 48},
    ],
    ids=str,
)
def test_the_arguments_say_what_the_layer_is(
    fake: FakeKernel, features: dict[str, Any], text: str
) -> None:
    spec = replace(SPEC, **features)
    contents, batch = make_batch(spec, text, Pages(16))
    run(spec, batch)
    assert check(make_truth(spec, contents), batch.output) is None


def test_the_kernel_gets_the_batch_itself(fake: FakeKernel) -> None:
    spec = replace(SPEC, sliding_window=12, has_sinks=True)
    _, batch = make_batch(spec, "3q1s30", Pages(32))
    run(spec, batch)
    given = fake.last
    assert given["q"] is batch.query
    assert given["k"] is batch.key_cache
    assert given["v"] is batch.value_cache
    assert given["out"] is batch.output
    assert given["seqused_k"] is batch.seq_lens
    assert given["cu_seqlens_q"] is batch.query_start_loc
    assert given["block_table"] is batch.block_table
    assert given["sinks"] is batch.sinks
    assert (given["max_seqlen_q"], given["max_seqlen_k"]) == (1, 30)
    assert given["window_size"] == (11, 0)
    assert given["softmax_scale"] == 32**-0.5
    assert given["k_descale"].tolist() == given["v_descale"].tolist() == [[1.0, 1.0]] * 3


def test_beside_an_fp8_cache_the_query_is_in_fp8_too(fake: FakeKernel) -> None:
    spec = replace(SPEC, kv_dtype="fp8_e4m3")
    _, batch = make_batch(spec, "3q1s30", Pages(16))
    run(spec, batch)
    assert fake.last["q"].dtype is torch.float8_e4m3fn
    assert fake.last["q_descale"] is batch.q_scale


def test_a_result_that_must_not_depend_on_the_batch_is_never_split(fake: FakeKernel) -> None:
    spec = replace(SPEC, batch_invariant=True)
    _, batch = make_batch(spec, "3q1s30", Pages(16))
    run(spec, batch)
    assert fake.last["seq_threshold_3D"] is None


@pytest.mark.parametrize(
    ("text", "rows"), [("3q1s30", 64), ("2q4s50", 64 * 4), ("q20_2q5v9", 64 * 8)]
)
def test_a_split_has_room_for_every_query_token(fake: FakeKernel, text: str, rows: int) -> None:
    spec = replace(SPEC, head_dim=48)
    _, batch = make_batch(spec, text, Pages(16))
    run(spec, batch)
    given = fake.last
    assert (given["seq_threshold_3D"], given["num_par_softmax_segments"]) == (64, 16)
    assert given["softmax_segm_output"].shape == (rows, 8, 16, 64)
    assert given["softmax_segm_max"].shape == given["softmax_segm_expsum"].shape == (rows, 8, 16)
    assert given["softmax_segm_output"].dtype == torch.float32
    assert given["softmax_segm_max"] is not given["softmax_segm_expsum"]


def test_launches_over_several_page_sets_share_one_buffer(fake: FakeKernel) -> None:
    contents = make_contents(SPEC, parse_workload("3q1s30"), torch.device("cpu"))
    for batch in make_batches(SPEC, contents, Pages(16), count=3):
        run(SPEC, batch)
    assert len({call["softmax_segm_output"].data_ptr() for call in fake.calls}) == 1
    assert len({call["block_table"].data_ptr() for call in fake.calls}) == 3
