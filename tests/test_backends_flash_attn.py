"""What each FlashAttention refuses, and how each is called."""

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

from kernels_bench.backends._flash_attn_launches import MAX_SPLITS
from kernels_bench.backends.base import Launch
from kernels_bench.backends.flash_attn import BACKEND
from kernels_bench.batch import Batch
from kernels_bench.gate import check, make_truth
from kernels_bench.spec import AttentionSpec, Device, Mla, Phase, Variant
from kernels_bench.storage import QUERY_SCALE

H100 = Device("cuda", "NVIDIA H100 80GB HBM3", "sm_90", 132, 80 << 30, 50 << 20)
A100 = replace(H100, name="NVIDIA A100-SXM4-80GB", arch="sm_80")
B200 = replace(H100, name="NVIDIA B200", arch="sm_100")
RTX5090 = replace(H100, name="NVIDIA GeForce RTX 5090", arch="sm_120")
T4 = replace(H100, name="Tesla T4", arch="sm_75")
MI300 = Device("rocm", "AMD Instinct MI300X", "gfx942", 304, 192 << 30, 256 << 20)
CPU = Device("cpu", "CPU", "x86_64+avx2", 2, 16 << 30, 32 << 20)
STACK = {
    "torch": "2.11.0",
    "cuda": "13.0",
    "vllm": "0.24.0",
    "flash-attn": "2.8.3",
    "flash-attn-3": "3.0.0b1",
    "flash-attn-4": "4.0.0b36",
    "sglang-kernel": "0.4.10",
    "nvidia-cutlass-dsl": "4.6.2",
    "quack-kernels": "0.6.5",
}
SPEC = AttentionSpec(8, 2, 64, "bfloat16", num_layers=1)
FA3, FA2, FA4, FA3_SGLANG, FA3_PACKAGE, FA4_PACKAGE, FA2_PACKAGE = NAMES = (
    "fa3@vllm",
    "fa2@vllm",
    "fa4@vllm",
    "fa3@sglang-kernel",
    "fa3@flash-attn-3",
    "fa4@flash-attn-4",
    "fa2@flash-attn",
)
OF_2, OF_3, OF_4 = (
    [FA2, FA2_PACKAGE],
    [FA3, FA3_SGLANG, FA3_PACKAGE],
    [FA4, FA4_PACKAGE],
)
NOT_2 = [FA3, FA4, FA3_SGLANG, FA3_PACKAGE, FA4_PACKAGE]
PIN_2 = {"attention_backend": "FLASH_ATTN", "attention_config": {"flash_attn_version": 2}}
PIN_3 = {"attention_backend": "FLASH_ATTN", "attention_config": {"flash_attn_version": 3}}
PIN_4 = {"attention_backend": "FLASH_ATTN", "attention_config": {"flash_attn_version": 4}}
PLAIN = {"attention_backend": "FLASH_ATTN"}


def variant(name: str, device: Device = H100, spec: AttentionSpec = SPEC) -> Variant:
    return next(each for each in BACKEND.variants(device, spec, STACK) if each.name == name)


def refusals(
    name: str,
    device: Device = H100,
    features: Mapping[str, Any] | None = None,
    stack: Mapping[str, str] = STACK,
) -> dict[str, str]:
    spec = replace(SPEC, **(features or {}))
    support = BACKEND.supports(variant(name, device, spec), device, spec, Phase.DECODE, stack)
    return {reason.field: reason.text for reason in support.reasons}


