"""From a choice to kernels: who is seated where, and what they are handed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fakes import CPU_FOUND, FULL, H100, WINDOW, candidate, make_model
from starts import ask, tune

import autotune
from autotune import Choice, LayerTensors, Phase
from autotune.decision import Seats, SplitDecision
from kernels_bench.devices import find_device
from kernels_bench.spec import Pages

SWIFT, STEADY = candidate("swift"), candidate("steady")
NHD, HND = Pages(16), Pages(16, "HND")


@pytest.fixture
def measured(file: Path, plugins: Path) -> Choice:
    tune(file)
    return ask(file)


def split(choice: Choice, seats: Seats) -> Choice:
    assert choice.decision is not None
    decided = SplitDecision(seats, 0.8, 0.1, 0.01, 0.0)
    return replace(choice, decision=replace(choice.decision, split=decided))


# Who serves


def test_one_winner_serves_everything(measured: Choice) -> None:
    assert {autotune.seat(measured, "full", phase) for phase in Phase} == {SWIFT}


def test_a_split_seats_each_phase_of_each_kind(measured: Choice) -> None:
    phases = {phase.value: SWIFT for phase in Phase}
    both = split(measured, {"full": phases | {"decode": STEADY}, "window": phases})
    assert autotune.seat(both, "full", Phase.DECODE) == STEADY
    assert autotune.seat(both, "full", Phase.PREFILL) == SWIFT
    assert autotune.seat(both, "window", Phase.DECODE) == SWIFT
    with pytest.raises(autotune.UsageError, match=r"chunk layers: .* full, window"):
        autotune.seat(both, "chunk", Phase.DECODE)


def test_a_phase_that_the_profile_has_not_is_served_by_its_like(measured: Choice) -> None:
    both = split(measured, {"full": {"prefill": SWIFT, "decode": STEADY}})
    seated = {phase.value: autotune.seat(both, "full", phase).backend for phase in Phase}
    assert seated == {
        "prefill": "swift",
        "extend": "swift",
        "mixed": "swift",
        "decode": "steady",
        "verify": "steady",
    }
    alone = split(measured, {"full": {"decode": STEADY}})
    assert autotune.seat(alone, "full", Phase.PREFILL) == STEADY


def test_what_is_only_observed_is_not_acted_on(measured: Choice, file: Path) -> None:
    observed = ask(file, mode="observe")
    assert observed.candidate == SWIFT
    assert autotune.seat(observed, "full", Phase.DECODE).label == "torch_sdpa:padded"
    assert observed.decision is not None
    gone = replace(observed, decision=replace(observed.decision, default="gone:plain"))
    with pytest.raises(autotune.NoBackendError, match="gone:plain was wrong or cannot run"):
        autotune.seat(gone, "full", Phase.DECODE)
    told = ask(file, mode="observe", backend="steady")
    assert autotune.seat(told, "full", Phase.DECODE) == STEADY


def test_nobody_who_can_run_is_an_error_with_the_reasons(measured: Choice) -> None:
    nobody = replace(measured, candidate=None, why="no backend can run tiny: arch")
    for call in (lambda: autotune.seat(nobody, "full", Phase.DECODE), lambda: load(nobody)):
        with pytest.raises(autotune.NoBackendError, match="no backend can run tiny: arch"):
            call()


# Loaded


def load(choice: Choice) -> autotune.Kernels:
    return autotune.load(choice, make_model(FULL, WINDOW))


@pytest.fixture
def here(measured: Choice) -> Choice:
    return replace(measured, device=find_device("cpu").device)


def test_each_seat_has_its_kernel(here: Choice) -> None:
    phases = {phase.value: SWIFT for phase in Phase}
    kernels = load(split(here, {"full": phases | {"decode": STEADY}, "window": phases}))
    assert kernels.of("full", Phase.DECODE).label == "steady:plain"
    assert kernels.of("window", Phase.DECODE).label == "swift:plain"
    assert kernels.of("window", Phase.DECODE).spec == WINDOW
    assert kernels.pages == NHD
    with pytest.raises(autotune.UsageError, match="mla layers: this model has full, window"):
        kernels.of("mla", Phase.DECODE)


def test_a_backend_that_is_gone_is_an_error(here: Choice) -> None:
    for lost, told in (
        (replace(SWIFT, backend="gone"), "no such backend"),
        (replace(SWIFT, variant="gone"), "no such variant"),
    ):
        with pytest.raises(autotune.NoBackendError, match=told):
            load(replace(here, decision=None, candidate=lost))


def test_a_choice_for_another_device_cannot_be_loaded(here: Choice) -> None:
    assert CPU_FOUND.device != find_device("cpu").device
    for device in (H100, CPU_FOUND.device):
        with pytest.raises(autotune.DeviceError, match="is not here; choose for one that is"):
            load(replace(here, device=device))


# Steps


@pytest.mark.parametrize(
    ("new", "total", "phase"),
    [
        ([1, 1], [1, 9], Phase.DECODE),
        ([5, 130], [5, 130], Phase.PREFILL),
        ([64], [128], Phase.EXTEND),
        ([4, 4], [40, 9], Phase.VERIFY),
        ([1, 64], [9, 128], Phase.MIXED),
        ([1, 0], [9, 0], Phase.DECODE),
    ],
)
def test_lengths_say_the_phase(new: list[int], total: list[int], phase: Phase) -> None:
    assert autotune.phase_of(new, total) == phase


def test_a_step_is_made_from_lists() -> None:
    step = autotune.make_step([[7, 3], [5], []], [1, 4, 0], [17, 4, 0], NHD, "cpu")
    assert step.phase == Phase.MIXED
    assert step.block_table.tolist() == [[7, 3], [5, 5], [0, 0]]
    assert step.seq_lens.tolist() == step.seq_lens_cpu.tolist() == [17, 4, 0]
    assert step.query_start_loc.tolist() == step.query_start_loc_cpu.tolist() == [0, 1, 5, 5]
    assert (step.max_query_len, step.max_seq_len) == (4, 17)
    dtypes = {step.block_table.dtype, step.seq_lens.dtype, step.query_start_loc.dtype}
    assert dtypes == {torch.int32}


@pytest.mark.parametrize(
    ("tables", "new", "total", "told"),
    [
        ([[7]], [1], [17], "request 0: 17 tokens do not fit 1 pages of 16"),
        ([[7]], [1, 1], [3], "expected one of each a request"),
        ([[]], [0], [0], "without a token"),
        ([[7]], [4], [3], "no more new tokens than total"),
        ([], [], [], "without a token"),
    ],
)
def test_a_step_that_cannot_be(
    tables: list[list[int]], new: list[int], total: list[int], told: str
) -> None:
    with pytest.raises(autotune.AutotuneError, match=told):
        autotune.make_step(tables, new, total, NHD, "cpu")


# Bound


def tensors(pages: Pages, dtype: torch.dtype = torch.bfloat16, tokens: int = 1) -> LayerTensors:
    shape = (8, 16, 2, 64) if pages.layout == "NHD" else (8, 2, 16, 64)
    query = torch.ones(tokens, 8, 64, dtype=dtype)
    caches = torch.ones(2, *shape, dtype=dtype)
    return LayerTensors(query, caches[0], caches[1], torch.zeros_like(query))


@pytest.fixture
def kernel(here: Choice) -> autotune.Kernel:
    sdpa = replace(SWIFT, backend="torch_sdpa", variant="padded")
    return load(replace(here, decision=None, candidate=sdpa)).of("full", Phase.DECODE)


@pytest.mark.parametrize("pages", [NHD, HND], ids=["NHD", "HND"])
def test_a_bound_kernel_fills_the_output(kernel: autotune.Kernel, pages: Pages) -> None:
    layer = tensors(pages)
    launch = replace(kernel, pages=pages).bind(
        autotune.make_step([[7]], [1], [9], pages, "cpu"), layer
    )
    launch.plan()
    launch.run()
    assert torch.equal(layer.output, torch.ones_like(layer.output))  # a mean of ones


def test_another_layout_or_dtype_is_refused(kernel: autotune.Kernel) -> None:
    step = autotune.make_step([[7]], [1], [9], NHD, "cpu")
    with pytest.raises(
        autotune.UsageError, match=r"key_cache \[8, 2, 16, 64\]: expected \[any, 16, 2"
    ):
        kernel.bind(step, tensors(HND))
    with pytest.raises(
        autotune.UsageError, match=r"query in torch\.float16: expected torch\.bfloat16"
    ):
        kernel.bind(step, tensors(NHD, torch.float16))
    short = replace(tensors(NHD), output=torch.zeros(1, 8, 32, dtype=torch.bfloat16))
    with pytest.raises(autotune.UsageError, match=r"output \[1, 8, 32\]: expected \[any, 8, 64\]"):
        kernel.bind(step, short)


def test_a_step_of_other_tokens_is_refused(kernel: autotune.Kernel) -> None:
    step = autotune.make_step([[7], [3]], [1, 1], [9, 9], NHD, "cpu")
    with pytest.raises(autotune.UsageError, match="query of 1 tokens: the step has 2"):
        kernel.bind(step, tensors(NHD))
