"""The tuning run over a real store and a measuring process that answers from a table."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import (
    CPU,
    CPU_FOUND,
    FLEX,
    FULL,
    H100_FOUND,
    SDPA,
    SWIFT,
    WINDOW,
    FakeBench,
    make_model,
    refusing,
    timed,
    write_distribution,
)

from autotune import records
from autotune._store import MeasurementRow, Store, list_decisions
from autotune.job import Job
from autotune.keys import device_key
from autotune.models import spec_key
from autotune.profiles import BALANCED, DECODE_HEAVY, Profile
from autotune.run import Progress
from autotune.tuner import Report, plan_job, warm
from autotune.wishes import Wishes
from kernels_bench.backends import Broken
from kernels_bench.child import OutOfTime
from kernels_bench.devices import FoundDevice
from kernels_bench.grid import CPU_FULL, CPU_QUICK, GPU_QUICK, LeftOut, Limits, make_grid
from kernels_bench.messages import Finished, HarnessFailed, Task
from kernels_bench.method import METHOD
from kernels_bench.spec import Device, Failed, Phase, Reason, Timed, Wrong

QUICK, ALL = len(CPU_QUICK), len(CPU_FULL)
_POINTS = make_grid(CPU, (FULL,), Limits(8192), "quick").points
BY_WEIGHT = tuple(
    sorted(CPU_QUICK, key=lambda text: -BALANCED.weigh(_POINTS)[text])  # stable
)
"""The order in which a run measures: the heaviest first."""
JOB = Job(make_model(FULL, max_model_len=8192), CPU_FOUND, BALANCED, Wishes("any"))
TIMES = {"torch_sdpa": 100.0, "torch_flex": 60.0, "swift": 80.0}
PAIR = (SDPA, FLEX)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "autotune.db") as store:
        yield store


def rows(store: Store, *specs: object) -> tuple[MeasurementRow, ...]:
    keys = [spec_key(spec) for spec in specs or (FULL,)]
    return store.measurements(device_key(CPU_FOUND.device), keys)


def winner(report: Report) -> str | None:
    return None if report.decision is None else report.decision.winner.label


def test_the_first_run_measures_everything_and_the_second_nothing(store: Store) -> None:
    bench = FakeBench(TIMES)
    first = warm(JOB, store, bench)
    assert bench.measured == list(BY_WEIGHT)
    assert BALANCED.weigh(_POINTS)[BY_WEIGHT[0]] > BALANCED.weigh(_POINTS)[BY_WEIGHT[-1]]
    assert first.measured == len(first.observed) == 3 * QUICK
    assert winner(first) == "torch_flex:plain"
    assert first.left_out == ()

    again = FakeBench(TIMES)
    second = warm(JOB, store, again)
    assert again.measured == []
    assert second.measured == 0
    assert second.observed == first.observed
    assert second.decision == first.decision
    assert len(list_decisions(store.path)) == 1


def test_a_decision_that_stands_keeps_its_date(store: Store) -> None:
    warm(JOB, store, FakeBench(TIMES))
    (stored,) = list_decisions(store.path)
    earlier = replace(stored.decision.provenance, created_at="2020-01-01T00:00:00+00:00")
    store.put_decision(replace(stored.decision, provenance=earlier))
    report = warm(JOB, store, FakeBench(TIMES))
    assert report.decision is not None
    assert report.decision.measured_at == "2020-01-01T00:00:00+00:00"
    assert list_decisions(store.path)[0].decision.provenance == earlier


def test_a_damaged_decision_is_replaced(store: Store) -> None:
    first = warm(JOB, store, FakeBench(TIMES))
    (stored,) = list_decisions(store.path)
    store.put_decision(replace(stored.decision, per_kind="{broken"))
    second = warm(JOB, store, FakeBench(TIMES))
    assert second.decision is not None
    assert first.decision is not None
    (stored,) = list_decisions(store.path)
    assert records.decision_of(stored) == second.decision
    assert second.decision.winner == first.decision.winner


def test_a_damaged_measurement_is_measured_again(store: Store) -> None:
    warm(JOB, store, FakeBench(TIMES))
    damaged = next(row for row in rows(store) if row.workload == CPU_QUICK[2])
    store.put_measurements([replace(damaged, gpu_us=None)])
    bench = FakeBench(TIMES)
    warm(JOB, store, bench)
    assert bench.measured == [CPU_QUICK[2]]


def test_the_decision_says_what_it_stands_on(store: Store) -> None:
    decision = warm(JOB, store, FakeBench(TIMES)).decision
    assert decision is not None
    assert decision.default == "torch_sdpa:plain"
    assert decision.speedup_vs_default == pytest.approx(100 / 60)
    assert [r.candidate.backend for r in decision.runners_up] == ["swift", "torch_sdpa"]
    assert decision.per_kind == {"full": {phase.value: "torch_flex" for phase in Phase}}
    assert "torch" in decision.versions
    assert records.decision_of(list_decisions(store.path)[0]) == decision


def stop_at(number: int) -> FakeBench:
    """Ctrl-C while the workload of that number is measured."""
    bench = FakeBench(TIMES)

    def interrupt(_: Task) -> None:
        if len(bench.tasks) == number:
            raise KeyboardInterrupt

    bench.on_task = interrupt
    return bench


def test_an_interrupted_run_keeps_what_is_finished_and_the_next_goes_on(store: Store) -> None:
    with pytest.raises(KeyboardInterrupt):
        warm(JOB, store, stop_at(2))
    assert {row.workload for row in rows(store)} == set(BY_WEIGHT[:2])
    assert list_decisions(store.path) == ()
    bench = FakeBench(TIMES)
    report = warm(JOB, store, bench)
    assert bench.measured == list(BY_WEIGHT[2:])
    assert len(report.observed) == 3 * QUICK
    assert winner(report) == "torch_flex:plain"


def test_a_spent_budget_names_what_it_leaves_out_and_decides_on_the_rest(store: Store) -> None:
    bench = FakeBench(TIMES)
    bench.on_task = lambda _: OutOfTime() if len(bench.tasks) == 2 else None
    report = warm(replace(JOB, budget_s=60.0), store, bench)
    assert [(item.spec, item.workload) for item in report.left_out] == [
        ("full", workload) for workload in BY_WEIGHT[2:]
    ]
    assert {item.why for item in report.left_out} == {"the time budget was spent"}
    assert report.measured == 3 * 2
    assert winner(report) == "torch_flex:plain"
    assert warm(JOB, store, FakeBench(TIMES)).left_out == ()


def test_a_budget_that_is_spent_before_the_first_workload(store: Store) -> None:
    bench = FakeBench(TIMES)
    report = warm(replace(JOB, budget_s=1e-9), store, bench)
    assert bench.tasks == []
    assert len(report.left_out) == QUICK
    assert (report.decision, report.why) == (None, "nothing was measured")


def test_a_workload_that_cannot_be_prepared_is_left_out_and_the_rest_goes_on(store: Store) -> None:
    bench = FakeBench(TIMES)
    failed = HarnessFailed("MemoryError: no memory")
    bench.on_task = lambda task: failed if task.workload.text == CPU_QUICK[1] else None
    report = warm(JOB, store, bench)
    assert [(item.spec, item.workload, item.why) for item in report.left_out] == [
        ("full", CPU_QUICK[1], "MemoryError: no memory")
    ]
    assert report.measured == 3 * (QUICK - 1)
    assert winner(report) == "torch_flex:plain"


def test_force_measures_again(store: Store) -> None:
    warm(JOB, store, FakeBench(TIMES))
    slower = FakeBench(TIMES | {"torch_flex": 200.0})
    report = warm(replace(JOB, force=True), store, slower)
    assert slower.measured == list(BY_WEIGHT)
    assert winner(report) == "swift:plain"
    assert len(list_decisions(store.path)) == 1
    assert len(rows(store)) == 3 * QUICK


@pytest.mark.parametrize(
    ("profile", "more"),
    [
        (DECODE_HEAVY, {"64q1s512", "256q1s320"}),
        (BALANCED, set()),
        (Profile("mine", {"3q7s9": 1}, is_own=True), {"3q7s9"}),
    ],
)
def test_a_quick_run_measures_what_decides_a_profile(profile: Profile, more: set[str]) -> None:
    """On an H100 long contexts, which `decode-heavy` does not have, stood in for two thirds of it,
    and a first run kept a default that costs 18 % more.
    """
    gpu = FoundDevice("cuda:0", Device("cuda", "GPU", "sm_90", 132, 80 << 30, 50 << 20))
    plan = plan_job(replace(JOB, found=gpu, profile=profile), FakeBench(TIMES, PAIR))
    assert {point.standard for point in plan.grid.points} == {*GPU_QUICK, *more}


def test_on_a_cpu_no_workload_of_a_gpu_is_added() -> None:
    plan = plan_job(replace(JOB, profile=DECODE_HEAVY), FakeBench(TIMES, PAIR))
    assert {point.standard for point in plan.grid.points} == set(CPU_QUICK)


def test_a_quick_run_after_a_full_one_decides_on_all_that_is_known(store: Store) -> None:
    full = warm(replace(JOB, effort="full"), store, FakeBench(TIMES))
    assert full.measured == 3 * ALL
    bench = FakeBench(TIMES)
    quick = warm(JOB, store, bench)
    assert bench.tasks == []
    assert quick.observed == full.observed
    assert quick.decision == full.decision


def test_a_newcomer_is_compared_where_all_were_measured(store: Store) -> None:
    """A quick run after a full one must not drop whoever the full one did not see."""
    warm(replace(JOB, effort="full"), store, FakeBench(TIMES, PAIR))
    report = warm(JOB, store, FakeBench(TIMES | {"swift": 20.0}))
    assert report.measured == QUICK
    assert winner(report) == "swift:plain"
    assert {item.workload for item in report.observed} == set(CPU_QUICK)


def test_a_candidate_that_fails_is_stored_with_its_message_and_another_wins(store: Store) -> None:
    failed, wrong = Failed("crash", "killed by SIGSEGV"), Wrong("values", 0.5, 0.01)
    bench = FakeBench({"torch_sdpa": 100.0, "torch_flex": failed, "swift": wrong})
    report = warm(JOB, store, bench)
    assert winner(report) == "torch_sdpa:plain"
    assert report.decision is not None
    assert report.decision.runners_up == ()
    flex = [row for row in rows(store) if row.backend == "torch_flex"]
    assert {(row.outcome, row.failure, row.message) for row in flex} == {
        ("failed", "crash", "killed by SIGSEGV"),
        ("failed", "crash", f"not tried since {BY_WEIGHT[0]}: killed by SIGSEGV"),
    }
    assert sum("torch_flex" in {e.backend for e in task.entrants} for task in bench.tasks) == 1
    swift = [row for row in rows(store) if row.backend == "swift"]
    assert {(row.outcome, row.failed_check) for row in swift} == {("wrong", "values")}
    again = FakeBench(TIMES)
    warm(JOB, store, again)
    assert again.tasks == []


def test_who_crashed_in_an_earlier_run_is_not_tried_again_unless_forced(store: Store) -> None:
    failed = Failed("hang", "silent for 120 s while being timed")
    warm(JOB, store, FakeBench(TIMES | {"torch_flex": failed}))
    more = FakeBench(TIMES)
    warm(replace(JOB, effort="full"), store, more)
    assert more.tasks
    assert {entrant.backend for task in more.tasks for entrant in task.entrants} == {
        "torch_sdpa",
        "swift",
    }
    assert "torch_flex" not in {each.entrant.backend for each in more.rehearsals}
    forced = FakeBench(TIMES)
    report = warm(replace(JOB, force=True, effort="full"), store, forced)
    assert len(forced.tasks) == ALL
    assert winner(report) == "torch_flex:plain"


def test_who_was_not_compiled_in_time_is_named_and_the_others_decide(store: Store) -> None:
    bench = FakeBench(TIMES, readiness={"torch_flex": OutOfTime()})
    report = warm(replace(JOB, budget_s=60.0), store, bench)
    why = "torch_flex:plain was not compiled in time to be measured within the budget"
    assert report.left_out == (LeftOut("every workload", why, "full"),)
    assert winner(report) == "swift:plain"
    assert report.measured == 2 * QUICK
    rest = FakeBench(TIMES)
    assert winner(warm(JOB, store, rest)) == "torch_flex:plain"
    assert len(rest.tasks) == QUICK


def test_who_fails_a_trial_is_stored_as_wrong_on_every_workload_of_the_phase(store: Store) -> None:
    wrong = Wrong("needles: relative_l2", 0.7, 0.01)
    report = warm(JOB, store, FakeBench(TIMES, verdicts={"torch_flex": wrong}))
    assert winner(report) == "swift:plain"
    flex = [row for row in rows(store) if row.backend == "torch_flex"]
    assert len(flex) == QUICK
    assert {row.failed_check for row in flex} == {"needles: relative_l2"}


def test_nobody_is_right(store: Store) -> None:
    failed = Failed("exception", "boom")
    report = warm(JOB, store, FakeBench(dict.fromkeys(TIMES, failed)))
    assert report.decision is None
    assert report.why == "no candidate was right and timed on every workload measured"
    assert list_decisions(store.path) == ()


def test_nobody_can_run(store: Store) -> None:
    bench = FakeBench({}, (refusing("picky", "arch x: needs y"),), (Broken("bad", "ImportError"),))
    report = warm(JOB, store, bench)
    assert bench.tasks == []
    assert not report.plan.situation.can_run
    assert report.decision is None
    refused = rows(store)
    assert {(row.outcome, row.workload) for row in refused} == {("rejected", None)}
    assert {row.phase for row in refused} == {phase.value for phase in Phase}
    assert refused[0].reasons == '[{"field": "arch", "text": "arch x: needs y"}]'


def test_another_torch_is_measured_anew(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warm(JOB, store, FakeBench(TIMES, PAIR))
    write_distribution(tmp_path / "newer", "torch", "9.9.9")
    monkeypatch.syspath_prepend(str(tmp_path / "newer"))
    bench = FakeBench(TIMES | {"torch_flex": 200.0}, PAIR)
    report = warm(JOB, store, bench)
    assert bench.measured == list(BY_WEIGHT)
    assert winner(report) == "torch_sdpa:plain"
    assert report.decision is not None
    assert report.decision.versions["torch"] == "9.9.9"
    assert len(rows(store)) == 2 * 2 * QUICK
    assert len(list_decisions(store.path)) == 2


def test_another_package_is_measured_anew_by_its_variants_alone(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backends = (SDPA, replace(FLEX, packages=("torch", "fast-kernels")))
    warm(replace(JOB, effort="full"), store, FakeBench(TIMES, backends))
    write_distribution(tmp_path / "newer", "fast_kernels", "1.0")
    monkeypatch.syspath_prepend(str(tmp_path / "newer"))
    bench = FakeBench(TIMES | {"torch_flex": 50.0}, backends)
    report = warm(JOB, store, bench)
    # The race is against the incumbent, so that one runs again too, and nothing of it is stored.
    assert [len(task.entrants) for task in bench.tasks] == [2] * QUICK
    assert report.measured == QUICK
    assert winner(report) == "torch_flex:plain"
    assert report.decision is not None
    assert report.decision.speedup_vs_default == pytest.approx(2.0)
    outdated = [row for row in rows(store) if '"fast-kernels":null' in row.versions]
    assert len(outdated) == ALL


def test_models_with_the_same_layers_share_their_measurements(store: Store) -> None:
    warm(JOB, store, FakeBench(TIMES))
    deeper = replace(JOB, model=make_model(replace(FULL, num_layers=40), max_model_len=8192))
    bench = FakeBench(TIMES)
    report = warm(deeper, store, bench)
    assert bench.tasks == []
    assert winner(report) == "torch_flex:plain"
    assert len(list_decisions(store.path)) == 2


def test_two_kinds_of_layer_are_measured_apart_and_decided_together(store: Store) -> None:
    """As Gemma 2: few full layers, many windows."""
    windows = {"torch_sdpa": 100.0, "torch_flex": 20.0}
    full = {"torch_sdpa": 100.0, "torch_flex": 150.0}
    bench = FakeBench({}, PAIR)

    def answer(task: Task) -> Finished:
        bench.tasks.append(task)
        times = full if task.spec.sliding_window is None else windows
        return Finished(tuple(timed(times[entrant.backend]) for entrant in task.entrants))

    bench.on_task = answer
    gemma = replace(JOB, model=make_model(FULL, WINDOW, max_model_len=8192))
    report = warm(gemma, store, bench)
    assert len(bench.tasks) == 2 * QUICK
    assert report.decision is not None
    # 4 full layers and 12 windows.
    assert report.decision.speedup_vs_default == pytest.approx(1600 / (4 * 150 + 12 * 20))
    assert set(report.decision.per_kind) == {"full", "window"}

    alone = FakeBench(full, PAIR)
    assert winner(warm(JOB, store, alone)) == "torch_sdpa:plain"
    assert alone.tasks == []


def test_a_profile_decides_stored_evidence_again(store: Store) -> None:
    bench = FakeBench({}, PAIR)

    def answer(task: Task) -> Finished:
        is_decode = task.workload.phase is Phase.DECODE
        times = {"torch_sdpa": 100.0, "torch_flex": 50.0 if is_decode else 150.0}
        return Finished(tuple(timed(times[entrant.backend]) for entrant in task.entrants))

    bench.on_task = answer
    decode = Profile("decoding", {"q1s1k": 1.0})
    assert winner(warm(replace(JOB, profile=decode), store, bench)) == "torch_flex:plain"
    prefill = Profile("reading", {"q512": 1.0})
    silent = FakeBench({}, PAIR)
    assert winner(warm(replace(JOB, profile=prefill), store, silent)) == "torch_sdpa:plain"
    assert silent.tasks == []
    assert len(list_decisions(store.path)) == 2


def test_a_device_is_measured_for_itself(store: Store) -> None:
    warm(JOB, store, FakeBench(TIMES))
    elsewhere = replace(CPU_FOUND, device=replace(CPU_FOUND.device, name="Another CPU"))
    bench = FakeBench(TIMES)
    warm(replace(JOB, found=elsewhere), store, bench)
    assert bench.measured == list(BY_WEIGHT)
    assert len(list_decisions(store.path)) == 2


def test_a_gpu_s_driver_is_in_the_evidence(store: Store) -> None:
    job = replace(JOB, found=H100_FOUND)
    decision = warm(job, store, FakeBench(TIMES, (SWIFT,))).decision
    assert decision is not None
    assert decision.versions["nvidia-driver"] == "580.1"
    assert decision.power_limit_w == 700


def test_progress_names_each_step_and_ends_with_its_outcomes(store: Store) -> None:
    told: list[Progress] = []
    warm(JOB, store, FakeBench(TIMES, PAIR), told.append)
    news, compiling, *ready, preparing, first = told[:6]
    assert news.is_news
    assert re.fullmatch(r"6 workloads: about \d+ s, and before it whatever compiles", news.what)
    assert compiling.what == "compiling 2 candidates"
    assert [each.what for each in ready] == [
        "compiling: torch_flex:plain",
        "loading",
    ]
    assert preparing.what == f"full {BY_WEIGHT[0]}: prepare inputs"
    assert first.what == f"full {BY_WEIGHT[0]}"
    assert set(first.outcomes) == {"torch_sdpa:plain", "torch_flex:plain"}
    assert [each.done for each in told if each.outcomes] == list(range(1, QUICK + 1))
    assert {each.total for each in told} == {QUICK}


def test_a_model_s_own_reasons_stop_the_run(store: Store) -> None:
    reason = Reason("model_type", "model_type 'mamba' has layers that are no softmax attention")
    job = replace(JOB, model=make_model(unsupported=(reason,)))
    report = warm(job, store, FakeBench(TIMES))
    assert (report.measured, report.decision) == (0, None)


def test_a_stored_winner_is_kept_against_a_small_gain(store: Store) -> None:
    warm(JOB, store, FakeBench(TIMES))
    again = replace(JOB, force=True)
    kept = warm(again, store, FakeBench(TIMES | {"swift": 58.8}))
    assert winner(kept) == "torch_flex:plain"
    assert kept.why.startswith("kept: torch_flex:plain, the stored winner; swift:plain costs 2.0%")
    # Nothing new is known: the decision stands as it was.
    assert warm(JOB, store, FakeBench({})).decision == kept.decision
    assert winner(warm(again, store, FakeBench(TIMES | {"swift": 57.0}))) == "swift:plain"


def test_a_stored_winner_has_its_say_on_another_stack(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warm(JOB, store, FakeBench(TIMES))
    write_distribution(tmp_path / "newer", "torch", "9.9.9")
    monkeypatch.syspath_prepend(str(tmp_path / "newer"))
    report = warm(JOB, store, FakeBench(TIMES | {"swift": 58.8}))
    assert winner(report) == "torch_flex:plain"
    assert report.why.startswith("kept: ")
    assert len(list_decisions(store.path)) == 2


def test_the_newest_stored_winner_has_its_say(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warm(JOB, store, FakeBench(TIMES | {"swift": 50.0}))
    (older,) = list_decisions(store.path)
    dated = replace(older.decision.provenance, created_at="2020-01-01T00:00:00+00:00")
    store.put_decision(replace(older.decision, provenance=dated))
    write_distribution(tmp_path / "newer", "torch", "9.9.9")
    monkeypatch.syspath_prepend(str(tmp_path / "newer"))
    assert winner(warm(JOB, store, FakeBench(TIMES))) == "torch_flex:plain"
    # Back on the older stack, where another won: the last that was decided counts.
    monkeypatch.undo()
    report = warm(replace(JOB, force=True), store, FakeBench(TIMES | {"swift": 58.8}))
    assert winner(report) == "torch_flex:plain"


@pytest.mark.parametrize(
    "changes", [{"method": METHOD - 1}, {"method": METHOD + 1}, {"per_kind": "{broken"}]
)
def test_a_winner_of_another_method_or_of_a_damaged_row_has_no_say(
    store: Store, changes: dict[str, object]
) -> None:
    warm(JOB, store, FakeBench(TIMES))
    (stored,) = list_decisions(store.path)
    store.put_decision(replace(stored.decision, **changes))
    report = warm(replace(JOB, force=True), store, FakeBench(TIMES | {"swift": 58.8}))
    assert winner(report) == "swift:plain"


def test_a_stored_winner_of_another_device_has_no_say(store: Store) -> None:
    warm(JOB, store, FakeBench(TIMES))
    elsewhere = replace(CPU_FOUND, device=replace(CPU_FOUND.device, name="Another CPU"))
    job = replace(JOB, found=elsewhere)
    assert winner(warm(job, store, FakeBench(TIMES | {"swift": 58.8}))) == "swift:plain"


def test_a_gpu_that_waits_for_its_host_takes_as_long_as_the_host(store: Store) -> None:
    def called(gpu_us: float, call_us: float) -> Timed:
        return replace(timed(gpu_us), call_us=call_us)

    times = {"torch_sdpa": called(100.0, 10.0), "torch_flex": called(60.0, 200.0)}
    on_gpu = replace(JOB, found=H100_FOUND)
    assert winner(warm(on_gpu, store, FakeBench(times, PAIR))) == "torch_sdpa:plain"


def test_a_profile_of_one_s_own_is_measured_where_it_is_missing(store: Store) -> None:
    warm(JOB, store, FakeBench(TIMES))
    mine = Profile("mine", {"q1s77": 3.0, "q512": 1.0, "q1s1k": 1.0}, is_own=True)
    bench = FakeBench(TIMES)
    report = warm(replace(JOB, profile=mine), store, bench)
    assert bench.measured == ["q1s77"]
    assert report.decision is not None
    assert report.decision.assessment is not None
    assert report.decision.assessment.uncovered == {}
    assert list_decisions(store.path)[0].decision.profile == mine.key
    # The built-in ones take no notice of it.
    again = FakeBench(TIMES)
    assert warm(JOB, store, again).measured == 0


def test_engines_whose_kernels_were_measured_get_a_decision_too(store: Store) -> None:
    options = {"vllm": {"attention_backend": "FLEX"}}
    field = (SDPA, replace(FLEX, engine_options=options), SWIFT)
    report = warm(JOB, store, FakeBench(TIMES, field))
    assert [question.engine for question in report.also] == ["vllm"]
    stored = {each.decision.engine: each.decision.backend for each in list_decisions(store.path)}
    assert stored == {"any": "torch_flex", "vllm": "torch_flex"}
    # For one engine alone, only what it loads is measured and decided.
    bench = FakeBench(TIMES, field)
    alone = warm(replace(JOB, wishes=Wishes("vllm"), force=True), store, bench)
    assert alone.also == ()
    assert {e.backend for task in bench.tasks for e in task.entrants} == {"torch_flex"}
