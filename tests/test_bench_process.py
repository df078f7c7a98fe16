"""The measuring process as it is: what real children answer."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from bench_tasks import (
    PLUGINS,
    SPEC,
    SURVEY,
    assert_timed,
    examination,
    outcomes,
    rehearsals,
    task,
)
from fakes import write_plugin

from kernels_bench.bench import Bench
from kernels_bench.errors import WorkerError
from kernels_bench.messages import Examined, HarnessFailed, Passed, Rehearsed, Step
from kernels_bench.patience import Patience
from kernels_bench.spec import Failed, Outcome, Pages, Phase, Wrong

HANG_S = 8.0
"""Longer than a child takes to start on a busy machine."""


@pytest.fixture(scope="module", autouse=True)
def _plugins() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PLUGINS / "working"))
        yield


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with Bench() as bench:
        yield bench


def test_those_that_are_right_are_timed(bench: Bench) -> None:
    for outcome in outcomes(bench, "torch_sdpa", "right"):
        assert_timed(outcome)


def test_who_computes_wrong_is_not_timed(bench: Bench) -> None:
    right, wrong = outcomes(bench, "right", "wrong")
    assert_timed(right)
    assert isinstance(wrong, Wrong)
    assert wrong.check == "relative_l2"
    assert wrong.error > wrong.allowed > 0


def test_who_computes_wrong_later_is_found_by_the_second_check(bench: Bench) -> None:
    stale, right = outcomes(bench, "stale", "right")
    assert isinstance(stale, Wrong)
    assert_timed(right)


@pytest.mark.parametrize(
    ("backend", "failed"),
    [
        ("raises_in_prepare", Failed("exception", "ValueError: no such tile")),
        ("raises_when_checked", Failed("exception", "RuntimeError: too wide")),
        ("raises_when_timed", Failed("exception", "RuntimeError: too often")),
        ("out_of_memory", Failed("memory", "MemoryError: 3 TiB")),
        ("nobody", Failed("exception", "backend nobody: not found")),
    ],
)
def test_who_raises_has_failed_and_the_others_are_timed(
    bench: Bench, backend: str, failed: Failed
) -> None:
    found = outcomes(bench, backend, "right")
    assert found[0] == failed
    assert_timed(found[1])


def test_nothing_but_failures_is_an_answer(bench: Bench) -> None:
    kinds = [type(each) for each in outcomes(bench, "wrong", "raises_when_timed")]
    assert kinds == [Wrong, Failed]


def test_what_a_candidate_prints_disturbs_nobody(
    bench: Bench, capfd: pytest.CaptureFixture[str]
) -> None:
    for outcome in outcomes(bench, "prints", "right"):
        assert_timed(outcome)
    assert capfd.readouterr() == ("", "")


def test_steps_come_before_what_they_announce(bench: Bench) -> None:
    steps: list[Step] = []
    bench.measure(task("right", "wrong", "torch_sdpa"), on_step=steps.append)
    ready = [*(Step(index, "check") for index in range(3)), Step(0, "time"), Step(2, "time")]
    assert steps[:6] == [Step(None, "prepare"), *ready]
    assert set(steps[6:]) == {Step(0, "time"), Step(2, "time")}


def verdicts(
    bench: Bench, *backends: str, phase: Phase = Phase.DECODE
) -> tuple[Passed | Outcome, ...]:
    answer = bench.examine(examination(*backends, phase=phase))
    assert isinstance(answer, Examined), answer
    assert len(answer.outcomes) == len(backends)
    return answer.outcomes


@pytest.mark.parametrize("phase", Phase)
def test_those_that_are_right_pass_the_trial(bench: Bench, phase: Phase) -> None:
    assert verdicts(bench, "torch_sdpa", "right", phase=phase) == (Passed(plan_waits=False),) * 2


def test_a_trial_tells_who_is_wrong_and_on_which_question(bench: Bench) -> None:
    wrong, stale, right = verdicts(bench, "wrong", "stale", "right")
    assert isinstance(wrong, Wrong)
    assert wrong.check == "relative_l2"
    assert isinstance(stale, Wrong)
    assert stale.check == "again: relative_l2"
    assert right == Passed(plan_waits=False)


def test_a_trial_tells_who_raises(bench: Bench) -> None:
    assert verdicts(bench, "raises_in_prepare", "raises_when_timed", "out_of_memory", "nobody") == (
        Failed("exception", "ValueError: no such tile"),
        Failed("exception", "RuntimeError: too often"),
        Failed("memory", "MemoryError: 3 TiB"),
        Failed("exception", "backend nobody: not found"),
    )


@pytest.mark.parametrize("hostile", ["writes_into_pages", "scales_queries"])
def test_who_writes_into_the_inputs_spoils_them_for_nobody(
    monkeypatch: pytest.MonkeyPatch, hostile: str
) -> None:
    monkeypatch.syspath_prepend(str(PLUGINS / "hostile"))
    with Bench() as bench:
        wrong, sdpa, right = verdicts(bench, hostile, "torch_sdpa", "right")
    assert isinstance(wrong, Wrong)
    assert sdpa == right == Passed(plan_waits=False)


def test_a_trial_of_nobody_is_over_at_once(bench: Bench) -> None:
    assert verdicts(bench) == ()


def test_what_can_run_is_rehearsed_and_timed(bench: Bench) -> None:
    told: list[int] = []
    asked = rehearsals("torch_sdpa", "right")
    for ready in bench.rehearse(asked, on_ready=lambda index, _: told.append(index)):
        assert isinstance(ready, Rehearsed)
        assert ready.seconds > 0
        assert ready.workspace_bytes is None
    assert told == [0, 1]


@pytest.mark.parametrize("backend", ["wrong", "raises_in_prepare", "out_of_memory", "nobody"])
def test_a_rehearsal_judges_nothing_but_compiling(bench: Bench, backend: str) -> None:
    (ready,) = bench.rehearse(rehearsals(backend))
    assert isinstance(ready, Rehearsed), ready


def test_who_does_not_compile_is_told_by_the_rehearsal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source = """
from odd_backends import OddBackend, raise_at
class CompilationError(Exception):
    __module__ = "triton.compiler.errors"
