"""What the gate lets through, and the mistakes of real kernels that it must not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from kernels_bench.batch import Contents, make_contents
from kernels_bench.gate import ERROR_FLOOR, ERROR_RATIO, Truth, check, make_truth
from kernels_bench.reference import reference
from kernels_bench.spec import AttentionSpec, Wrong
from kernels_bench.workload import parse_workload

HOST = torch.device("cpu")
SPEC = AttentionSpec(4, 2, 32, "bfloat16", num_layers=1)
PAGE = 16


def contents_of(text: str, spec: AttentionSpec = SPEC) -> Contents:
    return make_contents(spec, parse_workload(text), HOST)


def rounded(contents: Contents, spec: AttentionSpec = SPEC) -> torch.Tensor:
    """A right kernel's output: exact inside, stored in the model's dtype."""
    return reference(spec, contents, torch.float32).to(contents.query.dtype)


def found_wrong(truth: Truth, output: torch.Tensor) -> Wrong:
    wrong = check(truth, output)
    assert wrong is not None
    return wrong


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("features", [{}, {"logit_softcap": 50.0}, {"has_sinks": True}], ids=str)
@pytest.mark.parametrize("text", ["4q1s300", "q200", "q40s300", "4q4s100", "3q1s90v80_q60"])
def test_the_right_output_passes(text: str, dtype: str, features: dict[str, Any]) -> None:
    spec = replace(SPEC, dtype=dtype, **features)
    contents = contents_of(text, spec)
    assert check(make_truth(spec, contents), rounded(contents, spec)) is None


def test_attention_in_the_model_s_own_dtype_passes() -> None:
    contents = contents_of("q200")
    assert check(make_truth(SPEC, contents), reference(SPEC, contents, torch.bfloat16)) is None


def test_an_element_that_was_never_written_is_found() -> None:
    contents = contents_of("2q1s100")
    output = rounded(contents)
    output[1, 3, 31] = torch.nan
    share = 1 / (2 * 4 * 32)
    assert found_wrong(make_truth(SPEC, contents), output) == Wrong("finite", share, 0.0)


def test_an_infinity_is_found() -> None:
    contents = contents_of("2q1s100")
    output = rounded(contents)
    output[0, 0] = torch.inf
    assert found_wrong(make_truth(SPEC, contents), output).check == "finite"


def test_one_bad_head_of_one_request_does_not_hide_among_good_ones() -> None:
    contents = contents_of("64q1s50")
    truth = make_truth(SPEC, contents)
    output = rounded(contents)
    output[40, 2] *= 1.1
    wrong = found_wrong(truth, output)
    assert wrong.check == "relative_l2"
    assert wrong.error == pytest.approx(0.1, rel=0.1)
    assert wrong.allowed == truth.allowed


def test_requests_are_told_apart_where_their_lengths_differ() -> None:
    """The one token of the decode carries its request's error alone."""
    contents = contents_of("q500_q1s50")
    output = rounded(contents)
    output[500] *= 1.1
    wrong = found_wrong(make_truth(SPEC, contents), output)
    assert wrong.error == pytest.approx(0.1, rel=0.1)


def test_heads_that_were_swapped_are_found() -> None:
    contents = contents_of("4q1s100")
    output = rounded(contents)
    output[2, [0, 1]] = output[2, [1, 0]]
    assert found_wrong(make_truth(SPEC, contents), output).error > 0.5


