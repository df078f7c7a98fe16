"""Who is still in the race, and what the others are told."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes import CPU_FOUND, FLEX, FULL, SDPA, SWIFT, WINDOW, FakeBench, make_model, timed

from autotune.field import Field, Measured, banned
from autotune.plan import Plan, Situation, make_plan
from kernels_bench.backends import FoundBackends
from kernels_bench.candidates import survey
from kernels_bench.child import OutOfTime
from kernels_bench.grid import Limits, make_grid
from kernels_bench.messages import HarnessFailed
from kernels_bench.spec import Failed, Outcome, Phase, Timed, Wrong

TIMES: dict[str, float | Outcome] = {"torch_sdpa": 100.0, "torch_flex": 60.0, "swift": 80.0}
CRASH = Failed("crash", "killed by SIGSEGV while being timed")


def make(*specs: object) -> Plan:
    model = make_model(*(specs or (FULL,)), max_model_len=8192)  # type: ignore[arg-type]
    found = FoundBackends((SDPA, FLEX, SWIFT), ())
    asked = survey(found, CPU_FOUND.device, {}, model.specs, tuple(Phase))
    grid = make_grid(CPU_FOUND.device, model.specs, Limits(8192), "quick")
    return make_plan(Situation(model, CPU_FOUND, {}, asked), grid)


def run(course: Field) -> dict[str, dict[str, Outcome]]:
    """Workload -> backend -> outcome."""
    course.rehearse(course.plan.steps, None, lambda _: None)
    found: dict[str, dict[str, Outcome]] = {}
    for step in course.plan.steps:
        measured = course.measure(step, None, lambda _: None)
        assert isinstance(measured, Measured), measured
        pairs = zip(measured.answers, measured.outcomes, strict=True)
        found[step.name] = {answer.backend: outcome for answer, outcome in pairs}
    return found


def test_everybody_is_rehearsed_once_a_kind_of_layer_on_all_its_workloads() -> None:
    bench = FakeBench(TIMES)
    plan = make(FULL, WINDOW)
    run(Field(plan, bench))
    assert [(r.spec, r.entrant.backend) for r in bench.rehearsals] == [
        (spec, name) for spec in (FULL, WINDOW) for name in ("torch_sdpa", "torch_flex", "swift")
    ]
    texts = tuple(dict.fromkeys(step.workload.text for step in plan.steps))
    assert all(tuple(w.text for w in r.workloads) == texts for r in bench.rehearsals)


def test_everybody_is_examined_once_a_phase_and_kind_of_layer() -> None:
    bench = FakeBench(TIMES)
    run(Field(make(FULL, WINDOW), bench))
    asked = [(each.spec, each.phase) for each in bench.examinations]
    assert sorted(asked, key=str) == sorted(
        ((spec, phase) for spec in (FULL, WINDOW) for phase in Phase), key=str
    )


def test_what_the_rehearsal_and_the_trial_found_stands_beside_every_time() -> None:
    for outcomes in run(Field(make(), FakeBench(TIMES))).values():
        for outcome in outcomes.values():
            assert isinstance(outcome, Timed)
            assert (outcome.compile_s, outcome.workspace_bytes) == (1.5, 1 << 20)
            assert not outcome.plan_waits


def test_who_fails_the_trial_is_not_raced_and_every_workload_of_the_phase_says_why() -> None:
    wrong = Wrong("needles: relative_l2", 0.7, 0.01)
    bench = FakeBench(TIMES, verdicts={"torch_flex": wrong})
    for outcomes in run(Field(make(), bench)).values():
        assert outcomes["torch_flex"] == wrong
        assert isinstance(outcomes["swift"], Timed)
    assert all(len(task.entrants) == 2 for task in bench.tasks)


@pytest.mark.parametrize("kind", ["crash", "hang", "compile"])
def test_who_fails_while_compiling_is_out_for_good(kind: str) -> None:
    failed = Failed(kind, "exit status 1 while compiling")  # type: ignore[arg-type]
    bench = FakeBench(TIMES, readiness={"torch_flex": failed})
    for outcomes in run(Field(make(), bench)).values():
        assert outcomes["torch_flex"] == failed
    assert all(len(each.entrants) == 2 for each in bench.examinations)


def test_who_crashes_in_a_race_is_not_tried_again_on_that_kind_of_layer() -> None:
    bench = FakeBench({**TIMES, "torch_flex": CRASH})
    found = run(Field(make(FULL, WINDOW), bench))
    for kind in ("full", "window"):
        first, *others = (o["torch_flex"] for name, o in found.items() if name.startswith(kind))
        assert first == CRASH
        workload = next(name for name in found if name.startswith(kind)).removeprefix(f"{kind} ")
        told = f"not tried since {workload}: {CRASH.message}"
        assert set(others) == {Failed("crash", told)}
    assert sum("torch_flex" in {e.backend for e in t.entrants} for t in bench.tasks) == 2


@pytest.mark.parametrize("kind", ["memory", "exception"])
def test_who_fails_on_one_workload_alone_is_tried_on_the_others(kind: str) -> None:
    failed = Failed(kind, "too much")  # type: ignore[arg-type]
    bench = FakeBench({**TIMES, "torch_flex": failed})
    run(Field(make(), bench))
    assert all(len(task.entrants) == 3 for task in bench.tasks)


def test_who_is_not_compiled_in_time_is_left_out_without_blame() -> None:
    bench = FakeBench(TIMES, readiness={"torch_flex": OutOfTime()})
    course = Field(make(), bench)
    for outcomes in run(course).values():
        assert set(outcomes) == {"torch_sdpa", "swift"}
    assert {label for _, label, _ in course.late} == {"torch_flex:plain"}


def test_where_everybody_is_out_nothing_is_raced() -> None:
    verdicts = dict.fromkeys(TIMES, Wrong("relative_l2", 1.0, 0.01))
    bench = FakeBench(TIMES, verdicts=verdicts)
    for outcomes in run(Field(make(), bench)).values():
        assert set(outcomes.values()) == {Wrong("relative_l2", 1.0, 0.01)}
    assert bench.tasks == []


@pytest.mark.parametrize("answer", [OutOfTime(), HarnessFailed("no room")])
def test_a_race_that_does_not_happen_is_told_as_it_is(answer: OutOfTime | HarnessFailed) -> None:
    course = Field(make(), FakeBench(TIMES, on_task=lambda _: answer))
    assert course.measure(course.plan.steps[0], None, lambda _: None) == answer


def test_people_hear_what_is_compiled() -> None:
    told: list[str] = []
    course = Field(make(), FakeBench(TIMES))
    course.rehearse(course.plan.steps, None, told.append)
    assert told == [
        "compiling 3 candidates",
        "compiling: torch_flex:plain, swift:plain",
        "compiling: swift:plain",
        "loading",
    ]


def test_a_ban_names_the_first_place_alone() -> None:
    once = banned(CRASH, "q8k")
    assert once == replace(CRASH, message=f"not tried since q8k: {CRASH.message}")
    assert banned(once, "q512") == once


def test_a_time_without_a_rehearsal_knows_no_seconds() -> None:
    course = Field(make(), FakeBench({**TIMES, "swift": timed(80.0)}))
    measured = course.measure(course.plan.steps[0], None, lambda _: None)
    assert isinstance(measured, Measured)
    assert all(isinstance(o, Timed) and o.compile_s == 0.0 for o in measured.outcomes)
