"""After an upgrade: who is measured again, beside whom, and how old and new times are compared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import CPU_FOUND, FLEX, FULL, SDPA, SWIFT, FakeBench, make_model, write_distribution

from autotune._store import MeasurementRow, Store
from autotune.job import Job
from autotune.keys import device_key
from autotune.models import spec_key
from autotune.outcome_columns import outcomes_of
from autotune.profiles import BALANCED
from autotune.tuner import warm
from autotune.wishes import Wishes
from kernels_bench.grid import CPU_QUICK
from kernels_bench.spec import Failed, Timed

QUICK = len(CPU_QUICK)
JOB = Job(make_model(FULL, max_model_len=8192), CPU_FOUND, BALANCED, Wishes("any"))
TIMES = {"torch_sdpa": 100.0, "torch_flex": 60.0, "swift": 80.0}
FAST = replace(SWIFT, packages=("torch", "fast-kernels"))
FIELD = (SDPA, FLEX, FAST)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "autotune.db") as store:
        yield store


def upgrade(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str = "2.0") -> None:
    write_distribution(tmp_path / version, "fast_kernels", version)
    monkeypatch.syspath_prepend(str(tmp_path / version))


def rows(store: Store) -> tuple[MeasurementRow, ...]:
    return store.measurements(device_key(CPU_FOUND.device), [spec_key(FULL)])


def test_only_who_changed_is_measured_beside_the_incumbent(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = warm(JOB, store, FakeBench(TIMES, FIELD))
    upgrade(tmp_path, monkeypatch)
    bench = FakeBench(TIMES | {"swift": 30.0}, FIELD)
    after = warm(JOB, store, bench)
    assert [[e.backend for e in task.entrants] for task in bench.tasks] == [
        ["torch_sdpa", "swift"]
    ] * QUICK
    assert after.measured == QUICK
    assert len(rows(store)) == 4 * QUICK
    assert before.decision is not None
    assert after.decision is not None
    assert (before.decision.winner.backend, after.decision.winner.backend) == (
        "torch_flex", "swift",
    )  # fmt: skip
    assert after.decision.speedup_vs_default == pytest.approx(100 / 30)
    assert warm(JOB, store, FakeBench({}, FIELD)).measured == 0


def test_a_machine_that_got_slower_meanwhile_makes_nobody_worse(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warm(JOB, store, FakeBench(TIMES, FIELD))
    upgrade(tmp_path, monkeypatch)
    # Everything takes 1.25 times as long today: swift as such has not changed.
    report = warm(JOB, store, FakeBench({"torch_sdpa": 125.0, "swift": 100.0}, FIELD))
    assert report.decision is not None
    scores = {r.candidate.backend: r.score for r in report.decision.runners_up}
    assert scores["swift"] == pytest.approx(0.8)
    assert report.decision.winner.backend == "torch_flex"
    fresh = [row for row in rows(store) if row.anchor_key is not None]
    assert len(fresh) == QUICK
    assert {row.gpu_us for row in fresh} == {100.0}  # as it was measured
    assert {row.anchor_us for row in fresh} == {125.0}
    sdpa = {row.key for row in rows(store) if row.backend == "torch_sdpa"}
    assert {row.anchor_key for row in fresh} <= sdpa


def test_an_upgrade_of_the_incumbent_is_measured_beside_the_next_in_its_order(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    field = (replace(SDPA, packages=("fast-kernels",)), FLEX, SWIFT)
    warm(JOB, store, FakeBench(TIMES, field))
    upgrade(tmp_path, monkeypatch)
    bench = FakeBench(TIMES | {"torch_sdpa": 50.0}, field)
    report = warm(JOB, store, bench)
    assert [e.backend for e in bench.tasks[0].entrants] == ["torch_flex", "torch_sdpa"]
    assert report.decision is not None
    # It is the default, and the best by 17 %.
    assert report.decision.winner.backend == "torch_sdpa"
    assert report.decision.speedup_vs_default == 1.0


def test_a_yardstick_that_fails_today_is_stored_as_it_is_today(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warm(JOB, store, FakeBench(TIMES, FIELD))
    upgrade(tmp_path, monkeypatch)
    crash = Failed("exception", "RuntimeError: no")
    report = warm(JOB, store, FakeBench({"torch_sdpa": crash, "swift": 80.0}, FIELD))
    assert report.decision is not None
    assert report.decision.default == "torch_flex:plain"
    assert {row.anchor_key for row in rows(store)} == {None}


def test_force_measures_everybody_and_forgets_the_anchors(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warm(JOB, store, FakeBench(TIMES, FIELD))
    upgrade(tmp_path, monkeypatch)
    warm(JOB, store, FakeBench(TIMES, FIELD))
    report = warm(replace(JOB, force=True), store, FakeBench(TIMES, FIELD))
    assert report.measured == 3 * QUICK
    assert all(row.anchor_key is None for row in rows(store))


def test_an_anchor_of_an_anchor_and_a_ring_of_them(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warm(JOB, store, FakeBench({"torch_sdpa": 100.0}, (SDPA,)))
    first, *_ = rows(store)
    second = replace(
        first, key="b", gpu_us=60.0, call_us=1.0, anchor_key=first.key, anchor_us=200.0
    )
    third = replace(first, key="c", gpu_us=90.0, call_us=1.0, anchor_key="b", anchor_us=120.0)
    found = outcomes_of([third, second, first])
    times = {key: it.gpu_us for key, it in found.items() if isinstance(it, Timed)}
    assert times == {first.key: 100.0, "b": 30.0, "c": pytest.approx(90 * 0.5 * 0.5)}
    ring = replace(second, anchor_key="c")
    looped = outcomes_of([third, ring])
    assert all(isinstance(it, Timed) and it.gpu_us > 0 for it in looped.values())
