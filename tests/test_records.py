"""Between our types and the cache's rows: what goes in comes out, and damage is no crash."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from cache_examples import PROVENANCE, unpack_h100_run
from fakes import CPU, FULL, H100, WINDOW, candidate, make_model, timed
from hypothesis import given
from hypothesis import strategies as st

from autotune import records
from autotune._store import (
    MeasurementRow,
    StoredDecision,
    decision_measurements,
    list_decisions,
)
from autotune.decision import Decision
from autotune.keys import Question, spec_keys_of
from autotune.models import spec_key
from autotune.outcome_columns import captured_len_of, outcome_of
from autotune.payload import measurement_payload, timed_payload
from autotune.ranking import Candidate, Ranked
from autotune.records import Place
from kernels_bench.candidates import Entrant
from kernels_bench.method import METHOD
from kernels_bench.spec import (
    Device,
    Failed,
    Health,
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
COUNTS = st.integers(0, 2**40)
HEALTHS = st.builds(
    Health, st.lists(st.text()).map(tuple), COUNTS, st.none() | COUNTS, st.none() | COUNTS
)
OUTCOMES = st.one_of(
    st.builds(
        Timed,
        NUMBERS,
        NUMBERS,
        NUMBERS,
        NUMBERS,
        COUNTS,
        NUMBERS,
        st.booleans(),
        st.booleans(),
        NUMBERS,
        st.none() | COUNTS,
        st.lists(NUMBERS).map(tuple),
        HEALTHS,
    ),
    st.builds(Rejected, st.lists(st.builds(Reason, st.text(), st.text())).map(tuple)),
    st.builds(Wrong, st.text(), NUMBERS, NUMBERS),
    st.builds(
        Failed, st.sampled_from(["crash", "hang", "memory", "exception", "compile"]), st.text()
    ),
)


@given(OUTCOMES)
def test_an_outcome_survives_its_row(outcome: Outcome) -> None:
    row = row_of(outcome)
    assert outcome_of(row) == outcome
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
        replace(TIMED, warnings="{broken"),
        replace(TIMED, warnings='"one text"'),
        replace(TIMED, warnings="[3]"),
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
    assert outcome_of(row) is None


@pytest.mark.parametrize("damaged", ["[41.5,", "3", '["41.5"]', "[null]", "[true]"])
def test_rounds_that_cannot_be_read_cost_no_time(damaged: str) -> None:
    assert outcome_of(replace(TIMED, rounds_us=damaged)) == timed(1.0)


SOUND = replace(
    timed(41.5),
    is_captured=True,
    plan_waits=True,
    compile_s=61.25,
    workspace_bytes=394 << 20,
    rounds_us=(41.5, 42.0),
    health=Health(("the clock moved by 7%",), 2, 1980, 54),
)
"""A time with everything about it."""


def test_everything_about_a_time_has_a_column() -> None:
    row = row_of(SOUND)
    assert (row.captured, row.plan_waits, row.compile_s) == (True, True, 61.25)
    assert (row.workspace_bytes, row.rounds_us) == (394 << 20, "[41.5, 42.0]")
    assert (row.voided_rounds, row.clock_mhz, row.temperature_c) == (2, 1980, 54)
    assert row.warnings == '["the clock moved by 7%"]'
    assert (row_of(timed(1.0)).rounds_us, row_of(timed(1.0)).warnings) == ("[]", "[]")
    assert (WRONG.captured, WRONG.compile_s, WRONG.rounds_us, WRONG.warnings) == (None,) * 4


def test_json_has_a_time_under_the_same_names_from_a_row_and_from_a_run() -> None:
    ran, stored = timed_payload(SOUND), measurement_payload(row_of(SOUND))
    assert json.loads(json.dumps(ran))["health"] == stored["health"] == {
        "warnings": ["the clock moved by 7%"],
        "voided_rounds": 2,
        "clock_mhz": 1980,
        "temperature_c": 54,
    }  # fmt: skip
    assert stored["rounds_us"] == [41.5, 42.0]
    assert "rounds_us" not in ran
    assert {name: stored[name] for name in ran if name != "health"} == {
        name: value for name, value in ran.items() if name != "health"
    }
    assert "health" not in measurement_payload(WRONG)
    damaged = replace(row_of(SOUND), rounds_us="[41", warnings="[3")
    assert measurement_payload(damaged)["rounds_us"] == "[41"
    assert measurement_payload(damaged)["health"]["warnings"] == "[3"


def without_what_schema_2_added(row: MeasurementRow) -> MeasurementRow:
    """As a file of schema 1 has it."""
    return replace(
        row, captured=None, captured_len=None, plan_waits=None, compile_s=None,
        workspace_bytes=None, rounds_us=None, voided_rounds=None, clock_mhz=None,
        temperature_c=None, warnings=None,
    )  # fmt: skip


@pytest.mark.parametrize("device", [CPU, H100])
def test_the_key_of_an_old_row_tells_whether_it_was_captured(device: Device) -> None:
    place = replace(PLACE, device=device)
    row = records.measurement_row(place, "q1s1k", timed(1.0), PROVENANCE)
    old = without_what_schema_2_added(row)
    is_captured = device is H100
    assert outcome_of(old) == replace(timed(1.0), is_captured=is_captured)
    assert captured_len_of(old) == row.captured_len == (4096 if is_captured else None)
    assert measurement_payload(old).keys() & {"captured", "compile_s", "health"} == set()


def test_every_outcome_that_an_h100_left_before_schema_2_is_understood(tmp_path: Path) -> None:
    path = tmp_path / "h100.db"
    unpack_h100_run(path)
    with closing(sqlite3.connect(path)) as connection:
        specs = [key for (key,) in connection.execute("SELECT DISTINCT spec_key FROM measurements")]
    rows = decision_measurements(path, list_decisions(path)[0].device.key, specs)
    outcomes = [outcome_of(row) for row in rows]
    kinds = Counter(type(outcome) for outcome in outcomes)
    assert kinds == {Timed: 1667, Rejected: 110, Failed: 3}
    captured = {
        row.phase
        for row, outcome in zip(rows, outcomes, strict=True)
        if isinstance(outcome, Timed) and outcome.is_captured
    }
    assert captured == {"decode", "verify"}


RATIOS = st.floats(0, exclude_min=True, allow_infinity=False)


def stored(decision: Decision) -> StoredDecision:
    return StoredDecision(
        7,
        records.decision_row(QUESTION, H100, decision, PROVENANCE),
        records.device_row(H100),
        records.model_row(QUESTION.model),
        Path("autotune.db"),
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
    assert row.captured_len == 8192
    assert captured_len_of(row) == measurement_payload(row)["captured_len"] == 8192
    eager = records.measurement_row(PLACE, "q1s1k", timed(1.0), PROVENANCE)
    assert captured_len_of(eager) is None
    assert measurement_payload(eager).keys() & {"captured_len", "key"} == set()
    for damaged in ("", "[]", '{"captured_len": "8k"}'):
        assert captured_len_of(replace(eager, key=damaged)) is None