@pytest.mark.parametrize(
    ("device", "features", "names"),
    [
        (H100, {}, [*OF_3, FA2, FA4, FA4_PACKAGE, FA2_PACKAGE]),
        (
            H100,
            {"head_dim": 512},
            [FA4, FA4_PACKAGE, FA3, FA2, FA3_SGLANG, FA3_PACKAGE, FA2_PACKAGE],
        ),
        (H100, {"has_alibi": True}, [*OF_2, *NOT_2]),
        (A100, {}, [*OF_2, *NOT_2]),
        (B200, {}, [*OF_4, FA3, FA2, FA3_SGLANG, FA3_PACKAGE, FA2_PACKAGE]),
        (B200, {"head_dim": 256}, [*OF_2, *NOT_2]),
        (B200, {"batch_invariant": True}, [*OF_2, *NOT_2]),
        (CPU, {}, [*OF_2, *NOT_2]),
    ],
)
def test_what_vllm_would_take_comes_first(
    device: Device, features: dict[str, Any], names: list[str]
) -> None:
    found = BACKEND.variants(device, replace(SPEC, **features), STACK)
    assert [each.name for each in found] == names


@pytest.mark.parametrize(
    ("name", "device", "features", "options"),
    [
        (FA3, H100, {}, PLAIN),
        (FA2, H100, {}, PIN_2),
        (FA2, H100, {"has_alibi": True}, PLAIN),
        (FA3, H100, {"has_alibi": True}, PIN_3),
        (FA4, H100, {}, PIN_4),
        (FA4, H100, {"head_dim": 512}, PLAIN),
        (FA2, A100, {}, PLAIN),
        (FA2, B200, {}, PIN_2),
        (FA4, B200, {}, PLAIN),
        (FA2, B200, {"head_dim": 256}, PLAIN),
    ],
)
def test_vllm_is_told_the_version_where_it_would_take_another(
    name: str, device: Device, features: dict[str, Any], options: dict[str, Any]
) -> None:
    assert variant(name, device, replace(SPEC, **features)).engine_options == {"vllm": options}


def test_no_engine_loads_the_packages() -> None:
    for name in (FA3_PACKAGE, FA4_PACKAGE, FA2_PACKAGE):
        assert variant(name).engine_options == {}


def test_sglang_loads_its_own_build_but_cuts_chunks_up_itself() -> None:
    chunked = replace(SPEC, attention_chunk=8192)
    assert variant(FA3_SGLANG).engine_options == {"sglang": {"attention_backend": "fa3"}}
    assert variant(FA3_SGLANG, spec=chunked).engine_options == {}


def test_phases_that_an_engine_captures() -> None:
    uniform = {Phase.DECODE, Phase.VERIFY}
    phases = {name: set(variant(name).graph_phases) for name in NAMES}
    assert phases == {name: set(Phase) if name in OF_3 else uniform for name in NAMES}


def test_page_sizes_and_the_distribution_that_decides() -> None:
    sizes = {name: [pages.size for pages in variant(name).pages] for name in NAMES}
    assert sizes.pop(FA2_PACKAGE) == [256]
    assert sizes.pop(FA3_SGLANG) == [1, 16, 32, 64, 128, 256]  # token by token, as SGLang does
    assert {tuple(each) for each in sizes.values()} == {(16, 32, 64, 128, 256)}
    compiled = ("nvidia-cutlass-dsl", "quack-kernels")
    assert {name: variant(name).packages for name in NAMES} == {
        FA3: ("vllm",),
        FA2: ("vllm",),
        FA4: ("vllm", *compiled),
        FA3_SGLANG: ("sglang-kernel",),
        FA3_PACKAGE: ("flash-attn-3",),
        FA4_PACKAGE: ("flash-attn-4", *compiled),
        FA2_PACKAGE: ("flash-attn",),
    }


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("features", "fields"),
    [
        ({}, set()),
        ({"sliding_window": 128}, set()),
        ({"logit_softcap": 50.0}, set()),
        ({"softmax_scale": 1.0}, set()),
        ({"causal": False}, set()),
        ({"dtype": "float16"}, set()),
        ({"head_dim": 256}, set()),
        ({"head_dim": 80}, set()),
        ({"head_dim": 84}, {"head_dim"}),
        ({"causal": False, "sliding_window": 128}, set()),
        ({"dtype": "float32"}, {"dtype"}),
        ({"kv_dtype": "fp8_e5m2"}, {"kv_dtype"}),
        ({"causal": False, "attention_type": "cross"}, set()),
        ({"causal": False, "attention_type": "encoder_only"}, {"phase"}),
        ({"mla": Mla(512, 64, 128, 128)}, {"mla"}),
    ],
    ids=str,
)
def test_what_all_of_them_answer_on_an_h100(
    name: str, features: dict[str, Any], fields: set[str]
) -> None:
    assert set(refusals(name, features=features)) == fields


