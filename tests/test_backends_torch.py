"""What torch's two backends refuse, and that they compute what the reference does."""

from __future__ import annotations

import math
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from kernels_bench.backends.base import Backend, Launch
from kernels_bench.backends.torch_flex import BACKEND as FLEX
from kernels_bench.backends.torch_sdpa import BACKEND as SDPA
from kernels_bench.batch import Batch, Contents, make_batches, make_contents
from kernels_bench.gate import check, make_truth
from kernels_bench.spec import AttentionSpec, Device, Mla, Pages, Phase, Variant
from kernels_bench.stack import compiler_version, headers_version
from kernels_bench.workload import parse_workload

CPU = Device("cpu", "CPU", "x86_64+avx2", 2, 16 << 30, 32 << 20)
H100 = Device("cuda", "NVIDIA H100 80GB HBM3", "sm_90", 132, 80 << 30, 50 << 20)
MI300 = Device("rocm", "AMD Instinct MI300X", "gfx942", 304, 192 << 30, 256 << 20)
STACK = {"torch": "2.13.0", "c++": "12.2.0", "python-headers": "3.11.2"}
SPEC = AttentionSpec(4, 2, 16, "bfloat16", num_layers=1)
MLA = Mla(512, 64, 128, 128)
PADDED, PER_REQUEST = SDPA.variants(CPU, SPEC, STACK)
(COMPILED,) = FLEX.variants(CPU, SPEC, STACK)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Handing out work this small costs more than doing it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def refusals(
    backend: Backend,
    device: Device = CPU,
    spec: AttentionSpec = SPEC,
    stack: Mapping[str, str] = STACK,
    phase: Phase = Phase.DECODE,
) -> list[tuple[str, str]]:
    variant = backend.variants(device, spec, stack)[0]
    support = backend.supports(variant, device, spec, phase, stack)
    return [(reason.field, reason.text) for reason in support.reasons]


def without(*packages: str) -> dict[str, str]:
    return {name: version for name, version in STACK.items() if name not in packages}


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("backend", [SDPA, FLEX], ids=lambda backend: backend.name)
@pytest.mark.parametrize(
    "features",
    [
        {},
        {"sliding_window": 128},
        {"attention_chunk": 8192},
        {"has_alibi": True},
        {"causal": False},
        {"softmax_scale": 1.0},
        {"num_kv_heads": 1},
        {"dtype": "float16"},
    ],
    ids=str,
)
def test_what_both_can_run(backend: Backend, features: dict[str, Any], phase: Phase) -> None:
    assert refusals(backend, spec=replace(SPEC, **features), phase=phase) == []


def test_sinks_are_sdpa_s_and_soft_caps_are_flex_s() -> None:
    assert refusals(SDPA, spec=replace(SPEC, has_sinks=True)) == []
    assert refusals(FLEX, spec=replace(SPEC, logit_softcap=50.0)) == []


TORCH_MISSING = ("package", "torch: not installed; pip install torch")
MLA_REFUSED = ("mla", "mla: latent attention needs kernels of its own")
FP8_REFUSED = ("kv_dtype", "kv_dtype fp8_e4m3: query, key and value must share bfloat16")
SINKS_REFUSED = ("has_sinks", "has_sinks: the kernel has no sink term")
CAP_REFUSED = ("logit_softcap", "logit_softcap 50: the kernel cannot cap logits")
NO_CUDA = (
    "torch",
    "torch 2.13.0: built without CUDA, cannot use NVIDIA H100 80GB HBM3;"
    " install a build of torch for CUDA",
)
NO_TRITON = (
    "package",
    "triton: not installed; pip install triton, with which torch compiles for a GPU",
)
ON_GPU = {"torch": "2.13.0", "cuda": "13.0", "triton": "3.7.1"}
NO_COMPILER = ("package", "c++: no C++ compiler found; install g++ or set CXX")
NO_HEADERS = ("package", "python-headers: Python.h not found; install python3-dev")
OLD_CPU = ("arch", "arch x86_64: torch's C++ template needs AVX2 or AVX-512")


@pytest.mark.parametrize("backend", [SDPA, FLEX], ids=lambda backend: backend.name)
def test_the_reasons_of_both(backend: Backend) -> None:
    assert refusals(backend, stack=without("torch")) == [TORCH_MISSING]
    assert refusals(backend, H100, stack=ON_GPU) == []
    assert NO_CUDA in refusals(backend, H100)
    assert [field for field, _ in refusals(backend, MI300, stack=ON_GPU)] == ["torch"]
    assert refusals(backend, MI300, stack={**ON_GPU, "hip": "7.0"}) == []
    assert refusals(backend, spec=replace(SPEC, mla=MLA)) == [MLA_REFUSED]
    assert refusals(backend, spec=replace(SPEC, kv_dtype="fp8_e4m3")) == [FP8_REFUSED]


