"""Between our types and the cache's rows: what goes in comes out, and damage is no crash."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cache_examples import PROVENANCE
from fakes import CPU, FULL, H100, WINDOW, candidate, make_model, timed
from hypothesis import given
from hypothesis import strategies as st

from autotune import records
from autotune._store import MeasurementRow, StoredDecision
from autotune.decision import Decision
from autotune.keys import Question, spec_keys_of
from autotune.models import spec_key
from autotune.payload import measurement_payload
from autotune.policy import Candidate, Ranked
from autotune.records import Place
from kernels_bench.candidates import Entrant
from kernels_bench.method import METHOD
from kernels_bench.spec import (
    Device,
    Failed,
    Outcome,
    Pages,
    Phase,
    Reason,
    Rejected,
    Timed,
    Variant,
    Wrong,
)

PLACE = Place(
    CPU,
    FULL,
    Phase.DECODE,
    Entrant("torch_sdpa", Variant("padded", ("torch",)), Pages(16)),
    {"torch": "2"},
    max_model_len=4096,
)
QUESTION = Question(make_model(FULL, WINDOW), "any", "balanced")
DECISION = Decision(
    winner=Candidate("torch_flex", "compiled", Pages(32, "HND")),
    default="torch_sdpa:padded",
    per_kind={"full": {"decode": "torch_flex"}, "window": {"decode": "torch_flex"}},
    speedup_vs_default=1.25,
    tie=False,
    why="torch_flex:compiled costs 20.0% (±1.0%) less",
    runners_up=(Ranked(candidate("torch_sdpa"), 1.0, 0.0), Ranked(candidate("x"), 1.5, 0.01)),
    versions={"torch": "2.13.0", "flash-attn": None},
    method=METHOD,
    power_limit_w=700,
    measured_at=PROVENANCE.created_at,
)


def row_of(outcome: Outcome) -> MeasurementRow:
    return records.measurement_row(PLACE, "8q1s1k", outcome, PROVENANCE)


NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
OUTCOMES = st.one_of(
    st.builds(Timed, NUMBERS, NUMBERS, NUMBERS, NUMBERS, st.integers(0, 10**6), NUMBERS),
    st.builds(Rejected, st.lists(st.builds(Reason, st.text(), st.text())).map(tuple)),
    st.builds(Wrong, st.text(), NUMBERS, NUMBERS),
    st.builds(
        Failed, st.sampled_from(["crash", "hang", "memory", "exception", "compile"]), st.text()
    ),
)


@given(OUTCOMES)
def test_an_outcome_survives_its_row(outcome: Outcome) -> None:
    row = row_of(outcome)
    assert records.outcome_of(row) == outcome
    assert row.outcome == type(outcome).__name__.lower()


def test_a_row_says_where_it_belongs() -> None:
    row = row_of(timed(1.0))
    assert (row.phase, row.workload, row.backend, row.variant) == (
        "decode", "8q1s1k", "torch_sdpa", "padded",
    )  # fmt: skip
    assert (row.page_size, row.page_layout) == (16, "NHD")
    assert row.versions == '{"torch":"2","triton":null}'
    assert row.spec_key == spec_key(FULL)
    assert row.provenance == PROVENANCE


def test_a_refusal_is_one_a_phase() -> None:
    rejected = Rejected((Reason("arch", "arch x: needs y"),))
    decode = records.measurement_row(PLACE, None, rejected, PROVENANCE)
    verify = records.measurement_row(replace(PLACE, phase=Phase.VERIFY), None, rejected, PROVENANCE)
    assert decode.key != verify.key != row_of(rejected).key
    assert decode.workload is None


TIMED = row_of(timed(1.0))
REJECTED = row_of(Rejected((Reason("a", "b"),)))
WRONG = row_of(Wrong("values", 1.0, 0.1))
FAILED = row_of(Failed("crash", "killed"))


@pytest.mark.parametrize(
    "row",
    [
        replace(TIMED, outcome="guessed"),
        replace(TIMED, gpu_us=None),
        replace(TIMED, samples=None),
        replace(REJECTED, reasons=None),
        replace(REJECTED, reasons="{broken"),
        replace(REJECTED, reasons="3"),
        replace(REJECTED, reasons="[3]"),
        replace(REJECTED, reasons='[{"field": "a"}]'),
        replace(WRONG, failed_check=None),
        replace(WRONG, error=None),
        replace(FAILED, message=None),
    ],
)
def test_a_damaged_row_is_no_outcome(row: MeasurementRow) -> None:
    assert records.outcome_of(row) is None


RATIOS = st.floats(0, exclude_min=True, allow_infinity=False)


def stored(decision: Decision) -> StoredDecision:
    return StoredDecision(
        7,
        records.decision_row(QUESTION, H100, decision, PROVENANCE),
        records.device_row(H100),
        records.model_row(QUESTION.model),
    )


@given(
    st.builds(
        replace,
        st.just(DECISION),
        winner=st.builds(
            Candidate,
            st.text(),
            st.text(),
            st.builds(Pages, st.integers(1, 4096), st.sampled_from(["NHD", "HND"])),
        ),
        speedup_vs_default=st.none() | NUMBERS,
        tie=st.booleans(),
        why=st.text(),
        runners_up=st.lists(st.builds(Ranked, st.just(candidate("x")), RATIOS, NUMBERS)).map(tuple),
        versions=st.dictionaries(st.text(), st.none() | st.text()),
        method=st.integers(1, 9),
        power_limit_w=st.integers(0, 5000),
    )
)
def test_a_decision_survives_its_row(decision: Decision) -> None:
    assert records.decision_of(stored(decision)) == decision


SCORE_0 = """[{"candidate": {"backend": "a", "variant": "b",
    "pages": {"size": 16, "layout": "NHD"}}, "score": 0, "bound": 0}]"""


@pytest.mark.parametrize(
    "change",
    [
        {"per_kind": "{broken"},
        {"per_kind": "[]"},
        {"per_kind": '{"full": "torch_sdpa"}'},
        {"runners_up": '[{"candidate": "torch_sdpa"}]'},
        {"runners_up": "null"},
        {"runners_up": SCORE_0},
        {"versions": "3"},
        {"versions": '{"torch": 2}'},
    ],
)
def test_a_damaged_decision_is_none(change: dict[str, str]) -> None:
    whole = stored(DECISION)
    assert records.decision_of(replace(whole, decision=replace(whole.decision, **change))) is None


@pytest.mark.parametrize("device", [CPU, H100, replace(H100, partition="1g.10gb")])
def test_a_device_comes_back_without_its_power_limit(device: Device) -> None:
    assert records.device_of(records.device_row(device)) == replace(device, power_limit_w=0)


def test_a_model_is_stored_by_its_fingerprint() -> None:
    model = make_model(FULL, WINDOW, name="gemma")
    row = records.model_row(model)
    assert (row.fingerprint, row.name, row.tensor_parallel) == (model.fingerprint, "gemma", 1)
    assert spec_keys_of(row.fingerprint) == (spec_key(FULL), spec_key(WINDOW))


def test_provenance_is_utc_to_the_second() -> None:
    here = records.provenance()
    assert here.created_at.endswith("+00:00")
    assert len(here.created_at) == len("2026-01-02T03:04:05+00:00")
    assert here.tool_version


@pytest.mark.parametrize(
    ("device", "phase", "is_frozen"),
    [
        (H100, Phase.DECODE, True),
        (H100, Phase.VERIFY, True),
        (H100, Phase.PREFILL, False),
        (CPU, Phase.DECODE, False),
    ],
)
def test_only_what_is_captured_depends_on_the_longest_context(
    device: Device, phase: Phase, is_frozen: bool
) -> None:
    place = replace(PLACE, device=device, phase=phase)
    longer = replace(place, max_model_len=8192)
    assert (place.key("q1s1k") != longer.key("q1s1k")) == is_frozen


def test_a_row_tells_for_which_graph_it_was_captured() -> None:
    captured = replace(PLACE, device=H100, max_model_len=8192)
    row = records.measurement_row(captured, "q1s1k", timed(1.0), PROVENANCE)
    assert records.captured_len_of(row) == measurement_payload(row)["captured_len"] == 8192
    eager = records.measurement_row(PLACE, "q1s1k", timed(1.0), PROVENANCE)
    assert records.captured_len_of(eager) is None
    assert measurement_payload(eager).keys() & {"captured_len", "key"} == set()
    for damaged in ("", "[]", '{"captured_len": "8k"}'):
        assert records.captured_len_of(replace(eager, key=damaged)) is None