BACKEND = OddBackend("uncompiled", raise_at(1, CompilationError("at 3:0: no such op")))
"""
    write_plugin(tmp_path, "uncompiled", source)
    monkeypatch.syspath_prepend(str(tmp_path))
    with Bench() as bench:
        (failed,) = bench.rehearse(rehearsals("uncompiled"))
    assert failed == Failed("compile", "CompilationError: at 3:0: no such op")


def test_inputs_that_no_rehearsal_can_make_are_nobody_s_fault(bench: Bench) -> None:
    (good,) = rehearsals("right")
    huge = replace(good, spec=replace(SPEC, num_q_heads=1 << 45, num_kv_heads=1 << 45))
    unset, ready = bench.rehearse([huge, good])
    assert unset == Rehearsed(0.0, None)
    assert isinstance(ready, Rehearsed)
    assert ready.seconds > 0


def test_others_may_compile_first_and_the_measuring_process_loads(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cold start pays what it took them; who fails there is not tried here."""
    monkeypatch.setattr("kernels_bench.bench.helpers_for", lambda _: 2)
    told: list[int] = []
    asked = rehearsals("right", "exits_when_checked", "torch_sdpa")
    answers = bench.rehearse(asked, on_ready=lambda index, _: told.append(index))
    right, exited, sdpa = answers
    assert isinstance(right, Rehearsed)
    assert isinstance(sdpa, Rehearsed)
    assert exited == Failed("crash", "exit status 3 while compiling: abort: the last line")
    assert sorted(told) == [0, 0, 1, 2, 2]
    assert_timed(*outcomes(bench, "right"))


def test_a_survey_asks_in_the_child(bench: Bench) -> None:
    survey = bench.survey(SURVEY)
    assert {"torch_sdpa", "torch_flex", "right"} <= set(survey.asked)
    (right,) = (answer for answer in survey.answers if answer.backend == "right")
    assert right.support
    assert right.pages == Pages(16)
    assert right.variant.engine_options == {"vllm": {"attention_backend": "ODD"}}
    assert survey.broken == ()
    assert "odd_backends" not in sys.modules


def test_backends_that_cannot_be_asked_are_broken_and_the_rest_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(PLUGINS / "broken"))
    with Bench() as bench:
        survey = bench.survey(SURVEY)
    reasons = {broken.name: broken.message for broken in survey.broken}
    assert set(reasons) == {
        "missing_library", "leaves", "no_attribute", "no_backend", "no_instance", "other_name",
        "other_api", "torch_sdpa",
    }  # fmt: skip
    assert reasons["leaves"] == "SystemExit: no GPU found"
    assert {"torch_sdpa", "right", "works"} <= {answer.backend for answer in survey.answers}