def test_the_reasons_of_one_alone() -> None:
    old = replace(CPU, arch="x86_64")
    assert refusals(SDPA, spec=replace(SPEC, logit_softcap=50.0)) == [CAP_REFUSED]
    assert refusals(FLEX, spec=replace(SPEC, has_sinks=True)) == [SINKS_REFUSED]
    assert refusals(FLEX, stack=without("c++")) == [NO_COMPILER]
    assert refusals(FLEX, stack=without("python-headers")) == [NO_HEADERS]
    assert refusals(FLEX, old) == [OLD_CPU]
    assert refusals(FLEX, H100, replace(SPEC, head_dim=512), ON_GPU) == [
        ("head_dim", "head_dim 512: at most 256 fit the shared memory of a GPU")
    ]
    assert refusals(FLEX, H100, replace(SPEC, kv_dtype="fp8_e5m2"), ON_GPU) == []
    assert refusals(FLEX, H100, replace(SPEC, kv_dtype="fp8_e4m3"), ON_GPU) == [
        ("kv_dtype", "kv_dtype fp8_e4m3: its scales are not applied")
    ]
    assert refusals(SDPA, H100, replace(SPEC, has_sinks=True), ON_GPU) == []
    assert refusals(FLEX, H100, stack={"torch": "2.13.0", "cuda": "13.0"}) == [NO_TRITON]
    assert refusals(SDPA, old, stack=without("c++", "python-headers")) == []
    t4, half = replace(H100, arch="sm_75"), replace(SPEC, dtype="float16")
    too_old = ("arch", "arch sm_75: torch compiles bfloat16 for sm_80 or later")
    assert refusals(FLEX, t4, stack=ON_GPU) == [too_old]
    assert refusals(FLEX, t4, half, ON_GPU) == []


@pytest.mark.parametrize("name", ["triton", "pytorch-triton-rocm", "triton-rocm"])
def test_triton_is_what_torch_s_wheel_brings(name: str) -> None:
    stack = {"torch": "2.13.0", "hip": "7.0", name: "3.7.1"}
    assert FLEX.variants(MI300, SPEC, stack)[0].packages == ("torch", name)
    assert refusals(FLEX, MI300, stack=stack) == []


def test_all_reasons_come_at_once() -> None:
    spec = replace(SPEC, mla=MLA, logit_softcap=50.0, has_sinks=True, kv_dtype="fp8_e4m3")
    assert refusals(SDPA, H100, spec, {}) == [
        TORCH_MISSING,
        MLA_REFUSED,
        CAP_REFUSED,
        FP8_REFUSED,
    ]
    assert refusals(FLEX, replace(CPU, arch="x86_64"), spec, {}) == [
        TORCH_MISSING,
        MLA_REFUSED,
        NO_COMPILER,
        NO_HEADERS,
        OLD_CPU,
        FP8_REFUSED,
        SINKS_REFUSED,
    ]


def launch(backend: Backend, variant: Variant, spec: AttentionSpec, batch: Batch) -> Launch:
    batch.output.fill_(math.nan)
    launched = backend.prepare(variant, spec, batch)
    launched.plan()
    launched.run()
    return launched


def assert_right(
    backend: Backend, variant: Variant, spec: AttentionSpec, text: str, pages: Pages
) -> None:
    contents = make_contents(spec, parse_workload(text), torch.device("cpu"))
    truth = make_truth(spec, contents)
    for batch in make_batches(spec, contents, pages, count=2):
        launch(backend, variant, spec, batch)
        assert check(truth, batch.output) is None


BY_PHASE = {
    Phase.PREFILL: "q70_3q20v50",
    Phase.EXTEND: "q30s90",
    Phase.DECODE: "5q1s60v80",
    Phase.VERIFY: "3q4s50",
    Phase.MIXED: "4q1s40v80_q33_q20s64",
}
FEATURES: dict[str, dict[str, Any]] = {
    "grouped": {},
    "multi-head": {"num_kv_heads": 4},
    "multi-query": {"num_kv_heads": 1},
    "window": {"sliding_window": 24},
    "chunk": {"attention_chunk": 32},
    "sinks": {"has_sinks": True},
    "alibi": {"has_alibi": True},
    "window, sinks and alibi": {"sliding_window": 24, "has_sinks": True, "has_alibi": True},
    "bidirectional": {"causal": False},
    "scale": {"softmax_scale": 0.5},
    "narrow values": {"head_dim_v": 8},
    "float16": {"dtype": "float16"},
}