@pytest.mark.parametrize(
    ("features", "field", "refusing"),
    [
        ({"has_sinks": True}, "has_sinks", {*OF_2, FA3_PACKAGE}),
        ({"has_alibi": True}, "has_alibi", set(NOT_2)),
        ({"attention_chunk": 8192}, "attention_chunk", {FA3, *OF_2, *OF_4}),
        ({"kv_dtype": "fp8_e4m3"}, "kv_dtype", {*OF_2, *OF_4}),
        ({"head_dim": 272}, "head_dim", {*OF_2, *OF_3}),
        ({"head_dim": 72}, "head_dim", set(OF_4)),
        ({"head_dim_v": 128}, "head_dim_v", {*OF_2, *OF_3}),
        (
            {"batch_invariant": True},
            "batch_invariant",
            {FA3_SGLANG, *OF_4, FA2_PACKAGE},
        ),
    ],
)
def test_what_some_of_them_lack(features: dict[str, Any], field: str, refusing: set[str]) -> None:
    answers = {name: set(refusals(name, features=features)) for name in NAMES}
    assert answers == {name: {field} if name in refusing else set() for name in NAMES}


@pytest.mark.parametrize(
    ("device", "of_3", "of_sglang", "of_4", "of_2"),
    [
        (H100, set(), set(), set(), set()),
        (A100, {"arch"}, set(), {"arch"}, set()),
        (B200, {"arch"}, {"arch"}, set(), set()),
        (RTX5090, {"arch"}, {"arch"}, {"arch"}, set()),
        (T4, {"arch"}, {"arch"}, {"arch"}, {"arch"}),
        (MI300, *[{"device", "torch"}] * 4),
        (CPU, *[{"device"}] * 4),
    ],
    ids=lambda value: value.arch if isinstance(value, Device) else "",
)
def test_devices(
    device: Device, of_3: set[str], of_sglang: set[str], of_4: set[str], of_2: set[str]
) -> None:
    assert set(refusals(FA3, device)) == set(refusals(FA3_PACKAGE, device)) == of_3
    assert set(refusals(FA3_SGLANG, device)) == of_sglang
    assert set(refusals(FA4, device)) == set(refusals(FA4_PACKAGE, device)) == of_4
    assert set(refusals(FA2, device)) == set(refusals(FA2_PACKAGE, device)) == of_2


def test_version_4_has_wider_heads_on_hopper_than_on_blackwell() -> None:
    assert refusals(FA4, H100, {"head_dim": 512}) == {}
    assert refusals(FA4, H100, {"head_dim": 528}) == {"head_dim": "head_dim 528: at most 512"}
    assert refusals(FA4, B200, {"head_dim": 256}) == {"head_dim": "head_dim 256: at most 128"}


def test_version_4_takes_values_of_another_size_and_vllm_then_has_no_pages_for_it() -> None:
    spec = replace(SPEC, head_dim_v=128)
    assert variant(FA4, spec=spec).engine_options == {}
    assert refusals(FA4, B200, {"head_dim": 192, "head_dim_v": 128}) == {
        "head_dim": "head_dim 192: at most 128"
    }
    assert refusals(FA4, B200, {"head_dim_v": 128}) == {
        "head_dim_v": "head_dim_v 128: must equal head_dim 64 on sm_100"
    }


