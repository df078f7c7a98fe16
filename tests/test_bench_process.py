"""The measuring process as it is: real children, and plug-ins that misbehave in them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import write_plugin

import kernels_bench
from kernels_bench.bench import Bench, OutOfTime
from kernels_bench.errors import WorkerError
from kernels_bench.messages import AskAll, Entrant, Finished, HarnessFailed, Step, Task
from kernels_bench.race import Rules
from kernels_bench.spec import (
    AttentionSpec,
    Device,
    Failed,
    Outcome,
    Pages,
    Phase,
    Timed,
    Variant,
    Wrong,
)
from kernels_bench.worker import failure, one_line, page_sets
from kernels_bench.workload import parse_workload

PLUGINS = Path(__file__).parent / "plugins"
ROOT = Path(kernels_bench.__file__).parents[1]
DEVICE = Device("cpu", "CPU", "x86_64", 1, 16 << 30, last_level_cache_bytes=1 << 10)
SPEC = AttentionSpec(2, 1, 16, "bfloat16", num_layers=1)
WORKLOAD = parse_workload("3q1s40_q24")
RULES = Rules(min_rounds=2, max_rounds=2, block_us=1.0, max_calls=1, seconds=1.0)
STACK = {"torch": "2.13.0"}
SURVEY = AskAll(DEVICE, STACK, (SPEC,), (Phase.DECODE,))


def entrant(backend: str) -> Entrant:
    return Entrant(backend, Variant("padded" if backend == "torch_sdpa" else "plain"), Pages(16))


def task(*backends: str) -> Task:
    return Task(DEVICE, "cpu", SPEC, WORKLOAD, tuple(map(entrant, backends)), RULES)


@pytest.fixture(scope="module", autouse=True)
def _plugins() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PLUGINS / "working"))
        yield


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with Bench() as bench:
        yield bench


def outcomes(bench: Bench, *backends: str) -> tuple[Outcome, ...]:
    answer = bench.measure(task(*backends))
    assert isinstance(answer, Finished), answer
    assert len(answer.outcomes) == len(backends)
    return answer.outcomes


def assert_timed(outcome: Outcome) -> None:
    assert isinstance(outcome, Timed), outcome
    assert outcome.gpu_us > 0
    assert outcome.call_us == outcome.gpu_us
    assert outcome.plan_us > 0
    assert outcome.noise >= 0
    assert outcome.samples == 2
    assert outcome.floor_fraction > 0


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
    assert steps[:4] == [Step(None, "prepare"), *(Step(i, "check") for i in range(3))]
    assert set(steps[4:]) == {Step(0, "time"), Step(2, "time")}


def test_who_kills_the_process_has_crashed_and_the_others_are_timed() -> None:
    """The caller's numbering holds, whoever is gone."""
    steps: list[Step] = []
    with Bench() as bench:
        answer = bench.measure(
            task("exits_when_checked", "right", "killed_when_timed", "wrong", "torch_sdpa"),
            on_step=steps.append,
        )
    assert isinstance(answer, Finished), answer
    exited, right, killed, wrong, sdpa = answer.outcomes
    assert exited == Failed("crash", "exit status 3 while being checked: abort: the last line")
    assert isinstance(killed, Failed)
    assert killed.kind == "crash"
    assert killed.message.startswith("killed by SIGSEGV while being timed")
    assert isinstance(wrong, Wrong)
    assert_timed(right)
    assert_timed(sdpa)
    assert [step for step in steps if step.entrant == 0] == [Step(0, "check")]
    timed_last = {step.entrant for step in steps[-4:] if step.doing == "time"}
    assert timed_last <= {1, 4}


def test_the_deadline_ends_a_task_and_the_bench_goes_on(note: Path) -> None:
    with Bench() as bench:
        assert bench.measure(task("right"), deadline=time.monotonic() - 1) == OutOfTime()
        start = time.monotonic()
        assert bench.measure(task("hangs"), deadline=start + 0.5) == OutOfTime()
        assert time.monotonic() - start < 60  # not the 300 s of a hang
        assert_timed(*outcomes(bench, "right"))
        later = time.monotonic() + 600
        assert isinstance(bench.measure(task("right"), deadline=later), Finished)
    for pid in noted(note):
        assert ends(pid)


@pytest.fixture
def note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the backend that hangs writes which processes do."""
    path = tmp_path / "hanging"
    monkeypatch.setenv("ODD_BACKENDS_NOTE", str(path))
    return path


def noted(note: Path) -> list[int]:
    return [int(pid) for pid in note.read_text().split()] if note.exists() else []


def ends(pid: int, seconds: float = 30.0) -> bool:
    """Whether it is soon gone, or a zombie that its new parent has not collected."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            return True
        if "State:\tZ" in status:
            return True
        time.sleep(0.05)
    return False


