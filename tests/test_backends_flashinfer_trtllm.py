"""What TensorRT-LLM's kernels inside FlashInfer refuse, and how they are called."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from fake_kernels import Recorder, attend, install, make_batch
from torch import Tensor

from kernels_bench.backends.flashinfer import BACKEND
from kernels_bench.batch import Batch
from kernels_bench.gate import check, make_truth
from kernels_bench.spec import AttentionSpec, Device, Pages, Phase, Variant

H100 = Device("cuda", "NVIDIA H100 80GB HBM3", "sm_90", 132, 80 << 30, 50 << 20)
A100 = replace(H100, name="NVIDIA A100-SXM4-80GB", arch="sm_80")
L4 = replace(H100, name="NVIDIA L4", arch="sm_89")
B200 = replace(H100, name="NVIDIA B200", arch="sm_100")
GB300 = replace(H100, name="NVIDIA GB300", arch="sm_103")
RTX5090 = replace(H100, name="NVIDIA GeForce RTX 5090", arch="sm_120")
STACK = {
    "torch": "2.11.0",
    "cuda": "13.0",
    "flashinfer-python": "0.6.12",
    "flashinfer-cubin": "0.6.12",
    "nvcc": "13.0",
    "c++": "14.2.0",
    "ninja": "1.13.0",
}
SPEC = AttentionSpec(8, 2, 64, "bfloat16", num_layers=1)


def variant(name: str, device: Device) -> Variant:
    return next(each for each in BACKEND.variants(device, SPEC, STACK) if each.name == name)


def refusals(
    name: str,
    device: Device,
    features: Mapping[str, Any] | None = None,
    stack: Mapping[str, str] = STACK,
    phase: Phase = Phase.DECODE,
) -> dict[str, str]:
    spec = replace(SPEC, **(features or {}))
    support = BACKEND.supports(variant(name, device), device, spec, phase, stack)
    return {reason.field: reason.text for reason in support.reasons}


@pytest.mark.parametrize("device", [B200, GB300])
def test_on_blackwell_vllm_s_option_means_trtllm_gen(device: Device) -> None:
    first, *others = BACKEND.variants(device, SPEC, STACK)
    assert first.name == "trtllm-gen"
    assert first.engine_options == {"vllm": {"attention_backend": "FLASHINFER"}}
    assert first.pages == tuple(Pages(size, "HND") for size in (16, 32, 64))
    assert [each.name for each in others] == ["fa2", "fa3", "xqa", "decode", "decode-tc"]
    assert all(not each.engine_options for each in others)


@pytest.mark.parametrize(
    ("device", "of_xqa", "of_trtllm_gen"),
    [
        (H100, set(), {"arch"}),
        (A100, {"arch"}, {"arch"}),
        (L4, {"arch"}, {"arch"}),
        (B200, set(), set()),
        (GB300, set(), set()),
        (RTX5090, set(), {"arch"}),
    ],
    ids=lambda value: value.arch if isinstance(value, Device) else "",
)
def test_devices(device: Device, of_xqa: set[str], of_trtllm_gen: set[str]) -> None:
    assert set(refusals("xqa", device)) == of_xqa
    assert set(refusals("trtllm-gen", device)) == of_trtllm_gen


@pytest.mark.parametrize(
    ("features", "of_xqa", "of_trtllm_gen"),
    [
        ({"sliding_window": 128}, set(), set()),
        ({"has_sinks": True}, set(), set()),
        ({"kv_dtype": "fp8_e4m3"}, set(), set()),
        ({"kv_dtype": "fp8_e5m2"}, {"kv_dtype"}, {"kv_dtype"}),
        ({"logit_softcap": 50.0}, {"logit_softcap"}, {"logit_softcap"}),
        ({"has_alibi": True}, {"has_alibi"}, {"has_alibi"}),
        ({"causal": False}, set(), {"causal"}),
        ({"batch_invariant": True}, {"batch_invariant"}, {"batch_invariant"}),
        ({"attention_chunk": 64}, {"attention_chunk"}, {"attention_chunk"}),
        ({"head_dim": 96}, set(), {"head_dim"}),
        ({"head_dim": 72}, {"head_dim"}, {"head_dim"}),
        ({"head_dim": 512}, {"head_dim"}, {"head_dim"}),
        ({"num_q_heads": 56, "num_kv_heads": 8}, set(), set()),
        ({"num_q_heads": 64, "num_kv_heads": 1}, {"num_q_heads"}, set()),
    ],
    ids=str,
)
def test_layers(features: dict[str, Any], of_xqa: set[str], of_trtllm_gen: set[str]) -> None:
    assert set(refusals("xqa", B200, features)) == of_xqa
    assert set(refusals("trtllm-gen", B200, features)) == of_trtllm_gen


def test_xqa_takes_decodes_and_trtllm_gen_every_phase() -> None:
    for phase in Phase:
        assert set(refusals("trtllm-gen", B200, phase=phase)) == set()
        expected = set() if phase is Phase.DECODE else {"phase"}
        assert set(refusals("xqa", B200, phase=phase)) == expected


def test_what_must_be_installed() -> None:
    bare = {name: STACK[name] for name in ("torch", "cuda", "flashinfer-python")}
    assert refusals("trtllm-gen", B200, stack=bare) == {
        "package": "flashinfer-cubin: not installed; pip install flashinfer-cubin"
    }
    assert refusals("trtllm-gen", B200, stack={**bare, "flashinfer-cubin": "0.6.11"}) == {
        "package": "flashinfer-cubin 0.6.11: install 0.6.12, the release of flashinfer-python"
    }
    cached = {**bare, "flashinfer-jit-cache": "0.6.12+cu130"}
    assert refusals("xqa", H100, stack=cached) == {}
    assert refusals("xqa", H100, {"head_dim": 128, "num_q_heads": 14}, cached) == {
        "package": "ninja: not installed; pip install ninja"
    }


class FakeKernels:
    """FlashInfer's functions with their parameters; each computes what it is asked for."""

    def __init__(self) -> None:
        self.decodes, self.contexts = Recorder(), Recorder()

    def xqa(
        self,
        query: Tensor,
        kv_cache: tuple[Tensor, Tensor],
        workspace_buffer: Tensor,
        block_tables: Tensor,
        seq_lens: Tensor,
        max_seq_len: int,
        bmm1_scale: float,
        bmm2_scale: float,
        window_left: int,
        out: Tensor,
        sinks: Tensor | None,
        kv_layout: str,
    ) -> None:
        self.decode(
            query,
            kv_cache,
            workspace_buffer,
            block_tables,
            seq_lens,
            max_seq_len,
            bmm1_scale,
            bmm2_scale,
            window_left,
            out,
            sinks,
            kv_layout,
            1,
        )

    def decode(
        self,
        query: Tensor,
        kv_cache: tuple[Tensor, Tensor],
        workspace_buffer: Tensor,
        block_tables: Tensor,
        seq_lens: Tensor,
        max_seq_len: int,
        bmm1_scale: float,
        bmm2_scale: float,
        window_left: int,
        out: Tensor,
        sinks: Tensor | None,
        kv_layout: str,
        q_len_per_req: int,
    ) -> None:
        self.decodes.calls.append(dict(locals()))
        _attend(self.decodes.last, torch.arange(len(seq_lens) + 1) * q_len_per_req)

    def context(
        self,
        query: Tensor,
        kv_cache: tuple[Tensor, Tensor],
        workspace_buffer: Tensor,
        block_tables: Tensor,
        seq_lens: Tensor,
        max_q_len: int,
        max_kv_len: int,
        bmm1_scale: float,
        bmm2_scale: float,
        batch_size: int,
        cum_seq_lens_q: Tensor,
        cum_seq_lens_kv: Tensor,
        window_left: int,
        out: Tensor,
        sinks: Tensor | None,
        kv_layout: str,
    ) -> None:
        self.contexts.calls.append(dict(locals()))
        assert batch_size == len(seq_lens)
        size = kv_cache[0].shape[2 if kv_layout == "HND" else 1]
        pages = (seq_lens + size - 1) // size
        assert cum_seq_lens_kv.tolist() == [0, *pages.cumsum(0).tolist()]
        _attend(self.contexts.last, cum_seq_lens_q)


