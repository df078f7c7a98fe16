"""What the gate lets through, and the mistakes of real kernels that it must not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import kernels_bench.gate
from kernels_bench.batch import Contents, make_contents
from kernels_bench.gate import ERROR_FLOOR, ERROR_RATIO, Truth, check, make_truth
from kernels_bench.reference import reference, reference_pair
from kernels_bench.sample import STRETCH_TOKENS, sample
from kernels_bench.spec import AttentionSpec, Wrong
from kernels_bench.workload import Request, parse_workload

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


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize(
    "features", [{}, {"sliding_window": 128}, {"kv_dtype": "fp8_e4m3"}], ids=str
)
def test_attention_in_the_model_s_own_dtype_passes(dtype: str, features: dict[str, Any]) -> None:
    """Which rounds its logits too, as no fused kernel does."""
    spec = replace(SPEC, head_dim=128, dtype=dtype, **features)
    contents = contents_of("q200", spec)
    in_dtype = reference(spec, contents, contents.query.dtype)
    assert check(make_truth(spec, contents), in_dtype) is None


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
    assert wrong.allowed == float(truth.allowed.relative_l2[40, 2])


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
    error = fused - truth.output
    per_head = error.norm(dim=(0, 2)) / truth.output.norm(dim=(0, 2))
    expected = ERROR_RATIO * per_head.clamp_min(per_head.mean())
    torch.testing.assert_close(truth.allowed.relative_l2[0], expected.clamp_min(ERROR_FLOOR))
    assert float(truth.allowed.max_error) == pytest.approx(ERROR_RATIO * float(error.abs().max()))
    assert truth.output.dtype is torch.float32


@pytest.mark.parametrize("name", ["relative_l2", "stretch_l2", "mean_error"])
def test_a_dtype_that_errs_less_is_allowed_less_down_to_the_floor(name: str) -> None:
    half, brain = (
        make_truth(spec, contents_of("q200", spec)).allowed
        for spec in (replace(SPEC, dtype="float16"), SPEC)
    )
    assert float(getattr(half, name).max()) < float(getattr(brain, name).max())
    assert float(half.relative_l2.max()) == pytest.approx(ERROR_FLOOR)


@pytest.mark.parametrize("features", [{"logit_softcap": 50.0}, {"kv_dtype": "fp8_e4m3"}], ids=str)
def test_a_cap_or_an_fp8_cache_loosens_the_largest_error(features: dict[str, Any]) -> None:
    spec = replace(SPEC, **features)
    loose, contents = make_truth(spec, contents_of("q200", spec)), contents_of("q200", spec)
    pair = reference_pair(spec, contents, [range(200)])
    largest = float((pair.rounded - pair.exact).abs().max())
    assert float(loose.allowed.max_error) == pytest.approx(4 * largest)


def test_a_few_tokens_that_see_their_future_do_not_hide_in_a_long_request() -> None:
    """FlashAttention 3's windowed prompts: 112 of 2048 tokens read ten times the limit of all."""
    contents = contents_of("q2k")
    output = rounded(contents)
    future = reference(replace(SPEC, causal=False), contents, torch.float32).bfloat16()
    output[1200:1204] += (future[1200:1204] - output[1200:1204]) / 16
    wrong = found_wrong(make_truth(SPEC, contents), output)
    assert wrong.check == "stretch_l2"


def test_one_number_far_off_is_found() -> None:
    contents = contents_of("2q200")
    output = rounded(contents)
    truth = make_truth(SPEC, contents)
    place = (3, 1, int(output[3, 1].float().abs().argmin()))  # in the stretch of large outputs
    output[place] += 1.2 * float(truth.allowed.max_error)
    assert found_wrong(truth, output).check == "max_error"


def test_errors_that_are_small_everywhere_add_up_in_the_mean() -> None:
    contents = contents_of("q200")
    truth = make_truth(SPEC, contents)
    factor = 1 + 0.95 * float(truth.allowed.relative_l2.min())
    wrong = found_wrong(truth, reference(SPEC, contents, torch.float32) * factor)
    assert wrong.check == "mean_error"


def test_an_error_beyond_all_numbers_is_told_as_a_number() -> None:
    contents = contents_of("2q1s100")
    output = rounded(contents)
    output[0, 0] = torch.finfo(torch.bfloat16).max
    wrong = found_wrong(make_truth(SPEC, contents), output)
    assert (wrong.check, wrong.error < float("inf")) == ("relative_l2", True)


def test_of_a_large_workload_every_stretch_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    contents = contents_of("q600_q90s700")
    whole = make_truth(SPEC, contents)
    monkeypatch.setattr(kernels_bench.gate, "_CPU_LOGITS", 300_000)
    some = make_truth(SPEC, contents)
    assert len(some.output) < len(whole.output) // 2
    torch.testing.assert_close(some.output, whole.output[some.places.tokens])
    assert check(some, rounded(contents)) is None
    for first in range(0, 600, 64):
        output = rounded(contents)
        output[first : first + 64] *= 1.1
        assert found_wrong(some, output).check == "relative_l2"


def test_what_was_not_sampled_must_be_finite_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kernels_bench.gate, "_CPU_LOGITS", 1)
    contents = contents_of("q600")
    truth = make_truth(SPEC, contents)
    (unsampled, *_) = set(range(600)) - set(truth.places.tokens.tolist())
    output = rounded(contents)
    output[unsampled, 0, 0] = torch.nan
    assert found_wrong(truth, output).check == "finite"


@given(
    new_tokens=st.lists(st.integers(1, 400), min_size=1, max_size=5),
    cached=st.integers(0, 1000),
    max_logits=st.integers(1, 1 << 22),
)
def test_a_sample_holds_the_ends_and_a_token_of_every_stretch(
    new_tokens: list[int], cached: int, max_logits: int
) -> None:
    requests = [Request(new, new + cached) for new in new_tokens]
    stretches = sample(requests, num_heads=4, max_logits=max_logits)
    for index, request in enumerate(requests):
        own = [stretch.tokens for stretch in stretches if stretch.request == index]
        chosen = [token for tokens in own for token in tokens]
        assert {0, request.new_tokens - 1} <= set(chosen)
        assert chosen == sorted(set(chosen))
        for number, tokens in enumerate(own):
            assert tokens
            assert {token // STRETCH_TOKENS for token in tokens} == {number}
        assert len(own) == -(-request.new_tokens // STRETCH_TOKENS)
    needed = 4 * sum(request.new_tokens * request.total_tokens for request in requests)
    if needed <= max_logits:
        assert sum(len(stretch.tokens) for stretch in stretches) == sum(new_tokens)
    else:
        share = max(1, STRETCH_TOKENS * max_logits // needed)
        assert max(len(stretch.tokens) for stretch in stretches) <= share + 2


def test_a_sample_takes_the_borders_of_stretches_before_others() -> None:
    stretches = sample([Request(640, 640)], num_heads=1, max_logits=640 * 640 // 16)
    for number, stretch in enumerate(stretches):
        first = STRETCH_TOKENS * number
        assert {first, first + STRETCH_TOKENS - 1} < set(stretch.tokens)
        assert len(stretch.tokens) == 4
