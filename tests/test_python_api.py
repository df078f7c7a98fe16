"""The plain Python of `docs/python.md`: asked and measured with little to write."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from cli_runs import CONFIG
from fakes import candidate, install_plugin
from starts import ask, tune

import autotune
from autotune import Asked, ModelRequest, Phase, Question, Serving, TuningBusyError
from autotune.commands.busy import subject_of
from autotune.decision import SplitDecision
from autotune.job import Job
from autotune.profiles import BALANCED
from autotune.wishes import Wishes
from cache import LockPatience, hold_tuning_lock
from kernels_bench.devices import find_device

DOCS = Path(autotune.__file__).parents[1] / "docs"
PAGE = (DOCS / "python.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOTUNE_DISABLE_BACKENDS", "torch_flex,triton_unified")


def test_every_form_of_a_model_is_the_same_question(tiny: str) -> None:
    file = Path(tiny) / "config.json"
    forms = [tiny, Path(tiny), str(file), CONFIG, json.loads(file.read_text())]
    models = [autotune.model_of(form) for form in forms]
    assert len({model.fingerprint for model in models}) == 1
    assert autotune.model_of(models[0]) is models[0]
    assert autotune.choose("llama-3.1-8b").model == "llama-3.1-8b"


def test_how_it_is_served_is_part_of_the_question(tiny: str) -> None:
    split = autotune.model_of(tiny, Serving(dtype="float16", max_model_len=128))
    assert (split.specs[0].dtype, split.max_model_len) == ("float16", 128)
    with pytest.raises(autotune.ModelError, match="--tp 3"):
        autotune.choose(tiny, serving=Serving(tensor_parallel=3))


def test_what_was_asked_for_in_full_is_heard_too(file: Path, tiny: str) -> None:
    question = Question(autotune.load_model(ModelRequest(tiny)), "any", "balanced")
    asked = Asked(question, find_device("cpu"))
    assert autotune.choose(asked, file).state == "default"


def test_the_environment_is_heard(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOTUNE_BACKEND", "torch_sdpa")
    assert autotune.choose(tiny).state == "override"
    monkeypatch.setenv("AUTOTUNE_MODE", "sometimes")
    with pytest.raises(autotune.UsageError, match="AUTOTUNE_MODE"):
        autotune.choose(tiny)


def test_a_broken_cache_is_told_and_not_raised(tiny: str, file: Path) -> None:
    file.write_text("no database")
    choice = autotune.choose(tiny)
    assert (choice.state, len(choice.unread)) == ("default", 1)


def test_nothing_imports_torch(tiny: str) -> None:
    source = (
        "import sys, autotune\n"
        f"choice = autotune.choose({tiny!r})\n"
        "autotune.seat(choice, 'full', autotune.Phase.DECODE)\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", source]).returncode == 0


def test_it_measures_from_a_thread_and_answers_from_then_on(tiny: str) -> None:
    warmed = list[autotune.Warmed]()
    thread = threading.Thread(target=lambda: warmed.append(autotune.warm(tiny, budget_s=60)))
    thread.start()
    thread.join()
    (done,) = warmed
    assert done.report.measured > 0
    assert done.choice.state == "exact"
    assert autotune.choose(tiny).decision == done.choice.decision
    assert autotune.warm(tiny).report.measured == 0


def test_it_measures_for_a_script_without_a_guard(tiny: str, tmp_path: Path) -> None:
    source = f"import autotune; print(autotune.warm({tiny!r}, budget_s=60).choice.state)"
    done = subprocess.run(
        [sys.executable, "-"], input=source, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stdout == "exact\n"


def test_two_at_once_are_told_apart(tiny: str, file: Path) -> None:
    model = autotune.model_of(tiny)
    job = Job(model, find_device("auto"), BALANCED, Wishes("any"))
    patience = LockPatience(0.0, lambda _: None, lambda _: None)
    with hold_tuning_lock(subject_of(job, file), patience), pytest.raises(TuningBusyError):
        autotune.warm(tiny, wait=False)


# From a choice to a kernel


def test_a_split_seats_each_phase(file: Path, plugins: Path) -> None:
    tune(file)
    alone = ask(file)
    assert {autotune.seat(alone, "full", phase).backend for phase in Phase} == {"swift"}
    phases = {phase.value: candidate("swift") for phase in Phase}
    seats = {"full": phases | {"decode": candidate("steady")}}
    assert alone.decision is not None
    split = replace(alone.decision, split=SplitDecision(seats, 0.8, 0.1, 0.01, 0.0))
    both = replace(alone, decision=split)
    assert autotune.seat(both, "full", Phase.DECODE).backend == "steady"
    assert autotune.seat(both, "full", Phase.PREFILL).backend == "swift"


def test_nobody_who_can_run_is_an_error_with_the_reasons(tiny: str) -> None:
    choice = replace(autotune.choose(tiny), candidate=None, why="no backend can run tiny: arch")
    with pytest.raises(autotune.NoBackendError, match="no backend can run tiny: arch"):
        autotune.seat(choice, "full", Phase.DECODE)


def test_a_backend_that_is_gone_is_an_error(tiny: str) -> None:
    model, found = autotune.model_of(tiny), find_device("cpu")
    candidate = autotune.seat(autotune.choose(tiny), "full", Phase.DECODE)
    spec = model.specs[0]
    assert autotune.load(candidate, spec, found).pages == candidate.pages
    with pytest.raises(autotune.NoBackendError, match="no such backend"):
        autotune.load(replace(candidate, backend="gone"), spec, found)
    with pytest.raises(autotune.NoBackendError, match="no such variant"):
        autotune.load(replace(candidate, variant="gone"), spec, found)


# The page, and the engine on it


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_of_the_page_runs(block: str) -> None:
    exec(compile(block.replace("llama-3.1-8b", "llama-3.2-1b"), "python.md", "exec"), {})


def run_engine(*options: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(DOCS / "paged_engine.py"), *options]
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environ}, cwd="/"
    )


def test_the_engine_runs_before_and_after_it_is_measured() -> None:
    before = run_engine()
    assert before.returncode == 0, before.stderr
    assert before.stdout.startswith("default: torch_sdpa")
    after = run_engine("--warm")
    assert after.returncode == 0, after.stderr
    assert "exact: " in after.stdout
    assert "from plain attention" in after.stdout


WRONG = """
from kernels_bench.backends.torch_sdpa import BACKEND as SDPA

class Wrong:
    name = "wrong"
    variants, supports = SDPA.variants, SDPA.supports

    def prepare(self, variant, spec, batch):
        batch.block_table = batch.block_table.flip(1)
        return SDPA.prepare(variant, spec, batch)

BACKEND = Wrong()
"""


def test_the_engine_notices_a_backend_that_reads_the_wrong_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_plugin(monkeypatch, tmp_path, "'wrong'")
    (tmp_path / "wrong.py").write_text(WRONG)
    done = run_engine(AUTOTUNE_BACKEND="wrong", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "computes something else" in done.stderr
