"""Our Triton kernels compute what the reference does, under Triton's interpreter on a CPU.

The interpreter replaces parts of Triton for the whole process, and must be chosen before Triton is
imported: the kernels run in processes of their own. Its bfloat16 products are wrong, so the tests
are in float16 and float32.
"""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from importlib.util import find_spec
from multiprocessing import get_context
from typing import Any

import pytest
import torch

from kernels_bench.backends.base import Backend, Launch
from kernels_bench.backends.triton_split import BACKEND as SPLIT
from kernels_bench.backends.triton_unified import BACKEND as UNIFIED
from kernels_bench.batch import Batch, Contents, make_batches, make_contents
from kernels_bench.gate import Errors, check, make_truth
from kernels_bench.spec import AttentionSpec, Device, Layout, Pages, Phase, Wrong
from kernels_bench.workload import parse_workload

pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")

HOST = torch.device("cpu")
H100 = Device("cuda", "NVIDIA H100 80GB HBM3", "sm_90", 132, 80 << 30, 50 << 20)
BACKENDS: dict[str, Backend] = {backend.name: backend for backend in (UNIFIED, SPLIT)}
SPEC = AttentionSpec(8, 2, 64, "float16", num_layers=1)
FLOAT32_ERROR = 1e-5
"""Relative; the gate's own floor is for 16 bits."""
TEXTS = {
    Phase.PREFILL: "q70_2q20v50",
    Phase.EXTEND: "q30s90",
    Phase.DECODE: "5q1s100v80",
    Phase.VERIFY: "3q4s80",
    Phase.MIXED: "3q1s40v80_q33_q20s64",
}
EDGES = ("q1s1_q1s16_q1s17_q1s33", "q16_q17_q1_q15", "q3s16_q3s17_q4s64_q1s65_q2", "q17s33_q17s80")
"""One token, one page, one more than a page; one step of keys, and one more."""


@dataclass(frozen=True)
class Case:
    backend: str
    text: str
    spec: AttentionSpec = SPEC
    pages: Pages = Pages(16)  # noqa: RUF009  frozen
    variant: int = 0
    later: str | None = None
    """What the tensors hold by the second plan."""


@pytest.fixture(scope="module")
def interpreters() -> Iterator[ProcessPoolExecutor]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        with ProcessPoolExecutor(2, get_context("spawn"), initializer=_start) as pool:
            yield pool


def _start() -> None:
    assert "triton" not in sys.modules
    warnings.simplefilter("error")
    torch.set_num_threads(1)


def wrongs(pool: ProcessPoolExecutor, cases: Iterable[Case]) -> dict[Case, Wrong]:
    cases = tuple(cases)
    answers = zip(cases, pool.map(run_case, cases), strict=True)
    return {case: wrong for case, wrong in answers if wrong is not None}


def run_case(case: Case) -> Wrong | None:
    """In the child."""
    contents, batch = paged(case, case.text)
    launch = prepare(case, batch)
    launch.plan()
    launch.run()
    if case.later is not None:
        contents, other = paged(case, case.later)
        overwrite(batch, other)
        launch.plan()
        launch.run()
    return judge(case.spec, contents, batch.output)


def prepare(case: Case, batch: Batch) -> Launch:
    backend = BACKENDS[case.backend]
    variant = backend.variants(H100, case.spec, {})[case.variant]
    return backend.prepare(variant, case.spec, batch)


def paged(case: Case, text: str) -> tuple[Contents, Batch]:
    contents = make_contents(case.spec, parse_workload(text), HOST)
    (batch,) = make_batches(case.spec, contents, case.pages, count=1)
    poison(case.spec, contents, batch)
    return contents, batch