def start_s() -> float:
    """From nothing to a task's end, here and now: a hang must last longer to be one."""
    start = time.monotonic()
    with Bench() as bench:
        outcomes(bench, "right")
    return time.monotonic() - start


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_who_hangs_has_failed_and_leaves_no_process_behind(note: Path) -> None:
    hang_s = round(3 * start_s()) + 1
    with Bench(hang_s=hang_s) as bench:
        hung, right = outcomes(bench, "hangs", "right")
        assert hung == Failed("hang", f"silent for {hang_s} s while being checked")
        assert_timed(right)
        hanging = noted(note)
        assert len(hanging) == 2
        assert all(map(ends, hanging))


PARENT = """
import sys
from kernels_bench.bench import Bench
from kernels_bench.messages import AskAll, Entrant, Task
from kernels_bench.race import Rules
from kernels_bench.spec import AttentionSpec, Device, Pages, Phase, Variant
from kernels_bench.workload import parse_workload

device = Device("cpu", "CPU", "x86_64", 1, 16 << 30, 1 << 10)
spec = AttentionSpec(2, 1, 16, "bfloat16", num_layers=1)
entrants = (Entrant(sys.argv[1], Variant("plain"), Pages(16)),)
rules = Rules(2, 2, 1.0, 1, 1.0)
with Bench() as bench:
    survey = bench.survey(AskAll(device, {"torch": "2.13.0"}, (spec,), (Phase.DECODE,)))
    print(len(survey.answers), flush=True)
    print(bench.measure(Task(device, "cpu", spec, parse_workload("q1s40"), entrants, rules)))
    print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def start_parent(backend: str) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(ROOT), str(PLUGINS / "working")])
    return subprocess.Popen(
        [sys.executable, "-c", PARENT, backend],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )


def test_the_parent_imports_neither_torch_nor_a_plug_in() -> None:
    with start_parent("right") as parent:
        shown, _ = parent.communicate(timeout=120)
    answers, finished, modules = shown.splitlines()
    assert int(answers) >= 3
    assert finished.startswith("Finished(outcomes=(Timed(")
    assert {"torch", "numpy", "odd_backends"} & set(modules.split()) == set()
    assert "kernels_bench" in modules.split()


@pytest.mark.skipif(sys.platform != "linux", reason="prctl(2) is Linux's")
def test_a_parent_that_is_killed_leaves_no_child_behind(note: Path) -> None:
    with start_parent("hangs") as parent:
        deadline = time.monotonic() + 120
        while not noted(note) and time.monotonic() < deadline:
            time.sleep(0.05)
        parent.kill()
    child, compiler = noted(note)
    try:
        assert ends(child)
    finally:
        os.kill(compiler, signal.SIGKILL)


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
        "missing_library", "leaves", "no_attribute", "no_backend", "other_name", "other_api",
        "torch_sdpa",
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


def test_an_import_that_kills_the_child_is_an_error_that_says_how(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_plugin(tmp_path, "fatal", "import os\nos.write(2, b'cannot go on')\nos._exit(7)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    message = "the measuring process ended while asking: exit status 7: cannot go on"
    with Bench() as bench, pytest.raises(WorkerError, match=f"^{message}$"):
        bench.survey(SURVEY)


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


@pytest.mark.parametrize(
    ("cache_bytes", "memory_bytes", "sets"),
    [
        (1, 16 << 30, 1),
        (64 << 10, 16 << 30, 3),  # 3 x 64 KiB over batches of 64 KiB
        (65 << 10, 16 << 30, 4),
        (1 << 30, 16 << 30, 16),
        (1 << 30, 5 << 20, 5),  # a sixteenth of the memory: 320 KiB
        (1 << 30, 1 << 10, 1),
    ],
)
def test_page_sets_cover_the_cache_three_times_in_memory_s_bounds(
    cache_bytes: int, memory_bytes: int, sets: int
) -> None:
    device = replace(DEVICE, last_level_cache_bytes=cache_bytes, memory_bytes=memory_bytes)
    kib_64 = parse_workload("q1s1k")  # 1024 tokens of 64 bytes
    assert page_sets(replace(task("right"), device=device, workload=kib_64)) == sets


class CompilerError(Exception):
    __module__ = "torch._inductor.exc"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("no such tile"), "exception"),
        (MemoryError(), "memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"), "memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 3 GiB"), "memory"),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), "exception"),
        (CompilerError("CppCompileError: C++ compile error"), "compile"),
    ],
    ids=str,
)
def test_what_a_candidate_raises_is_told_apart(error: Exception, kind: str) -> None:
    assert failure(error).kind == kind


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one\ntwo"), "ValueError: one"),
        (ValueError("\n\n  one  \ntwo"), "ValueError: one"),
        (ValueError(), "ValueError: no message"),
    ],
)
def test_an_error_is_one_line(error: Exception, line: str) -> None:
    assert one_line(error) == line