def _attend(given: Mapping[str, Any], starts: Tensor) -> None:
    """What either kernel makes of its arguments."""
    key, value = (
        (cache.transpose(1, 2) if given["kv_layout"] == "HND" else cache).float()
        for cache in given["kv_cache"]
    )
    window_left = given["window_left"]
    output = attend(
        given["query"].float(),
        (key, value * given["bmm2_scale"]),
        given["block_tables"],
        starts,
        given["seq_lens"],
        given["bmm1_scale"],
        True,
        (window_left, 0) if window_left >= 0 else (-1, -1),
        sinks=given["sinks"],
    )
    given["out"].copy_(output)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeKernels:
    fake = FakeKernels()
    install(monkeypatch, "flashinfer")
    install(
        monkeypatch,
        "flashinfer.decode",
        xqa_batch_decode_with_kv_cache=fake.xqa,
        trtllm_batch_decode_with_kv_cache=fake.decode,
    )
    install(monkeypatch, "flashinfer.prefill", trtllm_batch_context_with_kv_cache=fake.context)
    return fake


def run(name: str, spec: AttentionSpec, text: str) -> tuple[Batch, bool]:
    chosen = variant(name, B200)
    contents, batch = make_batch(spec, text, chosen.pages[0])
    batch.output.fill_(math.nan)
    launch = BACKEND.prepare(chosen, spec, batch)
    launch.plan()
    launch.run()
    return batch, check(make_truth(spec, contents), batch.output) is None