def test_the_workloads_are_of_the_phases_they_stand_for() -> None:
    assert {phase: parse_workload(text).phase for phase, text in BY_PHASE.items()} == {
        phase: phase for phase in Phase
    }


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("features", FEATURES.values(), ids=FEATURES)
@pytest.mark.parametrize("variant", [PADDED, PER_REQUEST], ids=lambda variant: variant.name)
def test_sdpa_computes_attention(variant: Variant, features: dict[str, Any], phase: Phase) -> None:
    assert_right(SDPA, variant, replace(SPEC, **features), BY_PHASE[phase], Pages(16))


@pytest.mark.parametrize("size", [1, 16, 64, 256])
@pytest.mark.parametrize("layout", ["NHD", "HND"])
@pytest.mark.parametrize("variant", [PADDED, PER_REQUEST], ids=lambda variant: variant.name)
def test_sdpa_reads_any_pages(variant: Variant, layout: str, size: int) -> None:
    pages = Pages(size, "NHD" if layout == "NHD" else "HND")
    assert_right(SDPA, variant, SPEC, BY_PHASE[Phase.MIXED], pages)


def with_padded_rows(batch: Batch) -> Batch:
    """As an engine pads a batch to a captured size: rows without tokens at its end."""
    spare = torch.full((2, batch.block_table.shape[1]), len(batch.key_cache) - 1)
    lens = torch.cat([batch.seq_lens, torch.zeros(2, dtype=torch.int32)])
    starts = torch.cat([batch.query_start_loc, batch.query_start_loc[-1:].expand(2)])
    return replace(
        batch,
        block_table=torch.cat([batch.block_table, spare.int()]),
        seq_lens=lens,
        seq_lens_cpu=lens,
        query_start_loc=starts,
        query_start_loc_cpu=starts,
    )


@pytest.mark.parametrize("features", [{}, {"sliding_window": 8, "has_sinks": True}], ids=str)
@pytest.mark.parametrize("phase", [Phase.DECODE, Phase.MIXED])
@pytest.mark.parametrize("variant", [PADDED, PER_REQUEST], ids=lambda variant: variant.name)
def test_sdpa_passes_over_padded_rows(
    variant: Variant, phase: Phase, features: dict[str, Any]
) -> None:
    spec = replace(SPEC, **features)
    contents = make_contents(spec, parse_workload(BY_PHASE[phase]), torch.device("cpu"))
    (batch,) = make_batches(spec, contents, Pages(16), count=1)
    launch(SDPA, variant, spec, with_padded_rows(batch))
    assert check(make_truth(spec, contents), batch.output) is None


def shortened(contents: Contents, spec: AttentionSpec) -> tuple[Contents, Batch]:
    """Every request one cached token shorter: what a plan must read again."""
    fewer = replace(
        contents,
        requests=tuple(replace(r, total_tokens=r.total_tokens - 1) for r in contents.requests),
        keys=tuple(keys[:-1] for keys in contents.keys),
        values=tuple(values[:-1] for values in contents.values),
    )
    (batch,) = make_batches(spec, fewer, Pages(16), count=1)
    return fewer, batch


@pytest.mark.parametrize("features", [{}, {"sliding_window": 8, "has_alibi": True}], ids=str)
@pytest.mark.parametrize("variant", [PADDED, PER_REQUEST], ids=lambda variant: variant.name)
def test_a_plan_reads_the_batch_again(variant: Variant, features: dict[str, Any]) -> None:
    spec = replace(SPEC, **features)
    contents = make_contents(spec, parse_workload("3q1s40_2q5s40"), torch.device("cpu"))
    (batch,) = make_batches(spec, contents, Pages(16), count=1)
    launched = launch(SDPA, variant, spec, batch)
    fewer, other = shortened(contents, spec)
    for name in ("key_cache", "value_cache", "block_table", "seq_lens", "seq_lens_cpu"):
        getattr(batch, name).copy_(getattr(other, name))
    batch.output.fill_(math.nan)
    launched.plan()
    launched.run()
    assert check(make_truth(spec, fewer), batch.output) is None


def missing_to_compile() -> str:
    """Why FlexAttention cannot be compiled here; empty where it can."""
    if compiler_version({"PATH": "/usr/local/bin:/usr/bin:/bin"}) is None:
        return "no C++ compiler"
    if headers_version(Path(sysconfig.get_paths()["include"])) is None:
        return "no Python.h"
    if not torch.cpu._is_avx2_supported():
        return "no AVX2"
    return ""


@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.* is deprecated:DeprecationWarning")
@pytest.mark.skipif(bool(missing_to_compile()), reason=missing_to_compile())
@pytest.mark.parametrize(
    "features",
    [
        {"logit_softcap": 5.0, "sliding_window": 24},
        {"attention_chunk": 32, "has_alibi": True},
    ],
    ids=str,
)
def test_flex_computes_attention_compiled(features: dict[str, Any]) -> None:
    spec = replace(SPEC, **features)
    assert_right(FLEX, COMPILED, spec, BY_PHASE[Phase.MIXED], Pages(16))