def test_a_backend_whose_supports_raises_is_broken_in_the_child_as_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(PLUGINS / "broken"))
    with Bench() as bench:
        survey = bench.survey(replace(SURVEY, phases=tuple(Phase)))
    reasons = {broken.name: broken.message for broken in survey.broken}
    assert reasons["raises_when_asked"] == "asked, it raised KeyError: 'head_dim'"
    assert "works" in {answer.backend for answer in survey.answers}


DEADLY = {
    "exits": ("os.write(2, b'cannot go on\\n')\nos._exit(7)", "exit status 7 {}: cannot go on"),
    "crashes": ("ctypes.string_at(0)", "killed by SIGSEGV {}"),
    "stops": (
        "raise KeyboardInterrupt('enough')",
        "killed by SIGINT {}: KeyboardInterrupt: enough",
    ),
}
"""Name -> what it does, and what is said of it."""


def write_deadly(folder: Path, name: str, *, act: str, asked: bool) -> None:
    """A backend that does this when it is asked, or as it is imported."""
    body = "\n".join(f"    {line}" for line in act.splitlines())
    call = "def act(*_):\n" + body + "\n" + ("" if asked else "act()\n")
    source = f"""
import ctypes, os, time
from odd_backends import PLAIN
{call}
class Deadly:
    name = {name!r}
    variants = lambda *_: (PLAIN,)
    supports = prepare = act
BACKEND = Deadly()
"""
    write_plugin(folder, name, source)


@pytest.mark.parametrize("asked", [False, True], ids=["imported", "asked"])
def test_who_kills_the_child_that_asks_is_broken_and_the_others_are_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, asked: bool
) -> None:
    for name, (act, _) in DEADLY.items():
        write_deadly(tmp_path, name, act=act, asked=asked)
    monkeypatch.syspath_prepend(str(tmp_path))
    with Bench() as bench:
        survey = bench.survey(SURVEY)
        assert_timed(*outcomes(bench, "right"))
    doing = f"while being {'asked' if asked else 'imported'}"
    assert {each.name: each.message for each in survey.broken} == {
        name: said.format(doing) for name, (_, said) in DEADLY.items()
    }
    assert {"torch_sdpa", "right"} <= {answer.backend for answer in survey.answers}
    assert not set(DEADLY) & set(survey.asked)


def test_who_hangs_when_asked_is_broken_with_its_own_last_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_plugin(tmp_path, "chatty", "print('hello')\nraise ImportError('no kernels')\n")
    write_deadly(tmp_path, "waits", act="print('waiting')\ntime.sleep(3600)", asked=True)
    write_deadly(tmp_path, "hushed", act="time.sleep(3600)", asked=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    with Bench(Patience(hang_s=HANG_S)) as bench:
        survey = bench.survey(SURVEY)
    assert {each.name: each.message for each in survey.broken} == {
        "chatty": "ImportError: no kernels",
        "waits": f"silent for {HANG_S:g} s while being asked: waiting",
        "hushed": f"silent for {HANG_S:g} s while being imported",
    }
    assert "right" in survey.asked


def test_a_python_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with Bench() as bench, pytest.raises(WorkerError, match=r"cannot start .*/no/such/python"):
        bench.survey(SURVEY)


def test_a_users_files_in_the_working_directory_shadow_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("torch", "random", "kernels_bench"):
        (tmp_path / f"{name}.py").write_text("raise AssertionError('a stranger ran')\n")
    monkeypatch.chdir(tmp_path)
    with Bench() as bench:
        assert "torch_sdpa" in bench.survey(SURVEY).asked


def test_inputs_that_cannot_be_made_are_nobody_s_fault(bench: Bench) -> None:
    huge = replace(task("right"), spec=replace(SPEC, num_q_heads=1 << 45, num_kv_heads=1 << 45))
    answer = bench.measure(huge)
    assert isinstance(answer, HarnessFailed)
    assert answer.message.startswith("RuntimeError: ")
    unknown = replace(task("right"), spec=replace(SPEC, kv_dtype="int4"))
    assert bench.measure(unknown) == HarnessFailed(
        "exit status 1 while preparing inputs:"
        " ValueError: kv_dtype 'int4': expected fp8_e4m3, fp8_e5m2 or none"
    )
    assert_timed(*outcomes(bench, "right"))
