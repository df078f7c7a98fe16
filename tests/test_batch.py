"""The tensors of a workload, read back through their block tables."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch

import kernels_bench.batch
from kernels_bench.batch import (
    Batch,
    Contents,
    at_maxima,
    bind,
    draw_contents,
    empty_output,
    make_batches,
    make_contents,
)
from kernels_bench.pool import UNOWNED_PAGES, make_pool, page_counts
from kernels_bench.spec import AttentionSpec, Pages
from kernels_bench.workload import Request, parse_workload

HOST = torch.device("cpu")
SPEC = AttentionSpec(4, 2, 8, "bfloat16", num_layers=1, head_dim_v=4)
WORKLOAD = parse_workload("3q1s50v80_q20_q7s33")
ALL_PAGES = [Pages(size, layout) for size in (1, 16, 64) for layout in ("NHD", "HND")]


def contents_of(spec: AttentionSpec = SPEC, text: str = WORKLOAD.text) -> Contents:
    return make_contents(spec, parse_workload(text), HOST)


def token(batch: Batch, cache: torch.Tensor, row: int, position: int) -> torch.Tensor:
    """[H, D] of one token, found as an engine's kernel finds it."""
    page = cache[batch.block_table[row, position // batch.pages.size]]
    slot = position % batch.pages.size
    return page[slot] if batch.pages.layout == "NHD" else page[:, slot]


def own_pages(batch: Batch) -> list[list[int]]:
    counts = [-(-int(total) // batch.pages.size) for total in batch.seq_lens_cpu]
    return [row[:count] for row, count in zip(batch.block_table.tolist(), counts, strict=True)]


def flat(rows: list[list[int]]) -> list[int]:
    return [page for row in rows for page in row]


@pytest.mark.parametrize("pages", ALL_PAGES, ids=str)
def test_the_contents_are_found_through_every_block_table(pages: Pages) -> None:
    contents = contents_of()
    for batch in make_batches(SPEC, contents, pages, count=3):
        for row, request in enumerate(contents.requests):
            for position in range(request.total_tokens):
                key = token(batch, batch.key_cache, row, position)
                value = token(batch, batch.value_cache, row, position)
                assert torch.equal(key, contents.keys[row][position])
                assert torch.equal(value, contents.values[row][position])


@pytest.mark.parametrize("pages", ALL_PAGES, ids=str)
def test_page_sets_are_disjoint_and_shuffled(pages: Pages) -> None:
    batches = make_batches(SPEC, contents_of(), pages, count=3)
    used = [page for batch in batches for page in flat(own_pages(batch))]
    padding_page = len(batches[0].key_cache) - 1
    assert len(set(used)) == len(used) == padding_page - UNOWNED_PAGES
    assert max(used) < padding_page
    assert flat(own_pages(batches[0])) != sorted(flat(own_pages(batches[0])))
    if pages.size == 1:  # a set is not one stretch of the pool either
        assert max(flat(own_pages(batches[0]))) > padding_page // 3


def test_padding_entries_point_at_a_page_that_nobody_owns() -> None:
    (batch,) = make_batches(SPEC, contents_of(), Pages(16), count=1)
    padding_page = len(batch.key_cache) - 1
    for row, own in zip(batch.block_table.tolist(), own_pages(batch), strict=True):
        assert padding_page not in own
        assert set(row[len(own) :]) <= {padding_page}
    assert (batch.block_table == padding_page).any()


@pytest.mark.parametrize("kv_dtype", [None, "fp8_e4m3", "fp8_e5m2"])
@pytest.mark.parametrize("layout", ["NHD", "HND"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_what_lies_behind_the_last_token_is_large_and_finite(
    dtype: str, layout: str, kv_dtype: str | None
) -> None:
    pages = Pages(16, "NHD" if layout == "NHD" else "HND")
    spec = replace(SPEC, dtype=dtype, kv_dtype=kv_dtype)
    contents = contents_of(spec)
    (batch,) = make_batches(spec, contents, pages, count=1)
    for cache in (batch.key_cache, batch.value_cache):
        assert torch.isfinite(cache.float()[flat(own_pages(batch))]).all()
        assert (cache[-1].float() > 100).all()
        for row, own in enumerate(own_pages(batch)):
            for position in range(contents.requests[row].total_tokens, len(own) * 16):
                assert (token(batch, cache, row, position).float() > 100).all()


def test_a_page_that_is_full_to_its_end_is_followed_by_none() -> None:
    (batch,) = make_batches(SPEC, contents_of(text="q32"), Pages(16), count=1)
    assert batch.block_table.shape == (1, 2)
    assert (batch.key_cache[batch.block_table[0]].float().abs() < 100).all()


@pytest.mark.parametrize("kv_dtype", [None, "fp8_e4m3", "fp8_e5m2"])
@pytest.mark.parametrize("pages", [Pages(16), Pages(16, "HND")], ids=str)
def test_a_few_pages_among_the_others_are_nobody_s_and_hold_nan(
    pages: Pages, kv_dtype: str | None
) -> None:
    spec = replace(SPEC, kv_dtype=kv_dtype)
    batches = make_batches(spec, contents_of(spec), pages, count=2)
    named = {page for batch in batches for page in flat(batch.block_table.tolist())}
    unnamed = set(range(len(batches[0].key_cache))) - named
    assert len(unnamed) == UNOWNED_PAGES
    assert min(unnamed) < len(named) // 2
    for cache in (batches[0].key_cache, batches[0].value_cache):
        assert cache.float()[sorted(unnamed)].isnan().all()
        assert not cache.float()[sorted(named)].isnan().any()


@pytest.mark.parametrize("pages", ALL_PAGES, ids=str)
def test_two_contents_share_a_pool(pages: Pages) -> None:
    """As the scenes of a trial do; the second leaves the pages of the first as they were."""
    one = contents_of(text="2q1s50_q20")
    other = draw_contents(SPEC, (Request(7, 33), Request(1, 64)), HOST, seed=1)
    counts = [sum(page_counts(each.requests, pages)) for each in (one, other)]
    pool = make_pool(one, sum(counts), pages)
    shares = torch.split(pool.free, counts)
    bound = []
    for contents, share in zip((one, other), shares, strict=True):
        pool.write(contents, share[None])
        (table,) = pool.tables(contents.requests, share[None], 4, 64)
        bound.append(bind(SPEC, contents, pool, table, empty_output(SPEC, contents)))
    for contents, batch in zip((one, other), bound, strict=True):
        for row, keys in enumerate(contents.keys):
            for position in range(0, len(keys), 7):
                assert torch.equal(token(batch, batch.key_cache, row, position), keys[position])
        assert (batch.block_table[len(contents.requests) :] == pool.padding_page).all()


def test_a_long_draw_is_made_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels_bench.batch, "_DRAWN_AT_ONCE", 7 * 2 * 8)
    contents = contents_of(text="q50_q33")
    keys = torch.cat(contents.keys).float()
    assert keys.shape == (83, 2, 8)
    assert 0.8 < float(keys.std()) < 1.2
    assert len(keys.flatten(1).unique(dim=0)) == 83


def test_lengths_and_starts() -> None:
    contents = contents_of(text="2q1s50_q20_q7s33")
    (batch,) = make_batches(SPEC, contents, Pages(16), count=1)
    assert batch.seq_lens.tolist() == [50, 50, 20, 33]
    assert batch.query_start_loc.tolist() == [0, 1, 2, 22, 29]
    assert batch.seq_lens_cpu.tolist() == batch.seq_lens.tolist()
    assert batch.query_start_loc_cpu.tolist() == batch.query_start_loc.tolist()
    assert (batch.max_query_len, batch.max_seq_len) == (20, 50)
    integers = (batch.seq_lens, batch.query_start_loc, batch.block_table)
    assert {each.dtype for each in integers} == {torch.int32}


def test_shapes_follow_the_layout_and_the_value_dim() -> None:
    contents = contents_of(text="q20")
    (nhd,) = make_batches(SPEC, contents, Pages(16, "NHD"), count=1)
    (hnd,) = make_batches(SPEC, contents, Pages(16, "HND"), count=1)
    num_pages = 2 + UNOWNED_PAGES + 1  # those of the request, of nobody, and of padding
    assert nhd.key_cache.shape == (num_pages, 16, 2, 8)
    assert nhd.value_cache.shape == (num_pages, 16, 2, 4)
    assert hnd.key_cache.shape == (num_pages, 2, 16, 8)
    assert nhd.query.shape == (20, 4, 8)
    assert nhd.output.shape == (20, 4, 4)
    assert nhd.output.isnan().all()
    assert {each.dtype for each in (nhd.query, nhd.key_cache, nhd.output)} == {torch.bfloat16}


def test_page_sets_share_query_and_output_but_not_their_tables() -> None:
    one, other = make_batches(SPEC, contents_of(), Pages(16), count=2)
    assert one.query is other.query
    assert one.output is other.output
    assert one.key_cache is other.key_cache
    assert not torch.equal(one.block_table, other.block_table)


@pytest.mark.parametrize(
    ("kv_dtype", "stored_as", "step"),
    [("fp8_e4m3", torch.float8_e4m3fn, 2**-4), ("fp8_e5m2", torch.float8_e5m2, 2**-3)],
)
def test_fp8_storage_dequantises_to_what_was_drawn(
    kv_dtype: str, stored_as: torch.dtype, step: float
) -> None:
    contents = contents_of(replace(SPEC, kv_dtype=kv_dtype))
    plain = contents_of()
    torch.testing.assert_close(contents.query, plain.query, rtol=2**-4, atol=1e-3)
    for stored, drawn in zip(contents.keys, plain.keys, strict=True):
        assert stored.dtype is stored_as
        restored = stored.float() * contents.kv_scale
        torch.testing.assert_close(restored, drawn.float(), rtol=step, atol=1e-3)
    (batch,) = make_batches(SPEC, contents, Pages(16), count=1)
    assert batch.key_cache.dtype is stored_as


def test_what_is_too_large_for_fp8_is_its_largest_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a billion numbers two are beyond 6 sigma: they were NaN, and every right kernel wrong."""
    spec = replace(SPEC, kv_dtype="fp8_e4m3")
    narrow = (1 / 448, torch.float8_e4m3fn)
    monkeypatch.setattr("kernels_bench.batch.kv_storage", lambda *_: narrow)
    for stored in (*contents_of(spec).keys, *contents_of(spec).values):
        numbers = stored.float()
        assert numbers.isfinite().all()
        assert numbers.abs().max() == 448


@pytest.mark.parametrize("kv_dtype", ["fp8_e4m3", "fp8_e5m2"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_beside_an_fp8_cache_a_query_loses_nothing_in_fp8(kv_dtype: str, dtype: str) -> None:
    spec = replace(SPEC, kv_dtype=kv_dtype, dtype=dtype)
    (batch,) = make_batches(spec, contents_of(spec), Pages(16), count=1)
    assert batch.q_scale is not None
    quantised = (batch.query / batch.q_scale).to(torch.float8_e4m3fn)
    assert torch.equal(quantised.to(batch.query.dtype) * batch.q_scale, batch.query)


def test_scales_are_given_where_the_cache_is_quantised() -> None:
    quantised = replace(SPEC, kv_dtype="fp8_e4m3")
    contents = contents_of(quantised)
    (batch,) = make_batches(quantised, contents, Pages(16), count=1)
    assert batch.k_scale is not None
    assert batch.v_scale is not None
    assert float(batch.k_scale) == pytest.approx(contents.kv_scale)
    (plain,) = make_batches(SPEC, contents_of(), Pages(16), count=1)
    assert (plain.q_scale, plain.k_scale, plain.v_scale) == (None, None, None)
    assert contents_of().kv_scale == 1


def test_an_unknown_cache_dtype_is_named() -> None:
    with pytest.raises(ValueError, match="kv_dtype 'int4': expected fp8_e4m3, fp8_e5m2 or none"):
        contents_of(replace(SPEC, kv_dtype="int4"))


def test_sinks_and_slopes_come_when_asked() -> None:
    plain = contents_of()
    assert (plain.sinks, plain.alibi_slopes) == (None, None)
    asked = replace(SPEC, has_sinks=True, has_alibi=True)
    contents = contents_of(asked)
    assert contents.sinks is not None
    assert contents.alibi_slopes is not None
    assert contents.sinks.shape == (4,)
    assert contents.alibi_slopes.tolist() == [2**-2, 2**-4, 2**-6, 2**-8]
    (batch,) = make_batches(asked, contents, Pages(16), count=1)
    assert batch.sinks is contents.sinks
    assert batch.alibi_slopes is contents.alibi_slopes


def test_the_scale_is_the_spec_s() -> None:
    contents = contents_of()
    (usual,) = make_batches(SPEC, contents, Pages(16), count=1)
    (own,) = make_batches(replace(SPEC, softmax_scale=0.25), contents, Pages(16), count=1)
    assert usual.softmax_scale == pytest.approx(8**-0.5)
    assert own.softmax_scale == 0.25


def test_a_second_run_makes_the_same_bits() -> None:
    one, other = (make_batches(SPEC, contents_of(), Pages(16), count=2)[1] for _ in range(2))
    for field in fields(Batch):
        left, right = getattr(one, field.name), getattr(other, field.name)
        if field.name == "output":
            assert left.isnan().all()
        elif field.name in ("key_cache", "value_cache"):
            assert torch.equal(left.view(torch.int16), right.view(torch.int16)), field.name
        elif isinstance(left, torch.Tensor):
            assert torch.equal(left, right), field.name
        else:
            assert left == right, field.name


def test_values_are_drawn_apart_and_are_never_zeros() -> None:
    contents = contents_of(text="2q64")
    drawn = (contents.query, *contents.keys, *contents.values)
    for each in drawn:
        assert 0.8 < float(each.float().std()) < 1.2
        assert float((each == 0).float().mean()) < 0.01
    assert not torch.equal(contents.keys[0], contents.keys[1])


def test_an_engine_s_table_is_as_wide_as_its_longest_context() -> None:
    (batch,) = make_batches(SPEC, contents_of(), Pages(16), count=1, longest_tokens=1000)
    assert batch.block_table.shape[1] == 63
    padding_page = len(batch.key_cache) - 1
    for row, own in zip(batch.block_table.tolist(), own_pages(batch), strict=True):
        assert set(row[len(own) :]) == {padding_page}
    (narrow,) = make_batches(SPEC, contents_of(), Pages(16), count=1, longest_tokens=1)
    assert narrow.block_table.shape[1] == max(map(len, own_pages(narrow)))


def test_a_capture_sees_every_request_at_its_longest() -> None:
    batches = make_batches(SPEC, contents_of(text="2q1s50_q1s33"), Pages(16), count=2)
    for batch in batches:
        batch.max_seq_len = 64
    with at_maxima(batches):
        for batch in batches:
            assert batch.seq_lens.tolist() == batch.seq_lens_cpu.tolist() == [64, 64, 64]
    for batch in batches:
        assert batch.seq_lens.tolist() == batch.seq_lens_cpu.tolist() == [50, 50, 33]