@pytest.mark.parametrize("phase", [Phase.PREFILL, Phase.EXTEND, Phase.MIXED])
@pytest.mark.parametrize(
    ("window", "head_dim", "version", "is_hit"),
    [
        (200, 256, "0.24.0", True),
        (256, 256, "0.24.0", False),
        (2047, 96, "0.24.0", True),
        (200, 64, "0.24.0", False),
        (200, 256, "0.25.0", False),
    ],
)
def test_windows_whose_prompts_see_their_future(
    phase: Phase, window: int, head_dim: int, version: str, is_hit: bool
) -> None:
    spec = replace(SPEC, num_kv_heads=4, head_dim=head_dim, sliding_window=window)
    stack = {**STACK, "vllm": version}
    for name in NAMES:
        support = BACKEND.supports(variant(name, spec=spec), H100, spec, phase, stack)
        defects = [reason.text for reason in support.reasons if reason.field == "defect"]
        assert bool(defects) == (is_hit and name == FA3)
        assert all(text.startswith(f"sliding_window {window}: prompts") for text in defects)


def test_looking_ahead_is_no_matter_for_the_newest_token() -> None:
    spec = replace(SPEC, causal=False, sliding_window=128)
    for name in NAMES:
        prefill = BACKEND.supports(variant(name), H100, spec, Phase.PREFILL, STACK)
        assert "causal" in {reason.field for reason in prefill.reasons}
        assert refusals(name, features={"causal": False, "sliding_window": 128}) == {}


def test_an_fp8_cache_is_for_version_3_on_hopper() -> None:
    fp8 = {"kv_dtype": "fp8_e4m3"}
    assert refusals(FA3_SGLANG, A100, fp8) == {"kv_dtype": "kv_dtype fp8_e4m3: on sm_90 alone"}
    assert refusals(FA3_SGLANG, H100, fp8) == {}


def test_reasons_have_the_value_and_what_to_do() -> None:
    bare = {"torch": "2.11.0", "cuda": "13.0"}
    assert refusals(FA3, A100) == {"arch": "arch sm_80: FlashAttention 3 is for sm_90 alone"}
    assert refusals(FA3, features={"head_dim": 512}) == {"head_dim": "head_dim 512: at most 256"}
    assert refusals(FA3, stack=bare) == {"package": "vllm: not installed; pip install vllm"}
    assert refusals(FA3_PACKAGE, stack=bare) == {
        "package": "flash-attn-3: not installed; build it from hopper/ of Dao-AILab/flash-attention"
    }
    without = {name: text for name, text in STACK.items() if name != "quack-kernels"}
    assert refusals(FA4, stack=without) == {
        "package": "quack-kernels: not installed; fa4@vllm compiles with it:"
        " pip install quack-kernels"
    }
    assert refusals(FA4, stack={**STACK, "vllm": "0.23.1"}) == {
        "package": "vllm 0.23.1: needs vllm >= 0.24"
    }
    assert refusals(FA2, stack={**STACK, "vllm": "0.12.0"}) == {
        "package": "vllm 0.12.0: needs vllm >= 0.13"
    }
    assert refusals(FA2_PACKAGE, stack={**STACK, "flash-attn": "2.5.9.post1"}) == {
        "package": "flash-attn 2.5.9.post1: needs flash-attn >= 2.6"
    }


def test_all_reasons_come_at_once() -> None:
    features = {"head_dim": 512, "has_alibi": True, "kv_dtype": "fp8_e5m2"}
    fields = set(refusals(FA3, T4, features, {}))
    assert fields == {"package", "arch", "head_dim", "has_alibi", "kv_dtype"}


def scaled(stored: Tensor, scale: Tensor | None) -> Tensor:
    """In bfloat16, where a scale of [B, Hkv] says that it is in fp8."""
    if scale is None:
        return stored
    assert stored.dtype is torch.float8_e4m3fn
    assert scale.shape == (scale.shape[0], 2)
    return (stored.float() * scale[0, 0]).to(torch.bfloat16)


