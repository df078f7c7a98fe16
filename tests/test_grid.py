"""The standard workloads, and how they are fitted to a model and a device."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels_bench.grid import (
    CPU_FULL,
    CPU_QUICK,
    GPU_FULL,
    GPU_QUICK,
    Effort,
    Limits,
    clip,
    kv_bytes,
    make_grid,
    scratch_bytes,
)
from kernels_bench.spec import AttentionSpec, Device, Phase
from kernels_bench.workload import parse_workload

GPU = Device("cuda", "GPU", "sm_90", 132, 80 << 30, 50 << 20)
CPU = Device("cpu", "CPU", "x86_64+avx2", 2, 16 << 30, 32 << 20)
SPEC = AttentionSpec(32, 8, 128, "bfloat16", num_layers=32)
WIDE = Limits(max_model_len=131_072, max_num_batched_tokens=16_384)
STANDARD = sorted({*GPU_FULL, *CPU_FULL})

limits = st.builds(
    Limits,
    max_model_len=st.one_of(st.integers(1, 64), st.integers(1, 50_000)),
    max_num_batched_tokens=st.one_of(st.integers(1, 64), st.integers(1, 16_384)),
    max_num_seqs=st.one_of(st.integers(1, 8), st.integers(1, 1024)),
)


def clipped_text(text: str, limits: Limits) -> str:
    clipped = clip(parse_workload(text), limits)
    assert clipped is not None
    return clipped.text


@pytest.mark.parametrize(("quick", "full"), [(GPU_QUICK, GPU_FULL), (CPU_QUICK, CPU_FULL)])
def test_quick_is_a_part_of_full_that_names_nothing_twice(
    quick: tuple[str, ...], full: tuple[str, ...]
) -> None:
    assert set(quick) < set(full)
    assert len(set(quick)) == len(quick)
    assert len(set(full)) == len(full)


@pytest.mark.parametrize("text", STANDARD)
def test_a_standard_workload_is_spelt_canonically(text: str) -> None:
    assert parse_workload(text).text == text


@pytest.mark.parametrize("grid", [GPU_FULL, GPU_QUICK, CPU_FULL, CPU_QUICK])
def test_every_grid_holds_every_phase(grid: tuple[str, ...]) -> None:
    assert {parse_workload(text).phase for text in grid} == set(Phase)


def test_the_gpu_grid_holds_short_decodes_and_a_verify() -> None:
    assert {"64q1s512", "128q1s256", "256q1s320", "16q4s4k"} <= set(GPU_FULL)


@pytest.mark.parametrize(
    ("device", "effort", "standard"),
    [
        (GPU, "full", GPU_FULL),
        (GPU, "quick", GPU_QUICK),
        (replace(GPU, kind="rocm", arch="gfx942"), "quick", GPU_QUICK),
        (CPU, "full", CPU_FULL),
        (CPU, "quick", CPU_QUICK),
    ],
)
def test_with_room_for_all_nothing_is_changed(
    device: Device, effort: Effort, standard: tuple[str, ...]
) -> None:
    grid = make_grid(device, (SPEC,), WIDE, effort)
    assert tuple(point.standard for point in grid.points) == standard
    assert tuple(point.workload.text for point in grid.points) == standard
    assert grid.left_out == ()


@given(st.sampled_from(STANDARD), limits)
def test_clipping_keeps_the_phase_and_the_limits(text: str, limits: Limits) -> None:
    workload = parse_workload(text)
    clipped = clip(workload, limits)
    if clipped is None:
        return
    assert clipped.phase is workload.phase
    assert clipped.longest_tokens <= limits.max_model_len
    assert clipped.num_requests <= limits.max_num_seqs
    requests = clipped.requests(seed=1)
    assert sum(request.new_tokens for request in requests) <= limits.max_num_batched_tokens
    assert max(request.total_tokens for request in requests) <= limits.max_model_len
    assert clip(clipped, limits) is not None


@given(st.sampled_from(STANDARD), limits)
def test_clipping_never_makes_a_batch_larger(text: str, limits: Limits) -> None:
    workload = parse_workload(text)
    clipped = clip(workload, limits)
    if clipped is not None:
        assert clipped.num_requests <= workload.num_requests
        assert clipped.longest_tokens <= workload.longest_tokens
        assert kv_bytes(SPEC, clipped) <= kv_bytes(SPEC, workload)


@pytest.mark.parametrize("text", STANDARD)
def test_an_engine_of_ordinary_limits_can_be_given_every_standard_workload(text: str) -> None:
    ordinary = Limits(max_model_len=4096, max_num_batched_tokens=2048, max_num_seqs=256)
    assert clip(parse_workload(text), ordinary) is not None


@pytest.mark.parametrize(
    ("text", "limits", "expected"),
    [
        # The model's length: a drawn request is at most 4 means.
        ("q1s16k", Limits(4096), "q1s4k"),
        ("8q1s16kv80", Limits(4096), "8q1s1kv80"),
        ("q8k", Limits(4096), "q4k"),
        ("q2ks4k", Limits(1024), "q512s1k"),
        # The tokens of a step: decodes first, a prompt gets the rest.
        ("q8k", Limits(131_072, max_num_batched_tokens=2048), "q2k"),
        ("100q1s2kv80_5q1200", Limits(131_072, 1100), "100q1s2kv80_5q200"),
        ("q220_q1000_q1050", Limits(131_072, 512), "q220_q292"),
        ("16q4s4k", Limits(131_072, 32), "16q2s4k"),
        ("128q1s256", Limits(131_072, 100), "100q1s256"),
        # Requests at once: one place is kept for every segment that follows.
        ("256q1s1228v80_2q1k", Limits(131_072, max_num_seqs=256), "255q1s1228v80_q1k"),
        ("100q1s2kv80_5q1200", Limits(131_072, max_num_seqs=103), "100q1s2kv80_3q1200"),
        ("q512_q1k_q2k", Limits(131_072, max_num_seqs=2), "q512_q1k"),
    ],
)
def test_a_batch_is_shortened_to_what_the_engine_would_schedule(
    text: str, limits: Limits, expected: str
) -> None:
    assert clipped_text(text, limits) == expected


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("32q1s1228v80_q1k", Limits(4096, max_num_seqs=1)),
        ("32q1s1228v80_q1k", Limits(4096, max_num_batched_tokens=32)),
        ("q2ks4k", Limits(4096, max_num_batched_tokens=16)),
        ("16q4s4k", Limits(4096, max_num_batched_tokens=1)),
        ("q512", Limits(max_model_len=1)),
        ("q2ks4k", Limits(max_model_len=17)),
        ("8q1s1228v80", Limits(max_model_len=3)),
    ],
)
def test_a_batch_whose_phase_does_not_fit_is_none(text: str, limits: Limits) -> None:
    assert clip(parse_workload(text), limits) is None


def test_what_no_engine_would_schedule_is_named_with_the_limits() -> None:
    grid = make_grid(CPU, (SPEC,), Limits(4096, max_num_seqs=1), "quick")
    assert [(item.workload, item.why) for item in grid.left_out] == [
        (
            "4q1s512v80_q128",
            "no batch of its phase fits max_model_len 4096, max_num_batched_tokens 8192,"
            " max_num_seqs 1",
        )
    ]
    assert [point.standard for point in grid.points] == [
        text for text in CPU_QUICK if text != "4q1s512v80_q128"
    ]


def test_what_does_not_fit_memory_is_named_with_the_numbers() -> None:
    small = replace(GPU, memory_bytes=1 << 30)
    grid = make_grid(small, (SPEC,), WIDE, "quick")
    whys = {item.workload: item.why for item in grid.left_out}
    assert whys["32q1s16kv80"] == "needs 2048 MiB of KV cache, 64 MiB allowed"
    assert {point.standard for point in grid.points} | set(whys) == set(GPU_QUICK)
    for point in grid.points:
        assert kv_bytes(SPEC, point.workload) <= scratch_bytes(small)


def test_the_largest_kind_of_layer_decides_what_fits() -> None:
    small = replace(GPU, memory_bytes=1 << 30)
    light = replace(SPEC, num_kv_heads=1, kv_dtype="fp8_e4m3")
    alone, beside = (make_grid(small, specs, WIDE, "full") for specs in ((light,), (light, SPEC)))
    assert len(beside.points) < len(alone.points)


def test_workloads_that_clipping_made_alike_are_measured_once() -> None:
    grid = make_grid(CPU, (SPEC,), Limits(max_model_len=256), "full")
    texts = [workload.text for workload in grid.workloads]
    assert len(texts) == len(set(texts)) < len(grid.points)


def test_kv_bytes_by_hand() -> None:
    workload = parse_workload("2q1s100_q50")
    assert kv_bytes(SPEC, workload) == 250 * 8 * (128 + 128) * 2
    other = replace(SPEC, head_dim_v=64, kv_dtype="fp8_e5m2")
    assert kv_bytes(other, workload) == 250 * 8 * (128 + 64)
