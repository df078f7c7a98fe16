"""What our Triton backends refuse, and how they cut their work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernels_bench.backends._triton_tiles import Tile, num_stages
from kernels_bench.backends.base import Backend
from kernels_bench.backends.triton_split import BACKEND as SPLIT
from kernels_bench.backends.triton_unified import BACKEND as UNIFIED
from kernels_bench.batch import make_batches, make_contents
from kernels_bench.spec import AttentionSpec, Device, Mla, Pages, Phase, Variant
from kernels_bench.triton_kernels.operands import strides_of
from kernels_bench.triton_kernels.split_plan import EMPTY, num_segments, sort_out
from kernels_bench.workload import parse_workload

CPU = Device("cpu", "CPU", "x86_64+avx2", 2, 16 << 30, 32 << 20)
H100 = Device("cuda", "NVIDIA H100 80GB HBM3", "sm_90", 132, 80 << 30, 50 << 20)
T4 = Device("cuda", "Tesla T4", "sm_75", 40, 16 << 30, 4 << 20)
MI300 = Device("rocm", "AMD Instinct MI300X", "gfx942", 304, 192 << 30, 256 << 20)
STACK = {"torch": "2.11.0", "triton": "3.6.0", "cuda": "13.0"}
ROCM_STACK = {"torch": "2.9.0", "pytorch-triton-rocm": "3.5.0", "hip": "7.0"}
SPEC = AttentionSpec(32, 8, 128, "bfloat16", num_layers=1)
BACKENDS = [UNIFIED, SPLIT]
by_name = pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.name)


def refusals(
    backend: Backend,
    device: Device = H100,
    spec: AttentionSpec = SPEC,
    stack: Mapping[str, str] = STACK,
    phase: Phase = Phase.DECODE,
) -> list[tuple[str, str]]:
    answers = {
        backend.supports(variant, device, spec, phase, stack)
        for variant in backend.variants(device, spec, stack)
    }
    (support,) = answers
    return [(reason.field, reason.text) for reason in support.reasons]


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize(
    "features",
    [
        {},
        {"sliding_window": 128},
        {"logit_softcap": 50.0},
        {"causal": False},
        {"softmax_scale": 1.0},
        {"num_q_heads": 56},
        {"num_kv_heads": 1},
        {"num_kv_heads": 32},
        {"head_dim": 256},
        {"head_dim": 80},
        {"head_dim": 84},
        {"head_dim": 512},
        {"head_dim": 192, "head_dim_v": 128},
        {"dtype": "float16"},
        {"kv_dtype": "bfloat16"},
    ],
    ids=str,
)
@by_name
def test_what_both_can_run(backend: Backend, features: dict[str, Any], phase: Phase) -> None:
    assert refusals(backend, spec=replace(SPEC, **features), phase=phase) == []


@pytest.mark.parametrize(
    ("features", "reason"),
    [
        ({"has_sinks": True}, ("has_sinks", "has_sinks: the kernel has no sink term")),
        ({"has_alibi": True}, ("has_alibi", "has_alibi: the kernel adds no bias by distance")),
        (
            {"attention_chunk": 8192},
            ("attention_chunk", "attention_chunk 8192: the kernel has no chunked mask"),
        ),
        (
            {"kv_dtype": "fp8_e4m3"},
            ("kv_dtype", "kv_dtype fp8_e4m3: query, key and value must share bfloat16"),
        ),
        (
            {"mla": Mla(512, 64, 128, 128)},
            ("mla", "mla: latent attention needs kernels of its own"),
        ),
        ({"dtype": "float32"}, ("dtype", "dtype float32: takes bfloat16 and float16")),
        (
            {"head_dim": 520, "head_dim_v": 128},
            ("head_dim", "head_dim 520: at most 512"),
        ),
        ({"head_dim_v": 640}, ("head_dim_v", "head_dim_v 640: at most 512")),
    ],
    ids=str,
)
@by_name
def test_the_reasons_of_a_layer(
    backend: Backend, features: dict[str, Any], reason: tuple[str, str]
) -> None:
    assert refusals(backend, spec=replace(SPEC, **features)) == [reason]


@by_name
def test_the_reasons_of_a_machine(backend: Backend) -> None:
    on_cpu = ("device", "device cpu: runs on cuda and rocm")
    assert refusals(backend, CPU) == [on_cpu]
    too_old = ("arch", "arch sm_75: Triton supports sm_80 and newer")
    assert refusals(backend, T4) == [too_old]
    without_triton = {"torch": "2.11.0", "cuda": "13.0"}
    not_installed = ("package", "triton: not installed; install triton")
    assert refusals(backend, stack=without_triton) == [not_installed]
    ((field, text),) = refusals(backend, stack={"torch": "2.11.0", "triton": "3.6.0"})
    assert field == "torch"
    assert text.startswith("torch 2.11.0: built without CUDA, cannot use NVIDIA H100")


@pytest.mark.parametrize(
    ("arch", "refused"),
    [
        ("sm_80", {"tile128x32w8"}),
        ("sm_90", set()),
        ("sm_120", {"tile64x32w4", "tile128x32w8"}),
        ("gfx942", {"tile128x32w8"}),
        ("gfx950", set()),
    ],
)
def test_the_widest_heads_need_shared_memory(arch: str, refused: set[str]) -> None:
    device = replace(MI300 if arch.startswith("gfx") else H100, arch=arch)
    stack = ROCM_STACK if device.kind == "rocm" else STACK
    wide = replace(SPEC, head_dim=512)
    told = {
        variant.name: UNIFIED.supports(variant, device, wide, Phase.PREFILL, stack).reasons
        for variant in UNIFIED.variants(device, wide, stack)
    }
    assert {name for name, reasons in told.items() if reasons} == refused
    if arch == "sm_120":
        assert [reason.text for reason in told["tile128x32w8"]] == [
            "head_dim 512: tile128x32w8 takes 168 KiB of shared memory, 99 are there on sm_120"
        ]


@by_name
def test_all_reasons_come_at_once(backend: Backend) -> None:
    spec = replace(SPEC, head_dim=640, has_sinks=True, has_alibi=True)
    fields = [field for field, _ in refusals(backend, T4, spec, {})]
    assert fields == ["package", "package", "arch", "has_sinks", "has_alibi", "head_dim"]


@by_name
def test_rocm_brings_triton_under_another_name(backend: Backend) -> None:
    assert refusals(backend, MI300, stack=ROCM_STACK) == []
    assert {variant.packages for variant in backend.variants(MI300, SPEC, ROCM_STACK)} == {
        ("pytorch-triton-rocm",)
    }


def variants(backend: Backend, spec: AttentionSpec = SPEC) -> tuple[Variant, ...]:
    return backend.variants(H100, spec, STACK)


def test_variants_are_named_by_their_tiles() -> None:
    assert [variant.name for variant in variants(UNIFIED)] == [
        "tile64x64w4",
        "tile16x64w4",
        "tile128x64w8",
    ]
    assert [variant.name for variant in variants(SPLIT)] == [
        "tile64x64w4-decode16x64w4",
        "tile128x64w8-decode16x32w2",
    ]
    wide = replace(SPEC, head_dim=256)
    assert [variant.name for variant in variants(UNIFIED, wide)] == [
        "tile64x32w4",
        "tile16x32w4",
        "tile128x32w8",
    ]


@by_name
def test_what_a_variant_tells_an_engine(backend: Backend) -> None:
    for variant in variants(backend):
        assert variant.pages == (Pages(16), Pages(32), Pages(64), Pages(128))
        assert variant.packages == ("triton",)
        assert variant.engine_options == {}
        assert variant.graph_phases >= {Phase.DECODE, Phase.VERIFY}


def test_a_last_axis_with_gaps_is_an_error() -> None:
    spec = AttentionSpec(4, 2, 16, "float16", num_layers=1)
    contents = make_contents(spec, parse_workload("2q1s20"), torch.device("cpu"))
    (batch,) = make_batches(spec, contents, Pages(16), count=1)
    gaps = torch.empty(2, 4, 32, dtype=torch.float16)[:, :, ::2]
    with pytest.raises(ValueError, match=r"strides \(128, 32, 2\).*call contiguous\(\)"):
        strides_of(replace(batch, query=gaps))


@pytest.mark.parametrize(
    ("rows", "group_size", "tokens", "head_tiles"),
    [(64, 4, 16, 1), (16, 1, 16, 1), (16, 7, 2, 1), (16, 12, 1, 1), (16, 16, 1, 1), (16, 71, 1, 5)],
)
def test_a_tile_holds_whole_tokens(
    rows: int, group_size: int, tokens: int, head_tiles: int
) -> None:
    tile = Tile(rows, 64, 4)
    assert tile.tokens(group_size) == tokens
    assert tile.head_tiles(group_size) == head_tiles
    assert tile.heads(group_size) * tokens <= rows


@pytest.mark.parametrize(
    ("head_dim", "keys", "shared_kib", "stages"),
    [(128, 64, 227, 3), (128, 64, 99, 2), (128, 64, 64, 1), (256, 32, 227, 3), (256, 32, 64, 1)],
)
def test_stages_are_as_many_as_fit(head_dim: int, keys: int, shared_kib: int, stages: int) -> None:
    spec = replace(SPEC, head_dim=head_dim)
    assert num_stages(Tile(64, keys, 4), spec, shared_kib << 10) == stages


@pytest.mark.parametrize(
    ("programs", "multiprocessors", "longest", "keys", "segments"),
    [
        (8, 132, 131072, 64, 64),
        (8, 132, 512, 64, 8),
        (8, 132, 40, 64, 1),
        (64, 132, 131072, 64, 8),
        (512, 132, 131072, 64, 1),
        (4096, 132, 131072, 64, 1),
        (8, 132, 600, 64, 8),
    ],
)
def test_segments_fill_the_gpu_and_no_more(
    programs: int, multiprocessors: int, longest: int, keys: int, segments: int
) -> None:
    assert num_segments(programs, multiprocessors, longest, keys) == segments


@given(
    new_tokens=st.lists(st.integers(0, 40), min_size=1, max_size=12),
    tokens=st.integers(1, 16),
    has_decodes=st.booleans(),
)
def test_every_token_is_in_one_table(new_tokens: list[int], tokens: int, has_decodes: bool) -> None:
    """And the tables are as long as a captured launch makes them: by tokens and requests alone."""
    starts = np.cumsum([0, *new_tokens], dtype=np.int32)
    decodes = np.zeros(len(new_tokens), dtype=np.int32)
    tiles = np.zeros((sum(new_tokens) // tokens + len(new_tokens), 2), dtype=np.int32)
    counted = sort_out(starts, tokens, decodes, tiles, has_decodes)

    alone = [row for row, count in enumerate(new_tokens) if count == 1 and has_decodes]
    assert decodes.tolist() == alone + [EMPTY] * (len(new_tokens) - len(alone))
    named = tiles[tiles[:, 0] != EMPTY].tolist()
    assert counted == (len(alone), len(named))
    assert sorted(named) == [
        [row, first]
        for row, count in enumerate(new_tokens)
        if row not in alone
        for first in range(0, count, tokens)
    ]