FEATURES: tuple[dict[str, Any], ...] = (
    {},
    {"sliding_window": 11},
    {"softmax_scale": 0.3},
    {"has_sinks": True},
    {"kv_dtype": "fp8_e4m3"},
)


@pytest.mark.parametrize("text", ["q20_2q5v9", "q7s40", "3q1s30v60", "2q4s50", "2q1s30_q20s40"])
@pytest.mark.parametrize("features", FEATURES, ids=str)
def test_what_trtllm_gen_is_given_says_what_the_layer_is(
    fake: FakeKernels, features: dict[str, Any], text: str
) -> None:
    _, is_right = run("trtllm-gen", replace(SPEC, **features), text)
    assert is_right


@pytest.mark.parametrize("features", FEATURES, ids=str)
def test_what_xqa_is_given_says_what_the_layer_is(
    fake: FakeKernels, features: dict[str, Any]
) -> None:
    batch, is_right = run("xqa", replace(SPEC, **features), "3q1s30v60")
    assert is_right
    assert fake.decodes.last["query"] is batch.query  # in its dtype, also beside an fp8 cache


@pytest.mark.parametrize(
    ("text", "decodes", "contexts"),
    [("3q1s30", 3, 0), ("2q4s50", 2, 0), ("2q20", 0, 2), ("2q1s30_q20s40", 2, 1)],
)
def test_who_decodes_and_who_is_a_prompt(
    fake: FakeKernels, text: str, decodes: int, contexts: int
) -> None:
    run("trtllm-gen", SPEC, text)
    assert sum(len(call["seq_lens"]) for call in fake.decodes.calls) == decodes
    assert sum(call["batch_size"] for call in fake.contexts.calls) == contexts


def test_running_totals_follow_the_lengths_where_a_graph_reads_them(fake: FakeKernels) -> None:
    chosen = variant("trtllm-gen", B200)
    _, batch = make_batch(SPEC, "2q20s60", chosen.pages[0])
    launch = BACKEND.prepare(chosen, SPEC, batch)
    addresses = set()
    for lengths in ([60, 60], [30, 41]):
        batch.seq_lens.copy_(torch.tensor(lengths))
        launch.plan()
        launch.run()  # the fake compares them with the lengths
        addresses.add(fake.contexts.last["cum_seq_lens_kv"].data_ptr())
    assert len(addresses) == 1


def test_the_counters_are_zero_and_nobody_else_s(fake: FakeKernels) -> None:
    from kernels_bench.backends import _flashinfer_launches as launches

    batch, _ = run("xqa", SPEC, "3q1s30")
    workspace = fake.decodes.last["workspace_buffer"]
    assert not workspace.any()
    assert workspace is not launches._workspace(batch.query.device)
