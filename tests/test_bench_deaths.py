"""Real measuring processes that crash, hang, run out of time or lose their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bench_tasks import (
    PLUGINS,
    ROOT,
    assert_timed,
    examination,
    outcomes,
    rehearsals,
    task,
)
from fakes import write_plugin

import kernels_bench.bench
from kernels_bench.bench import Bench
from kernels_bench.child import Died, OutOfTime
from kernels_bench.helpers import Helpers
from kernels_bench.messages import Examined, Finished, HarnessFailed, Passed, Rehearsed, Step
from kernels_bench.patience import Patience
from kernels_bench.spec import Failed, Timed, Wrong


class ScriptedBench(Bench):
    """Its child answers from a list."""

    def __init__(self, *answers: object) -> None:
        super().__init__()
        self.answers, self.asked = list(answers), list[object]()

    def _ask(self, request: object, *_: object) -> Any:
        self.asked.append(request)
        return self.answers.pop(0)


def test_a_death_that_nobody_is_known_to_have_caused_is_raced_again_one_by_one() -> None:
    timed = Timed(1.0, 1.0, 1.0, 0.01, 5, 0.5)
    together = Died(Step(None, "time"), Failed("crash", "exit status 1: CUDA error"))
    alone = Died(Step(1, "time"), Failed("crash", "exit status 1 while being timed: CUDA error"))
    bench = ScriptedBench(together, alone, Finished((timed,)))
    assert outcomes(bench, "right", "faulty") == (timed, alone.failed)
    assert [each.rules.apart for each in bench.asked] == [False, True, True]  # type: ignore[attr-defined]
    assert isinstance(ScriptedBench(together, together).measure(task("right")), HarnessFailed)


def test_who_was_compiled_in_time_is_loaded_even_if_another_was_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The deadline is past when the slow one has been waited for."""
    compiled = (Rehearsed(9.0, None), OutOfTime())
    monkeypatch.setattr(Helpers, "rehearse", lambda *_: compiled)
    monkeypatch.setattr(kernels_bench.bench, "helpers_for", lambda _: 2)
    deadlines: list[float | None] = []

    def load(
        _bench: Bench, _child: object, _rehearsal: object, deadline: float | None
    ) -> Rehearsed:
        deadlines.append(deadline)
        return Rehearsed(1.0, 1 << 20)

    monkeypatch.setattr(Bench, "_rehearse_in", load)
    with Bench() as bench:
        answers = bench.rehearse(rehearsals("right", "slow"), deadline=time.monotonic() - 1)
    assert answers == (Rehearsed(9.0, 1 << 20), OutOfTime())
    assert deadlines == [None]


@pytest.fixture(scope="module", autouse=True)
def _plugins() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PLUGINS / "working"))
        yield


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


def test_who_kills_the_process_in_a_trial_has_crashed_and_the_others_are_examined() -> None:
    steps: list[Step] = []
    backends = ("right", "exits_when_checked", "wrong", "killed_when_timed", "torch_sdpa")
    with Bench() as bench:
        answer = bench.examine(examination(*backends), on_step=steps.append)
    assert isinstance(answer, Examined), answer
    right, exited, wrong, killed, sdpa = answer.outcomes
    assert right == sdpa == Passed(plan_waits=False)
    assert exited == Failed("crash", "exit status 3 while being checked: abort: the last line")
    assert killed == Failed("crash", "killed by SIGSEGV while being checked")
    assert isinstance(wrong, Wrong)
    checked = [step.entrant for step in steps if step.doing == "check"]
    assert checked == [0, 1, 0, 2, 3, 0, 2, 4]


def test_who_kills_the_process_in_a_rehearsal_has_crashed_and_the_others_are_ready() -> None:
    with Bench() as bench:
        right, exited, again = bench.rehearse(rehearsals("right", "exits_when_checked", "right"))
        assert exited == Failed("crash", "exit status 3 while compiling: abort: the last line")
        for each in (right, again):
            assert isinstance(each, Rehearsed)
            assert each.seconds > 0
        assert_timed(*outcomes(bench, "right"))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_who_is_not_ready_in_time_has_not_compiled_and_leaves_no_process_behind(
    note: Path,
) -> None:
    compile_s = round(3 * start_s()) + 1
    with Bench(Patience(compile_s=compile_s)) as bench:
        hung, right = bench.rehearse(rehearsals("hangs", "right"))
    assert hung == Failed("compile", f"not ready after {compile_s} s")
    assert isinstance(right, Rehearsed)
    assert all(map(ends, noted(note)))


