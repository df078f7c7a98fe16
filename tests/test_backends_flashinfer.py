"""What FlashInfer's variants refuse, and how its wrappers are planned and run."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_kernels import attend, install, make_batch
from torch import Tensor

from kernels_bench.backends import _flashinfer_launches as launches
from kernels_bench.backends._flashinfer_pages import PageIndices
from kernels_bench.backends.base import Launch
from kernels_bench.backends.flashinfer import BACKEND
from kernels_bench.batch import Batch, Contents, at_maxima
from kernels_bench.gate import check, make_truth
from kernels_bench.spec import AttentionSpec, Device, Mla, Pages, Phase, Variant

H100 = Device("cuda", "NVIDIA H100 80GB HBM3", "sm_90", 132, 80 << 30, 50 << 20)
A100 = replace(H100, name="NVIDIA A100-SXM4-80GB", arch="sm_80")
B200 = replace(H100, name="NVIDIA B200", arch="sm_100")
RTX5090 = replace(H100, name="NVIDIA GeForce RTX 5090", arch="sm_120")
T4 = replace(H100, name="Tesla T4", arch="sm_75")
MI300 = Device("rocm", "AMD Instinct MI300X", "gfx942", 304, 192 << 30, 256 << 20)
CPU = Device("cpu", "CPU", "x86_64+avx2", 2, 16 << 30, 32 << 20)
COMPILER = {"nvcc": "13.0", "c++": "14.2.0", "ninja": "1.13.0"}
PACKAGE = {"torch": "2.11.0", "cuda": "13.0", "flashinfer-python": "0.6.12"}
STACK = {**PACKAGE, **COMPILER}
SPEC = AttentionSpec(8, 2, 64, "bfloat16", num_layers=1)
NAMES = ("vllm", "fa2", "fa3", "decode", "decode-tc")
EVERY_PHASE = ("vllm", "fa2", "fa3")


def variant(name: str) -> Variant:
    return next(each for each in BACKEND.variants(H100, SPEC, STACK) if each.name == name)


def refusals(
    name: str,
    device: Device = H100,
    features: Mapping[str, Any] | None = None,
    stack: Mapping[str, str] = STACK,
    phase: Phase = Phase.DECODE,
) -> dict[str, str]:
    spec = replace(SPEC, **(features or {}))
    support = BACKEND.supports(variant(name), device, spec, phase, stack)
    return {reason.field: reason.text for reason in support.reasons}


def test_vllm_loads_what_is_composed_as_vllm_composes_it() -> None:
    options = {each.name: each.engine_options for each in BACKEND.variants(H100, SPEC, STACK)}
    assert set(options) == {*NAMES, "xqa", "trtllm-gen"}
    assert options.pop("vllm") == {"vllm": {"attention_backend": "FLASHINFER"}}
    assert set(map(len, options.values())) == {0}


def test_pages_packages_and_phases_that_an_engine_captures() -> None:
    found = [variant(name) for name in NAMES]
    assert {each.pages for each in found} == {(Pages(16), Pages(32), Pages(64))}
    # An engine's start looks up these alone, and asks `supports` again.
    assert {each.packages for each in found} == {
        ("flashinfer-python", "flashinfer-jit-cache", "nvcc", "c++", "ninja")
    }
    assert {each.name: set(each.graph_phases) for each in found} == {
        "vllm": {Phase.DECODE},
        "fa2": {Phase.DECODE, Phase.VERIFY},
        "fa3": {Phase.DECODE, Phase.VERIFY},
        "decode-tc": {Phase.DECODE},
        "decode": {Phase.DECODE},
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
        ({"head_dim": 128}, set()),
        ({"head_dim": 256}, set()),
        ({"head_dim": 80}, {"head_dim"}),
        ({"head_dim": 192}, {"head_dim"}),
        ({"head_dim": 512}, {"head_dim"}),
        ({"dtype": "float32"}, {"dtype"}),
        ({"head_dim_v": 128}, {"head_dim_v"}),
        ({"has_sinks": True}, {"has_sinks"}),
        ({"has_alibi": True}, {"has_alibi"}),
        ({"attention_chunk": 64}, {"attention_chunk"}),
        ({"mla": Mla(512, 64, 128, 128)}, {"mla"}),
    ],
    ids=str,
)
def test_what_the_layer_may_be(name: str, features: dict[str, Any], fields: set[str]) -> None:
    assert set(refusals(name, features=features)) == fields


def test_vllm_captures_no_decode_that_is_not_causal() -> None:
    found = {v.name: v for v in BACKEND.variants(H100, replace(SPEC, causal=False), STACK)}
    assert found["vllm"].graph_phases == frozenset()
    assert found["fa2"].graph_phases == {Phase.DECODE, Phase.VERIFY}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kv_dtype", ["fp8_e4m3", "fp8_e5m2"])
def test_fp8_caches_are_for_all_but_fa3(name: str, kv_dtype: str) -> None:
    assert set(refusals(name, features={"kv_dtype": kv_dtype})) == (
        {"kv_dtype"} if name == "fa3" else set()
    )


@pytest.mark.parametrize("heads", [1, 2, 3, 4, 8, 5, 7, 16])
def test_the_decode_kernel_is_compiled_for_some_group_sizes(heads: int) -> None:
    features = {"num_q_heads": 4 * heads, "num_kv_heads": 4}
    for name in NAMES:
        refused = name == "decode" and heads not in (1, 2, 3, 4, 8)
        assert set(refusals(name, features=features)) == ({"num_q_heads"} if refused else set())


def test_a_refused_group_size_is_told_with_its_values() -> None:
    told = refusals("decode", features={"num_q_heads": 28, "num_kv_heads": 4})
    assert told["num_q_heads"] == (
        "num_q_heads 28 over num_kv_heads 4: takes 1, 2, 3, 4 and 8 to one"
    )


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("name", NAMES)
def test_the_decode_wrapper_takes_decodes(name: str, phase: Phase) -> None:
    takes = phase is Phase.DECODE or name in EVERY_PHASE
    assert set(refusals(name, phase=phase)) == (set() if takes else {"phase"})


@pytest.mark.parametrize(
    ("device", "name", "fields"),
    [
        *((A100, name, {"arch"} if name == "fa3" else set()) for name in NAMES),
        *((B200, name, {"arch"} if name in ("fa3", "vllm") else set()) for name in NAMES),
        *((RTX5090, name, {"arch"} if name == "fa3" else set()) for name in NAMES),
        *((T4, name, {"arch"}) for name in NAMES),
        *((MI300, name, {"device", "torch"}) for name in NAMES),
        *((CPU, name, {"device"}) for name in NAMES),
    ],
)
def test_which_devices_run_it(device: Device, name: str, fields: set[str]) -> None:
    assert set(refusals(name, device)) == fields


@pytest.mark.parametrize(
    ("device", "name", "phase", "refused"),
    [
        (H100, "fa2", Phase.PREFILL, True),
        (H100, "fa2", Phase.DECODE, False),
        (H100, "fa3", Phase.PREFILL, False),
        (H100, "vllm", Phase.PREFILL, False),
        (A100, "vllm", Phase.MIXED, True),
        (H100, "decode-tc", Phase.DECODE, False),
        (H100, "decode", Phase.DECODE, False),
    ],
)
def test_fa2_s_windows_are_right_where_nothing_ahead_is_seen(
    device: Device, name: str, phase: Phase, refused: bool
) -> None:
    features = {"causal": False, "sliding_window": 128}
    told = refusals(name, device, features, phase=phase)
    assert set(told) == ({"sliding_window"} if refused else set())


@pytest.mark.parametrize(
    ("stack", "texts"),
    [
        (STACK, []),
        ({**PACKAGE, "flashinfer-jit-cache": "0.6.12+cu130"}, []),
        (
            PACKAGE,
            [
                "nvcc: not installed; install the CUDA toolkit or flashinfer-jit-cache 0.6.12",
                "c++: not installed; nvcc needs a host compiler: install g++ or"
                " flashinfer-jit-cache 0.6.12",
                "ninja: not installed; pip install ninja or flashinfer-jit-cache 0.6.12",
            ],
        ),
        (
            {name: version for name, version in STACK.items() if name != "nvcc"},
            ["nvcc: not installed; install the CUDA toolkit or flashinfer-jit-cache 0.6.12"],
        ),
        (
            {"torch": "2.11.0", "cuda": "13.0", **COMPILER},
            ["flashinfer-python: not installed; pip install flashinfer-python"],
        ),
        (
            {**STACK, "flashinfer-jit-cache": "0.6.11+cu130"},
            ["flashinfer-jit-cache 0.6.11+cu130: install 0.6.12, the release of flashinfer-python"],
        ),
        (
            {**STACK, "flashinfer-python": "0.5.3"},
            ["flashinfer-python 0.5.3: needs flashinfer-python >= 0.6"],
        ),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_what_must_be_installed(name: str, stack: Mapping[str, str], texts: list[str]) -> None:
    support = BACKEND.supports(variant(name), H100, SPEC, Phase.DECODE, stack)
    assert [reason.text for reason in support.reasons] == texts


def test_the_cache_of_compiled_kernels_has_none_for_e5m2() -> None:
    stack = {**PACKAGE, "flashinfer-jit-cache": "0.6.12+cu130"}
    assert refusals("fa2", features={"kv_dtype": "fp8_e4m3"}, stack=stack) == {}
    support = BACKEND.supports(
        variant("fa2"), H100, replace(SPEC, kv_dtype="fp8_e5m2"), Phase.DECODE, stack
    )
    assert [reason.text for reason in support.reasons] == [
        "nvcc: not installed; install the CUDA toolkit",
        "c++: not installed; nvcc needs a host compiler: install g++",
        "ninja: not installed; pip install ninja",
    ]


class FakeWrapper:
    """Keeps a plan where FlashInfer keeps it: in its own tensors, or in the fixed buffers."""

    def __init__(self, workspace: Tensor, layout: str, use_cuda_graph: bool) -> None:
        assert workspace.dtype == torch.uint8
        assert layout == "NHD"
        self.workspace, self.use_cuda_graph = workspace, use_cuda_graph
        self.plans: list[str] = []
        self.buffers: dict[str, Tensor] = {}
        """By name: starts of queries and of pages, pages, and lengths of last pages."""

    def keep(self, **given: Tensor) -> None:
        for name, tensor in given.items():
            assert tensor.dtype == torch.int32
            if self.use_cuda_graph:
                assert name == "pages" or len(self.buffers[name]) == len(tensor)
                self.buffers[name][: len(tensor)].copy_(tensor)
            else:
                self.buffers[name] = tensor.clone()

    def settle(
        self,
        heads: tuple[int, int],
        head_dim: int,
        page_size: int,
        causal: bool,
        sm_scale: float,
        window_left: int,
        logits_soft_cap: float | None,
        dtypes: tuple[torch.dtype, torch.dtype],
    ) -> None:
        self.heads, self.head_dim, self.page_size = heads, head_dim, page_size
        self.causal, self.sm_scale, self.window_left = causal, sm_scale, window_left
        self.softcap, self.dtypes = logits_soft_cap or 0.0, dtypes

    def run(
        self,
        q: Tensor,
        paged_kv_cache: tuple[Tensor, Tensor],
        k_scale: float | None = None,
        v_scale: float | None = None,
        *,
        out: Tensor,
    ) -> Tensor:
        key, value = paged_kv_cache
        assert (q.shape[1], key.shape[2]) == self.heads
        assert q.shape[2] == self.head_dim
        assert key.shape[1] == self.page_size
        assert (q.dtype, key.dtype) == self.dtypes
        starts, pages = self.buffers["kv_starts"].tolist(), self.buffers["pages"].long()
        rows = [pages[first:last] for first, last in pairwise(starts)]
        lens = [
            (len(row) - 1) * self.page_size + last
            for row, last in zip(rows, self.buffers["last_page_len"].tolist(), strict=True)
        ]
        out.copy_(
            attend(
                q,
                (key, value),
                torch.nn.utils.rnn.pad_sequence(rows, batch_first=True),
                self.buffers["q_starts"],
                torch.tensor(lens),
                self.sm_scale * (1.0 if k_scale is None else k_scale),
                self.causal,
                (self.window_left, -1),
                self.softcap,
            )
        )
        if v_scale is not None:
            out *= v_scale
        return out


class FakePrefill(FakeWrapper):
    def __init__(
        self,
        float_workspace_buffer: Tensor,
        kv_layout: str,
        use_cuda_graph: bool,
        qo_indptr_buf: Tensor,
        paged_kv_indptr_buf: Tensor,
        paged_kv_indices_buf: Tensor,
        paged_kv_last_page_len_buf: Tensor,
        backend: str,
    ) -> None:
        super().__init__(float_workspace_buffer, kv_layout, use_cuda_graph)
        self.kind = backend
        self.buffers = {
            "q_starts": qo_indptr_buf,
            "kv_starts": paged_kv_indptr_buf,
            "pages": paged_kv_indices_buf,
            "last_page_len": paged_kv_last_page_len_buf,
        }

    def plan(
        self,
        qo_indptr: Tensor,
        paged_kv_indptr: Tensor,
        paged_kv_indices: Tensor,
        paged_kv_last_page_len: Tensor,
        num_qo_heads: int,
        num_kv_heads: int,
        head_dim_qk: int,
        page_size: int,
        causal: bool,
        sm_scale: float,
        window_left: int,
        logits_soft_cap: float | None,
        q_data_type: torch.dtype,
        kv_data_type: torch.dtype,
    ) -> None:
        assert qo_indptr[0] == 0
        self.plans.append("whole")
        self.keep(
            q_starts=qo_indptr,
            kv_starts=paged_kv_indptr,
            pages=paged_kv_indices,
            last_page_len=paged_kv_last_page_len,
        )
        self.settle(
            (num_qo_heads, num_kv_heads),
            head_dim_qk,
            page_size,
            causal,
            sm_scale,
            window_left,
            logits_soft_cap,
            (q_data_type, kv_data_type),
        )


class FakeDecode(FakeWrapper):
    def __init__(
        self,
        float_workspace_buffer: Tensor,
        kv_layout: str,
        use_cuda_graph: bool,
        use_tensor_cores: bool,
        paged_kv_indptr_buffer: Tensor,
        paged_kv_indices_buffer: Tensor,
        paged_kv_last_page_len_buffer: Tensor,
    ) -> None:
        super().__init__(float_workspace_buffer, kv_layout, use_cuda_graph)
        self.kind = "decode-tc" if use_tensor_cores else "decode"
        self.buffers = {
            "q_starts": torch.arange(len(paged_kv_indptr_buffer), dtype=torch.int32),
            "kv_starts": paged_kv_indptr_buffer,
            "pages": paged_kv_indices_buffer,
            "last_page_len": paged_kv_last_page_len_buffer,
        }

    def plan(
        self,
        indptr: Tensor,
        indices: Tensor,
        last_page_len: Tensor,
        num_qo_heads: int,
        num_kv_heads: int,
        head_dim: int,
        page_size: int,
        sm_scale: float,
        window_left: int,
        logits_soft_cap: float | None,
        q_data_type: torch.dtype,
        kv_data_type: torch.dtype,
    ) -> None:
        self.plans.append("whole")
        rows = torch.arange(len(indptr), dtype=torch.int32)
        self.keep(q_starts=rows, kv_starts=indptr, pages=indices, last_page_len=last_page_len)
        self.settle(
            (num_qo_heads, num_kv_heads),
            head_dim,
            page_size,
            False,
            sm_scale,
            window_left,
            logits_soft_cap,
            (q_data_type, kv_data_type),
        )


def fast_decode_plan(
    self: FakeDecode,
    indptr: Tensor,
    indices: Tensor,
    last_page_len: Tensor,
    num_qo_heads: int,
    num_kv_heads: int,
    head_dim: int,
    page_size: int,
    sm_scale: float,
    window_left: int,
    logits_soft_cap: float | None,
    q_data_type: torch.dtype,
    kv_data_type: torch.dtype,
) -> None:
    """Copies nothing: whoever calls it has filled the buffers."""
    assert self.use_cuda_graph
    assert self.plans[0] == "whole"
    self.plans.append("fast")
    assert torch.equal(self.buffers["kv_starts"], indptr)
    assert torch.equal(self.buffers["last_page_len"], last_page_len)
    assert self.buffers["pages"].data_ptr() == indices.data_ptr()
    dtypes = (q_data_type, kv_data_type)
    assert (self.heads, self.head_dim) == ((num_qo_heads, num_kv_heads), head_dim)
    assert (self.page_size, self.sm_scale, self.dtypes) == (page_size, sm_scale, dtypes)
    assert (self.window_left, self.softcap) == (window_left, logits_soft_cap or 0.0)


Made = list[FakeWrapper]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[Made]:
    """The wrappers, in the order in which they were made."""
    made: Made = []

    def prefill(*given: Any, **named: Any) -> FakePrefill:
        made.append(FakePrefill(*given, **named))
        return made[-1]  # type: ignore[return-value]

    def decode(*given: Any, **named: Any) -> FakeDecode:
        made.append(FakeDecode(*given, **named))
        return made[-1]  # type: ignore[return-value]

    install(
        monkeypatch,
        "flashinfer",
        BatchPrefillWithPagedKVCacheWrapper=prefill,
        BatchDecodeWithPagedKVCacheWrapper=decode,
    )
    install(monkeypatch, "flashinfer.decode", fast_decode_plan=fast_decode_plan)
    monkeypatch.setattr(launches, "WORKSPACE_BYTES", 1024)
    launches._workspace.cache_clear()
    yield made
    launches._workspace.cache_clear()


def bind(
    name: str, spec: AttentionSpec, text: str, page_size: int = 16
) -> tuple[Contents, Batch, Launch]:
    contents, batch = make_batch(spec, text, Pages(page_size))
    batch.output.fill_(math.nan)
    return contents, batch, BACKEND.prepare(variant(name), spec, batch)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *((name, "5q1s30v60") for name in NAMES),
        *((name, text) for name in EVERY_PHASE for text in ("3q4s50", "q20_2q5v9", "q7s40")),
        *((name, "3q1s30v60_q12_q5s40") for name in EVERY_PHASE),
        *((name, "q12_3q1s30") for name in EVERY_PHASE),
    ],
)
@pytest.mark.parametrize(
    "features",
    [
        {},
        {"sliding_window": 11},
        {"logit_softcap": 5.0, "softmax_scale": 0.3},
        {"causal": False},
        {"kv_dtype": "fp8_e4m3"},
    ],
    ids=str,
)
@pytest.mark.parametrize("page_size", [16, 32])
def test_the_arguments_say_what_the_batch_is(
    made: Made, name: str, text: str, features: dict[str, Any], page_size: int
) -> None:
    spec = replace(SPEC, **features)
    contents, batch, launch = bind(name, spec, text, page_size)
    launch.plan()
    launch.run()
    assert check(make_truth(spec, contents), batch.output) is None


@pytest.mark.parametrize(
    ("name", "text", "kinds"),
    [
        ("fa2", "3q1s30", [("fa2", True)]),
        ("fa2", "3q4s50", [("fa2", True)]),
        ("fa2", "3q16s50", [("fa2", True)]),
        ("fa2", "3q17s50", [("fa2", False)]),
        ("fa2", "q1s30_q2s30", [("fa2", False)]),
        ("fa3", "3q1s30", [("fa3", True)]),
        ("decode-tc", "3q1s30", [("decode-tc", True)]),
        ("decode", "3q1s30", [("decode", True)]),
        ("vllm", "3q1s30", [("decode-tc", True)]),
        ("vllm", "3q4s50", [("auto", False)]),
        ("vllm", "q20", [("auto", False)]),
        ("vllm", "3q1s30_q20", [("auto", False), ("decode-tc", False)]),
        ("vllm", "q20_3q1s30", [("auto", False)]),
        ("vllm", "2q1s30_q20_q1s30", [("auto", False), ("decode-tc", False)]),
    ],
)
def test_which_wrapper_runs_and_whether_a_graph_may_hold_it(
    made: Made, name: str, text: str, kinds: list[tuple[str, bool]]
) -> None:
    bind(name, SPEC, text)
    assert [(wrapper.kind, wrapper.use_cuda_graph) for wrapper in made] == kinds  # type: ignore[attr-defined]


def test_what_is_not_causal_never_reaches_the_decode_wrapper_of_vllm(made: Made) -> None:
    bind("vllm", replace(SPEC, causal=False), "3q1s30")
    assert isinstance(made[0], FakePrefill)


def test_a_window_counts_the_keys_before_the_query(made: Made) -> None:
    for features, window_left in (({}, -1), ({"sliding_window": 12}, 11)):
        _, _, launch = bind("fa2", replace(SPEC, **features), "3q1s30")
        launch.plan()
        assert made[-1].window_left == window_left


@pytest.mark.parametrize(
    ("name", "text"),
    [*((name, "3q1s30v60") for name in NAMES), ("fa2", "3q4s50"), ("fa3", "3q4s50")],
)
def test_a_plan_at_the_longest_context_leaves_no_trace_in_a_later_one(
    made: Made, name: str, text: str
) -> None:
    contents, short = make_batch(SPEC, text, Pages(16))
    batch = replace(short, max_seq_len=1024)
    launch = BACKEND.prepare(variant(name), SPEC, batch)
    (wrapper,) = made
    launch.plan()
    addresses = {key: buffer.data_ptr() for key, buffer in wrapper.buffers.items()}
    with at_maxima([batch]):
        launch.plan()
        starts = wrapper.buffers["kv_starts"].tolist()
        assert starts == [0, 64, 128, 192]
        assert torch.equal(wrapper.buffers["pages"], batch.block_table.flatten())
    launch.plan()
    assert addresses == {key: buffer.data_ptr() for key, buffer in wrapper.buffers.items()}
    batch.output.fill_(math.nan)
    launch.run()
    assert check(make_truth(SPEC, contents), batch.output) is None


def test_later_plans_of_a_captured_decode_are_the_short_ones(made: Made) -> None:
    for name, plans in (
        ("decode-tc", ["whole", "fast", "fast"]),
        ("decode", ["whole", "fast", "fast"]),
        ("vllm", ["whole", "fast", "fast"]),
        ("fa2", ["whole", "whole", "whole"]),
    ):
        _, _, launch = bind(name, SPEC, "3q1s30")
        for _ in range(3):
            launch.plan()
        assert made[-1].plans == plans
    _, _, launch = bind("vllm", SPEC, "3q1s30_q20")
    for _ in range(2):
        launch.plan()
    assert [wrapper.plans for wrapper in made[-2:]] == [["whole", "whole"]] * 2


def test_all_launches_share_one_workspace(made: Made) -> None:
    for name in NAMES:
        bind(name, SPEC, "3q1s30")
    assert len(made) == len(NAMES)
    assert len({wrapper.workspace.data_ptr() for wrapper in made}) == 1


@pytest.mark.parametrize("page_size", [1, 16, 32])
def test_page_indices_are_the_pages_of_each_request_in_order(page_size: int) -> None:
    _, batch = make_batch(SPEC, "5q1s40v90", Pages(page_size))
    pages = PageIndices(batch)
    for lens in ([1, 16, 17, 32, 40], [40, 1, 33, 15, 16]):
        batch.seq_lens_cpu.copy_(torch.tensor(lens))
        pages.update()
        counts = [-(-length // page_size) for length in lens]
        rows = [batch.block_table[row, :count] for row, count in enumerate(counts)]
        assert torch.equal(pages.pages, torch.cat(rows))
        assert pages.starts_cpu.diff().tolist() == counts
        assert torch.equal(pages.starts, pages.starts_cpu)
        assert torch.equal(pages.last_page_len, pages.last_page_len_cpu)
        assert [
            (count - 1) * page_size + last
            for count, last in zip(counts, pages.last_page_len.tolist(), strict=True)
        ] == lens


def test_a_padded_row_has_no_pages_and_no_tokens() -> None:
    _, batch = make_batch(SPEC, "3q1s30", Pages(16))
    batch.seq_lens_cpu.copy_(torch.tensor([30, 0, 5]))
    pages = PageIndices(batch)
    pages.update()
    assert pages.starts.tolist() == [0, 2, 2, 3]
    assert pages.last_page_len.tolist() == [14, 0, 5]


def test_ninja_is_found_beside_this_python(
    monkeypatch: pytest.MonkeyPatch, made: Made, tmp_path: Path
) -> None:
    scripts, empty = tmp_path / "scripts", tmp_path / "empty"
    scripts.mkdir()
    empty.mkdir()
    ninja = scripts / "ninja"
    ninja.write_text("#!/bin/sh\n")
    ninja.chmod(0o755)
    monkeypatch.setattr("sysconfig.get_path", {"scripts": str(scripts)}.get)
    monkeypatch.setenv("PATH", str(empty))
    launches.flashinfer()
    assert shutil.which("ninja") == str(ninja)
    launches.flashinfer()  # and is not looked for again
    assert os.environ["PATH"].split(":") == [str(empty), str(scripts)]