def poison(spec: AttentionSpec, contents: Contents, batch: Batch) -> None:
    """NaN wherever no query looks: behind a request's last token and before its window."""
    size = batch.pages.size
    unseen = torch.ones(len(batch.key_cache) * size, dtype=torch.bool)
    for row, request in zip(batch.block_table, contents.requests, strict=True):
        first_query = request.total_tokens - request.new_tokens
        first_key = 0
        if spec.sliding_window is not None:
            first_key = max(0, first_query - spec.sliding_window + 1)
        positions = torch.arange(first_key, request.total_tokens)
        unseen[row[positions // size] * size + positions % size] = False
    for cache in (batch.key_cache, batch.value_cache):
        by_slot = cache if batch.pages.layout == "NHD" else cache.transpose(1, 2)
        by_slot[unseen.view(-1, size)] = math.nan


def overwrite(batch: Batch, other: Batch) -> None:
    """What an engine does between two steps."""
    for name in ("key_cache", "value_cache"):
        pool, smaller = getattr(batch, name), getattr(other, name)
        pool.fill_(math.nan)[: len(smaller)] = smaller
    for name in ("query", "block_table", "seq_lens", "query_start_loc"):
        getattr(batch, name).copy_(getattr(other, name))
    for name in ("seq_lens_cpu", "query_start_loc_cpu"):
        getattr(batch, name).copy_(getattr(other, name))
    batch.output.fill_(math.nan)


def judge(spec: AttentionSpec, contents: Contents, output: torch.Tensor) -> Wrong | None:
    truth = make_truth(spec, contents)
    if spec.dtype == "float32":
        strict = [torch.full_like(each, FLOAT32_ERROR) for _, each in truth.allowed.named()]
        truth = replace(truth, allowed=Errors(*strict))
    return check(truth, output)


FEATURES: dict[str, dict[str, Any]] = {
    "multi-head": {"num_q_heads": 2},
    "7 heads share": {"num_q_heads": 7, "num_kv_heads": 1},
    "8 heads share": {"num_kv_heads": 1},
    "20 heads share": {"num_q_heads": 20, "num_kv_heads": 1, "head_dim": 16},
    "head_dim 80": {"head_dim": 80},
    "head_dim 128": {"head_dim": 128},
    "head_dim 256": {"head_dim": 256},
    "head_dim 8": {"head_dim": 8},
    "narrow values": {"head_dim": 96, "head_dim_v": 40},
    "wide values": {"head_dim": 32, "head_dim_v": 128},
    "window": {"sliding_window": 24},
    "window within a page": {"sliding_window": 5},
    "window of one": {"sliding_window": 1},
    "window past the context": {"sliding_window": 4096},
    "soft cap": {"logit_softcap": 2.0},
    "soft cap of large logits": {"logit_softcap": 30.0, "softmax_scale": 40.0},
    "bidirectional": {"causal": False},
    "bidirectional window": {"causal": False, "sliding_window": 24},
    "scale": {"softmax_scale": 0.5},
    "large logits": {"softmax_scale": 40.0},
    "float32": {"dtype": "float32"},
    "float32, window and cap": {"dtype": "float32", "sliding_window": 24, "logit_softcap": 2.0},
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("features", FEATURES.values(), ids=FEATURES)
def test_every_feature(
    interpreters: ProcessPoolExecutor, features: dict[str, Any], backend: str
) -> None:
    spec = replace(SPEC, **features)
    texts = (TEXTS[Phase.DECODE], TEXTS[Phase.MIXED])
    assert wrongs(interpreters, (Case(backend, text, spec) for text in texts)) == {}


@pytest.mark.parametrize("phase", Phase)
def test_every_variant_in_every_phase(interpreters: ProcessPoolExecutor, phase: Phase) -> None:
    spec = replace(SPEC, sliding_window=48, logit_softcap=5.0)
    cases = [
        Case(name, TEXTS[phase], spec, variant=index)
        for name, backend in BACKENDS.items()
        for index in range(len(backend.variants(H100, spec, {})))
    ]
    assert parse_workload(TEXTS[phase]).phase is phase
    assert len(cases) >= 5
    assert wrongs(interpreters, cases) == {}


@pytest.mark.parametrize("text", EDGES)
@pytest.mark.parametrize("features", [{}, {"sliding_window": 16}, {"causal": False}], ids=str)
def test_lengths_at_the_edges(
    interpreters: ProcessPoolExecutor, features: dict[str, Any], text: str
) -> None:
    spec = replace(SPEC, **features)
    assert wrongs(interpreters, (Case(name, text, spec) for name in BACKENDS)) == {}


@pytest.mark.parametrize("layout", ["NHD", "HND"])
@pytest.mark.parametrize("size", [16, 32, 64, 128])
def test_any_pages(interpreters: ProcessPoolExecutor, size: int, layout: Layout) -> None:
    cases = (Case(name, TEXTS[Phase.MIXED], pages=Pages(size, layout)) for name in BACKENDS)
    assert wrongs(interpreters, cases) == {}


REPLANS = {
    "decode": ("4q1s64", "q1s64_q1s1_q1s16_q1s33"),
    "verify": ("3q4s64", "q4s64_q4_q4s17"),
    "mixed": ("q20s64_3q1s40", "2q1s30_q20s64_q1s50"),
    "mixed to prefill": ("q20s64_2q1s40", "q18_q2s64_q2s17"),
    "drafts of one token": ("q4s64_q2s40", "q1s30_q5s64"),
}


@pytest.mark.parametrize(("text", "later"), REPLANS.values(), ids=REPLANS)
def test_a_launch_follows_the_tensors(
    interpreters: ProcessPoolExecutor, text: str, later: str
) -> None:
    """Bound at one batch, run on another of the same shape: as a captured graph is replayed."""
    cases = (Case(name, text, later=later) for name in BACKENDS)
    assert wrongs(interpreters, cases) == {}


def run_padded(case: Case) -> tuple[Wrong | None, bool]:
    """Two padded rows, one with a token; whether that token's output stayed as it was."""
    contents, batch = paged(case, case.text)
    spare = torch.full((2, batch.block_table.shape[1]), len(batch.key_cache) - 1)
    lens = torch.cat([batch.seq_lens, torch.zeros(2, dtype=torch.int32)])
    tokens = len(batch.query)
    starts = torch.cat([batch.query_start_loc, torch.tensor([tokens, tokens + 1])]).int()
    padded = replace(
        batch,
        query=torch.cat([batch.query, batch.query[:1]]),
        output=torch.cat([batch.output, batch.output[:1]]),
        block_table=torch.cat([batch.block_table, spare.int()]),
        seq_lens=lens,
        seq_lens_cpu=lens,
        query_start_loc=starts,
        query_start_loc_cpu=starts,
    )
    launch = prepare(case, padded)
    launch.plan()
    launch.run()
    untouched = bool(padded.output[tokens:].isnan().all())
    return judge(case.spec, contents, padded.output[:tokens]), untouched


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("phase", [Phase.DECODE, Phase.VERIFY, Phase.MIXED])
def test_padded_rows_write_nothing(
    interpreters: ProcessPoolExecutor, phase: Phase, backend: str
) -> None:
    case = Case(backend, TEXTS[phase], replace(SPEC, sliding_window=24))
    assert interpreters.submit(run_padded, case).result() == (None, True)


def run_sliced(case: Case) -> Wrong | None:
    """Query and output as slices of wider tensors, as a fused projection leaves them."""
    contents, batch = paged(case, case.text)
    tokens, heads, dim = batch.query.shape
    wide = torch.full((tokens, heads + 2, dim), math.nan, dtype=batch.query.dtype)
    wide[:, :heads] = batch.query
    output = torch.full_like(wide, math.nan)
    launch = prepare(case, replace(batch, query=wide[:, :heads], output=output[:, 1 : heads + 1]))
    launch.plan()
    launch.run()
    assert output[:, 0].isnan().all()
    assert output[:, -1].isnan().all()
    return judge(case.spec, contents, output[:, 1 : heads + 1])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("phase", [Phase.DECODE, Phase.MIXED])
def test_query_and_output_may_be_slices(
    interpreters: ProcessPoolExecutor, phase: Phase, backend: str
) -> None:
    assert interpreters.submit(run_sliced, Case(backend, TEXTS[phase])).result() is None


def run_wrong_scale(case: Case) -> Wrong | None:
    contents, batch = paged(case, case.text)
    launch = prepare(case, replace(batch, softmax_scale=batch.softmax_scale * 1.1))
    launch.plan()
    launch.run()
    return judge(case.spec, contents, batch.output)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_wrong_scale_would_be_seen(interpreters: ProcessPoolExecutor, backend: str) -> None:
    wrong = interpreters.submit(run_wrong_scale, Case(backend, TEXTS[Phase.MIXED])).result()
    assert wrong is not None
    assert wrong.check == "relative_l2"