class FakeFlashAttn:
    """The providers' functions, with their parameters; each computes what it is asked for."""

    def __init__(self) -> None:
        self.calls, self.schedules = Recorder(), Recorder()

    def vllm(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        max_seqlen_q: int,
        cu_seqlens_q: Tensor,
        max_seqlen_k: int,
        seqused_k: Tensor,
        out: Tensor,
        block_table: Tensor,
        fa_version: int,
        softmax_scale: float | None = None,
        causal: bool = False,
        window_size: tuple[int, int] = (-1, -1),
        softcap: float = 0.0,
        alibi_slopes: Tensor | None = None,
        scheduler_metadata: Tensor | None = None,
        num_splits: int = 0,
        s_aux: Tensor | None = None,
        q_descale: Tensor | None = None,
        k_descale: Tensor | None = None,
        v_descale: Tensor | None = None,
    ) -> Tensor:
        self.calls.calls.append(dict(locals()))
        assert softmax_scale is not None
        out.copy_(
            attend(
                scaled(q, q_descale),
                (scaled(k, k_descale), scaled(v, v_descale)),
                block_table,
                cu_seqlens_q,
                seqused_k,
                softmax_scale,
                causal,
                window_size,
                softcap,
                alibi_slopes,
                s_aux,
            )
        )
        return out

    def fwd(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        out: Tensor,
        cu_seqlens_q: Tensor,
        seqused_k: Tensor,
        max_seqlen_q: int,
        page_table: Tensor,
        softmax_scale: float,
        is_causal: bool,
        window_size_left: int,
        window_size_right: int,
        attention_chunk: int,
        softcap: float,
        scheduler_metadata: Tensor,
        num_splits: int,
        q_descale: Tensor | None,
        k_descale: Tensor | None,
        v_descale: Tensor | None,
    ) -> None:
        self.calls.calls.append(dict(locals()))
        out.copy_(
            attend(
                scaled(q, q_descale),
                (scaled(k, k_descale), scaled(v, v_descale)),
                page_table,
                cu_seqlens_q,
                seqused_k,
                softmax_scale,
                is_causal,
                (window_size_left, window_size_right),
                softcap,
                chunk=attention_chunk,
            )
        )

    def varlen(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        cu_seqlens_q: Tensor,
        cu_seqlens_k: Tensor,
        max_seqlen_q: int,
        max_seqlen_k: int,
        softmax_scale: float,
        causal: bool,
        window_size: tuple[int, int],
        softcap: float,
        alibi_slopes: Tensor | None,
        block_table: Tensor,
    ) -> Tensor:
        self.calls.calls.append(dict(locals()))
        return attend(
            q,
            (k, v),
            block_table,
            cu_seqlens_q,
            cu_seqlens_k.diff(),
            softmax_scale,
            causal,
            window_size,
            softcap,
            alibi_slopes,
        )

    def kvcache(
        self,
        q: Tensor,
        k_cache: Tensor,
        v_cache: Tensor,
        cache_seqlens: Tensor,
        page_table: Tensor,
        cu_seqlens_q: Tensor,
        max_seqlen_q: int,
        q_descale: Tensor | None,
        k_descale: Tensor | None,
        v_descale: Tensor | None,
        softmax_scale: float,
        causal: bool,
        window_size: tuple[int, int],
        attention_chunk: int | None,
        softcap: float,
        num_splits: int,
        sinks: Tensor | None,
        out: Tensor,
        scheduler_metadata: Tensor | None = None,
    ) -> None:
        self.calls.calls.append(dict(locals()))
        out.copy_(
            attend(
                scaled(q, q_descale),
                (scaled(k_cache, k_descale), scaled(v_cache, v_descale)),
                page_table,
                cu_seqlens_q,
                cache_seqlens,
                softmax_scale,
                causal,
                window_size,
                softcap,
                sinks=sinks,
                chunk=attention_chunk or 0,
            )
        )

    def cute(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        cu_seqlens_q: Tensor,
        max_seqlen_q: int,
        max_seqlen_k: int,
        seqused_k: Tensor,
        page_table: Tensor,
        softmax_scale: float,
        causal: bool,
        window_size: tuple[int | None, int | None],
        learnable_sink: Tensor | None,
        softcap: float,
        num_splits: int,
    ) -> tuple[Tensor, None]:
        self.calls.calls.append(dict(locals()))
        before, after = (-1 if keys is None else keys for keys in window_size)
        output = attend(
            q,
            (k, v),
            page_table,
            cu_seqlens_q,
            seqused_k,
            softmax_scale,
            causal,
            (before, after),
            softcap,
            sinks=learnable_sink,
        )
        return output, None

    def schedule(self, *, cache_seqlens: Tensor, batch_size: int, **rest: object) -> Tensor:
        self.schedules.calls.append(
            {"batch_size": batch_size, "cache_seqlens": cache_seqlens, **rest}
        )
        semaphore = torch.zeros(1, dtype=torch.int32)
        return torch.cat([cache_seqlens, semaphore])


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeFlashAttn:
    fake = FakeFlashAttn()
    install(
        monkeypatch,
        "vllm.vllm_flash_attn",
        flash_attn_varlen_func=fake.vllm,
        get_scheduler_metadata=fake.schedule,
    )
    install(
        monkeypatch,
        "vllm.vllm_flash_attn.flash_attn_interface",
        FA2_AVAILABLE=True,
        FA3_AVAILABLE=True,
        FA4_AVAILABLE=True,
    )
    install(monkeypatch, "flash_attn_interface", get_scheduler_metadata=fake.schedule)
    monkeypatch.setattr(torch.ops, "flash_attn_3", SimpleNamespace(fwd=fake.fwd), raising=False)
    install(
        monkeypatch,
        "sgl_kernel.flash_attn",
        flash_attn_with_kvcache=fake.kvcache,
        get_scheduler_metadata=fake.schedule,
    )
    install(monkeypatch, "flash_attn.cute", flash_attn_varlen_func=fake.cute)
    install(monkeypatch, "flash_attn", flash_attn_varlen_func=fake.varlen)
    return fake