@pytest.mark.parametrize("total_tokens", [64, 1024, 8192])
def test_a_dropped_page_is_found_however_long_the_context(total_tokens: int) -> None:
    """Outputs shrink as a context grows: an absolute tolerance would let the longest through."""
    contents = contents_of(f"2q1s{total_tokens}")
    keys, values = (
        (each[0], torch.cat([each[1][: total_tokens // 2], each[1][total_tokens // 2 + PAGE :]]))
        for each in (contents.keys, contents.values)
    )
    short = replace(contents.requests[1], total_tokens=total_tokens - PAGE)
    dropped = replace(contents, requests=(contents.requests[0], short), keys=keys, values=values)
    assert check(make_truth(SPEC, contents), rounded(dropped)) is not None


@pytest.mark.parametrize("kind", ["sliding_window", "attention_chunk"])
@pytest.mark.parametrize("off_by", [-1, 1])
def test_a_window_that_is_off_by_one_is_found(kind: str, off_by: int) -> None:
    spec = AttentionSpec(4, 2, 32, "bfloat16", num_layers=1, **{kind: 128})
    shifted = AttentionSpec(4, 2, 32, "bfloat16", num_layers=1, **{kind: 128 + off_by})
    contents = contents_of("2q1s200_q300", spec)
    assert check(make_truth(spec, contents), rounded(contents, shifted)) is not None


def test_a_long_window_that_is_off_by_one_is_found() -> None:
    """One key in 4096: seen only against a yardstick that rounds no more than a kernel does."""
    spec = replace(SPEC, sliding_window=4096)
    contents = contents_of("2q1s5k", spec)
    shifted = replace(spec, sliding_window=4095)
    assert check(make_truth(spec, contents), rounded(contents, shifted)) is not None


@pytest.mark.parametrize(
    "mistake",
    [
        replace(SPEC, causal=False),
        replace(SPEC, softmax_scale=32**-0.5 * 1.05),
    ],
)
def test_a_mask_or_a_scale_that_a_kernel_ignores_is_found(mistake: AttentionSpec) -> None:
    contents = contents_of("q64")
    assert check(make_truth(SPEC, contents), rounded(contents, mistake)) is not None


@pytest.mark.parametrize("text", ["2q1s200", "q100", "2q1s4k"])
def test_a_soft_cap_that_is_ignored_is_found(text: str) -> None:
    """One near the logits: a cap of 50 (Gemma 2) bends logits of 1 too little to be seen."""
    spec = replace(SPEC, logit_softcap=5.0)
    contents = contents_of(text, spec)
    assert check(make_truth(spec, contents), rounded(contents, SPEC)) is not None


@pytest.mark.parametrize("window", [None, 128])
@pytest.mark.parametrize("text", ["2q1s200", "q100", "2q1s8k"])
def test_sinks_that_are_ignored_are_found(text: str, window: int | None) -> None:
    spec = replace(SPEC, has_sinks=True, sliding_window=window)
    contents = contents_of(text, spec)
    ignored = replace(contents, sinks=None)
    assert check(make_truth(spec, contents), rounded(ignored, spec)) is not None


@pytest.mark.parametrize("text", ["2q1s200", "2q1s4k"])
def test_slopes_that_are_ignored_are_found(text: str) -> None:
    spec = replace(SPEC, has_alibi=True)
    contents = contents_of(text, spec)
    ignored = replace(contents, alibi_slopes=None)
    assert check(make_truth(spec, contents), rounded(ignored, spec)) is not None


def test_what_is_allowed_follows_the_error_of_what_a_fused_kernel_rounds() -> None:
    contents = contents_of("q200")
    truth = make_truth(SPEC, contents)
    fused = reference(SPEC, contents, torch.float32, rounded_to=torch.bfloat16)
    per_head = (fused - truth.output).norm(dim=(0, 2)) / truth.output.norm(dim=(0, 2))
    assert truth.allowed == pytest.approx(max(ERROR_FLOOR, ERROR_RATIO * float(per_head.max())))
    assert truth.output.dtype is torch.float32


def test_a_dtype_that_errs_less_is_allowed_less_down_to_the_floor() -> None:
    half, brain = (
        make_truth(spec, contents_of("q200", spec)).allowed
        for spec in (replace(SPEC, dtype="float16"), SPEC)
    )
    assert half == ERROR_FLOOR < brain