def test_a_run_s_deadline_blames_nobody_for_what_is_not_compiled(note: Path) -> None:
    ready: list[int] = []
    with Bench() as bench:
        answers = bench.rehearse(
            rehearsals("hangs", "right"),
            time.monotonic() + 0.5,
            lambda index, _: ready.append(index),
        )
    assert answers == (OutOfTime(), OutOfTime())
    assert ready == [0, 1]


def last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *statements: str, before: tuple[str, ...] = ()
) -> Failed:
    """Of a backend that executes these when it is bound, after others were rehearsed."""
    body = "\n".join(f"    {each}" for each in statements)
    source = f"""
import os, sys, time
from odd_backends import OddBackend
def act(*_):
{body}
BACKEND = OddBackend("acts", act)
"""
    write_plugin(tmp_path / "plugins", "acts", source)
    monkeypatch.syspath_prepend(str(tmp_path / "plugins"))
    with Bench() as bench:
        *_, answer = bench.rehearse(rehearsals(*before, "acts"))
    assert isinstance(answer, Failed), answer
    return answer


def test_last_words_are_one_s_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = last_words(tmp_path, monkeypatch, "os._exit(5)", before=("prints",))
    assert failed == Failed("crash", "exit status 5 while compiling")


def test_last_words_are_what_can_be_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not what a terminal would obey."""
    said = r"os.write(2, b'\x1b[31mno\x07 card\r\n\x00\n \n')"
    failed = last_words(tmp_path, monkeypatch, said, "os._exit(5)")
    assert failed == Failed("crash", "exit status 5 while compiling: [31mno card")


def test_who_closes_every_file_and_lives_on_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kernels_bench.child._DYING_S", 0.2)
    acts = ("os.closerange(3, 256)", "time.sleep(3600)")
    failed = last_words(tmp_path, monkeypatch, *acts)
    assert failed == Failed("crash", "killed by SIGKILL while compiling")


def test_the_deadline_ends_a_task_and_the_bench_goes_on(note: Path) -> None:
    with Bench() as bench:
        assert bench.measure(task("right"), deadline=time.monotonic() - 1) == OutOfTime()
        start = time.monotonic()
        assert bench.measure(task("hangs"), deadline=start + 0.5) == OutOfTime()
        assert time.monotonic() - start < 60  # not the 600 s of a hang
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
    with Bench(Patience(hang_s=hang_s)) as bench:
        hung, right = outcomes(bench, "hangs", "right")
        assert hung == Failed("hang", f"silent for {hang_s} s while being checked")
        assert_timed(right)
        hanging = noted(note)
        assert len(hanging) == 2
        assert all(map(ends, hanging))


PARENT = """
import sys
import kernels_bench.bench
from kernels_bench.bench import Bench
from kernels_bench.candidates import Entrant
from kernels_bench.messages import AskAll, Task
from kernels_bench.rules import Rules
from kernels_bench.spec import AttentionSpec, Device, Pages, Phase, Variant
from kernels_bench.workload import parse_workload

device = Device("cpu", "CPU", "x86_64", 1, 16 << 30, 1 << 10)
spec = AttentionSpec(2, 1, 16, "bfloat16", num_layers=1)
entrants = (Entrant(sys.argv[1], Variant("plain"), Pages(16)),)
rules = Rules(2, 2, 1.0, 1, 1.0)
with Bench() as bench:
    survey = bench.survey(AskAll(device, {"torch": "2.13.0"}, (spec,), (Phase.DECODE,)))
    print(len(survey.answers), flush=True)
    print(bench.measure(Task(device, "cpu", spec, parse_workload("q1s40"), 4096, entrants, rules)))
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