def bind(name: str, spec: AttentionSpec, text: str) -> tuple[Batch, Launch]:
    chosen = variant(name, spec=spec)
    _, batch = make_batch(spec, text, chosen.pages[0])
    return batch, BACKEND.prepare(chosen, spec, batch)


@pytest.mark.parametrize("text", ["q20_2q5v9", "q7s40", "3q1s30v60", "2q4s50"])
@pytest.mark.parametrize(
    ("name", "features"),
    [
        *((name, {}) for name in NAMES),
        *((name, {"sliding_window": 11}) for name in NAMES),
        *((name, {"logit_softcap": 5.0, "softmax_scale": 0.3}) for name in NAMES),
        *((name, {"causal": False}) for name in NAMES),
        (FA2, {"has_alibi": True}),
        (FA2_PACKAGE, {"has_alibi": True}),
        (FA3_PACKAGE, {"attention_chunk": 16}),
        (FA3_SGLANG, {"attention_chunk": 16}),
        *((name, {"has_sinks": True}) for name in (FA3, FA3_SGLANG, FA4, FA4_PACKAGE)),
        *((name, {"kv_dtype": "fp8_e4m3"}) for name in OF_3),
        *((name, {"batch_invariant": True}) for name in (FA3, FA2, FA3_PACKAGE)),
    ],
    ids=str,
)
def test_the_arguments_say_what_the_layer_is(
    fake: FakeFlashAttn, name: str, features: dict[str, Any], text: str
) -> None:
    spec = replace(SPEC, head_dim=16, **features)
    chosen = variant(name, spec=spec)
    contents, batch = make_batch(spec, text, chosen.pages[0])
    batch.output.fill_(math.nan)
    launch = BACKEND.prepare(chosen, spec, batch)
    launch.plan()
    launch.run()
    assert check(make_truth(spec, contents), batch.output) is None


def test_vllm_s_build_gets_the_batch_itself(fake: FakeFlashAttn) -> None:
    spec = replace(SPEC, sliding_window=12)
    for name in (FA3, FA2, FA4):
        batch, launch = bind(name, spec, "3q1s30")
        launch.plan()
        launch.run()
        given = fake.calls.last
        assert given["q"] is batch.query
        assert given["k"] is batch.key_cache
        assert given["v"] is batch.value_cache
        assert given["out"] is batch.output
        assert given["seqused_k"] is batch.seq_lens
        assert given["cu_seqlens_q"] is batch.query_start_loc
        assert given["block_table"] is batch.block_table
        assert (given["max_seqlen_q"], given["max_seqlen_k"]) == (1, 30)
        assert given["window_size"] == (11, 0)
        assert given["softmax_scale"] == 64**-0.5
        assert given["fa_version"] == int(name[2])


def test_a_query_in_fp8_follows_the_batch_where_a_graph_reads_it(fake: FakeFlashAttn) -> None:
    spec = replace(SPEC, kv_dtype="fp8_e4m3")
    for name in OF_3:
        batch, launch = bind(name, spec, "3q1s30")
        addresses = set()
        for sign in (1, -1):
            batch.query.mul_(sign)
            launch.plan()
            launch.run()
            given = fake.calls.last["q"]
            addresses.add(given.data_ptr())
            assert given.dtype is torch.float8_e4m3fn
            assert torch.equal(given.float() * QUERY_SCALE, batch.query.float())
        assert len(addresses) == 1


@pytest.mark.parametrize("name", [FA3, FA2])
def test_a_result_that_must_not_depend_on_the_batch_is_not_split(
    fake: FakeFlashAttn, name: str
) -> None:
    _, launch = bind(name, replace(SPEC, batch_invariant=True), "3q1s30")
    launch.plan()
    launch.run()
    assert fake.calls.last["num_splits"] == 1
    assert fake.schedules.calls == []


@pytest.mark.parametrize(
    ("features", "text", "schedules"),
    [
        ({}, "3q1s30", 2),
        ({}, "2q20", 0),
        ({"sliding_window": 12}, "3q1s30", 0),
        ({"attention_chunk": 16}, "3q1s30", 0),
    ],
)
def test_sglang_makes_a_schedule_for_decodes_without_a_window(
    fake: FakeFlashAttn, features: dict[str, Any], text: str, schedules: int
) -> None:
    _, launch = bind(FA3_SGLANG, replace(SPEC, **features), text)
    launch.plan()
    launch.run()
    assert len(fake.schedules.calls) == schedules
    assert (fake.calls.last["scheduler_metadata"] is None) == (schedules == 0)


def test_sinks_reach_version_3_in_the_only_dtype_it_takes(fake: FakeFlashAttn) -> None:
    batch, launch = bind(FA3, replace(SPEC, has_sinks=True, dtype="float16"), "2q1s30")
    launch.plan()
    launch.run()
    assert batch.sinks is not None
    assert torch.equal(fake.calls.last["s_aux"], batch.sinks.to(torch.bfloat16))


@pytest.mark.parametrize("name", [FA3, FA3_PACKAGE])
def test_a_schedule_is_refreshed_where_a_graph_reads_it(fake: FakeFlashAttn, name: str) -> None:
    batch, launch = bind(name, SPEC, "3q1s30")
    seen: list[tuple[int, list[int]]] = []
    for lengths in ([30, 30, 30], [1024, 1024, 1024], [5, 17, 30]):
        batch.seq_lens.copy_(torch.tensor(lengths))
        launch.plan()
        launch.run()
        metadata = fake.calls.last["scheduler_metadata"]
        seen.append((metadata.data_ptr(), metadata.tolist()))
    assert [content for _, content in seen] == [
        [30, 30, 30, 0],
        [1024, 1024, 1024, 0],
        [5, 17, 30, 0],
    ]
    assert len({address for address, _ in seen}) == 1


@pytest.mark.parametrize(("text", "splits"), [("3q1s30", MAX_SPLITS), ("2q600", 0)])
def test_layers_of_many_windows_go_without_a_schedule(
    fake: FakeFlashAttn, text: str, splits: int
) -> None:
    _, launch = bind(FA3, replace(SPEC, has_mixed_windows=True), text)
    launch.plan()
    launch.run()
    assert fake.calls.last["scheduler_metadata"] is None
    assert fake.calls.last["num_splits"] == splits
    assert fake.schedules.calls == []


def test_a_schedule_is_asked_for_as_vllm_asks(fake: FakeFlashAttn) -> None:
    batch, launch = bind(FA3, replace(SPEC, sliding_window=12, logit_softcap=30.0), "3q2s30")
    launch.plan()
    asked = fake.schedules.last
    assert asked.pop("cache_seqlens") is batch.seq_lens
    assert asked.pop("cu_seqlens_q") is batch.query_start_loc
    assert asked == {
        "batch_size": 3,
        "max_seqlen_q": 2,
        "max_seqlen_k": 30,
        "num_heads_q": 8,
        "num_heads_kv": 2,
        "headdim": 64,
        "qkv_dtype": torch.bfloat16,
        "page_size": 16,
        "causal": True,
        "window_size": (11, 0),
        "num_splits": MAX_SPLITS,
    }


@pytest.mark.parametrize(
    ("name", "text", "num_splits"),
    [
        (FA3, "3q1s30", 32),
        (FA3, "q512", 32),
        (FA3, "q513", 0),
        (FA3_PACKAGE, "q512", 32),
        (FA3_PACKAGE, "q513", 0),
        (FA2, "3q1s30", 0),
    ],
)
def test_splits_are_bounded_up_to_the_largest_batch_that_vllm_captures(
    fake: FakeFlashAttn, name: str, text: str, num_splits: int
) -> None:
    _, launch = bind(name, AttentionSpec(1, 1, 8, "bfloat16", num_layers=1), text)
    launch.plan()
    launch.run()
    assert fake.calls.last["num_splits"] == num_splits
    assert all(asked["num_splits"] == num_splits for asked in fake.schedules.calls)


def test_flash_attn_s_running_totals_follow_the_lengths(fake: FakeFlashAttn) -> None:
    batch, launch = bind(FA2_PACKAGE, SPEC, "3q1s30")
    seen = []
    for lengths in ([30, 30, 30], [5, 17, 30]):
        batch.seq_lens.copy_(torch.tensor(lengths))
        launch.plan()
        launch.run()
        totals = fake.calls.last["cu_seqlens_k"]
        seen.append((totals.data_ptr(), totals.tolist(), totals.dtype))
    assert seen == [
        (seen[0][0], [0, 30, 60, 90], torch.int32),
        (seen[0][0], [0, 5, 22, 52], torch.int32),
    ]


@pytest.mark.parametrize("name", [FA3, FA2, FA4])
def test_a_build_without_the_version_says_so(
    monkeypatch: pytest.MonkeyPatch, fake: FakeFlashAttn, name: str
) -> None:
    version = f"FA{name[2]}"
    install(
        monkeypatch,
        "vllm.vllm_flash_attn.flash_attn_interface",
        **{f"{version}_AVAILABLE": False, f"{version}_UNAVAILABLE_REASON": "no such file\nmore"},
    )
    with pytest.raises(ImportError, match=r"FlashAttention \d does not load: no such file; inst"):
        bind(name, SPEC, "3q1s30")
