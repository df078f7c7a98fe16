"""The plain Python of `docs/python.md`: asked and measured with little to write."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from cli_runs import CONFIG
from fakes import write_plugin
from starts import MODEL

import autotune
from autotune import Asked, ModelRequest, Question, TuningBusyError
from autotune.job import Job, subject_of
from autotune.profiles import BALANCED
from autotune.wishes import Wishes
from cache import LockPatience, hold_tuning_lock
from kernels_bench.devices import find_device

PAGE = (Path(autotune.__file__).parents[1] / "docs" / "python.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOTUNE_DISABLE_BACKENDS", "torch_flex,triton_unified")


# Asked


def test_every_form_of_a_model_is_the_same_question(tiny: str) -> None:
    file = Path(tiny) / "config.json"
    forms = [tiny, Path(tiny), str(file), CONFIG, json.loads(file.read_text())]
    models = [autotune.model_of(form) for form in forms]
    assert len({model.fingerprint for model in models}) == 1
    assert autotune.model_of(models[0]) is models[0]
    assert autotune.choose("llama-3.1-8b").model == "llama-3.1-8b"


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ({"_name_or_path": "org/Small-8B"}, "Small-8B"),
        ({"_name_or_path": "/models/small/"}, "small"),
        ({"_name_or_path": ""}, "llama"),
        ({"_name_or_path": "two\nlines"}, "model"),
    ],
)
def test_a_mapping_names_its_model(said: dict[str, str], name: str) -> None:
    assert autotune.model_of(CONFIG | said).name == name


def test_how_it_is_served_is_part_of_the_question(tiny: str) -> None:
    served = autotune.model_of(tiny, dtype="float16", max_model_len=128, tensor_parallel=2)
    assert (served.specs[0].dtype, served.max_model_len) == ("float16", 128)
    assert served.specs[0].num_q_heads == 1
    with pytest.raises(autotune.ModelError, match="--tp 3"):
        autotune.choose(tiny, tensor_parallel=3)


@pytest.mark.parametrize(
    ("model", "how", "told"),
    [
        (MODEL, {"tensor_parallel": 2}, "a ModelConfig says how it is served"),
        (17, {}, "found int"),
        ("llama-3.1-8b", {"engine": "vlm"}, "expected one of any, vllm, sglang"),
        (CONFIG | {"head_dim": "wide"}, {}, "field 'head_dim'"),
        ("no-such-model", {}, "no-such-model"),
        ("llama-3.1-8b", {"profile": "no-such-profile"}, "no-such-profile"),
        ("llama-3.1-8b", {"device": "cuda:9"}, "cuda:9 is not here"),
    ],
)
def test_what_makes_no_sense_is_an_error_of_ours(model: Any, how: Any, told: str) -> None:
    for call in (autotune.choose, autotune.warm):
        with pytest.raises(autotune.AutotuneError, match=re.escape(told)):
            call(model, **how)


def test_a_budget_is_a_time(tiny: str) -> None:
    for budget_s in (0.0, -1.0, float("nan")):
        with pytest.raises(autotune.UsageError, match="budget_s"):
            autotune.warm(tiny, budget_s=budget_s)


def test_what_was_asked_for_in_full_is_heard_too(file: Path, tiny: str) -> None:
    question = Question(autotune.load_model(ModelRequest(tiny)), "any", "balanced")
    asked = Asked(question, find_device("cpu"))
    layers = autotune.find_layers(file, {})
    answers = [autotune.choose(asked, cache) for cache in (None, file, str(file), layers)]
    assert {answer.state for answer in answers} == {"default"}


def test_the_environment_is_heard(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOTUNE_BACKEND", "torch_sdpa")
    assert autotune.choose(tiny).state == "override"
    monkeypatch.setenv("AUTOTUNE_BACKEND", "no_such_backend")
    assert autotune.choose(tiny).state == "default"
    with pytest.raises(autotune.UsageError, match="no_such_backend"):
        autotune.choose(tiny, strict=True)
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
        f"model = autotune.model_of({tiny!r})\n"
        "choice = autotune.choose(model)\n"
        "kernels = autotune.load(choice, model)\n"
        "assert kernels.of('full', autotune.phase_of([1], [9])).label\n"
        "assert 'autotune.tuner' not in sys.modules\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", source]).returncode == 0


# Measured


def test_it_measures_from_a_thread_and_answers_from_then_on(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch  # noqa: F401 - an engine has it

    source = "from fakes import *\nBACKEND = refusing('shy', 'arch odd: no')\n"
    write_plugin(tmp_path, "shy", source)
    monkeypatch.syspath_prepend(str(tmp_path))
    warmed = list[autotune.Warmed]()
    threads = list[int]()

    def measure() -> None:
        done = autotune.warm(tiny, budget_s=60, on_progress=lambda _: threads.append(here()))
        warmed.append(done)

    here = threading.get_ident
    thread = threading.Thread(target=measure)
    thread.start()
    thread.join()
    (done,) = warmed
    assert done.report.measured > 0
    assert set(threads) == {thread.ident}
    assert done.choice.state == "exact"
    assert {(answer.backend, answer.support.reasons[0].text) for answer in done.rejected} >= {
        ("shy", "arch odd: no")
    }
    assert (done.wrong, done.failed, done.also) == ((), (), ())
    assert autotune.choose(tiny).decision == done.choice.decision
    assert autotune.choose(CONFIG).state == "exact"
    assert autotune.warm(tiny).report.measured == 0


def test_it_measures_for_a_script_without_a_guard(tiny: str, tmp_path: Path) -> None:
    source = (
        f"import torch\nimport autotune\nprint(autotune.warm({tiny!r}, budget_s=60).choice.state)\n"
    )
    (tmp_path / "cache.py").write_text("raise AssertionError('a stranger ran')\n")
    done = subprocess.run(
        [sys.executable, "-"], input=source, capture_output=True, text=True, cwd=tmp_path
    )
    assert (done.stdout, done.returncode) == ("exact\n", 0), done.stderr


def test_what_an_override_says_is_no_part_of_what_was_measured(
    tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOTUNE_BACKEND", "torch_sdpa")
    monkeypatch.setenv("AUTOTUNE_MODE", "off")
    assert autotune.warm(tiny, max_model_len=64).choice.state == "exact"


def test_whom_nobody_can_run_is_told_and_not_raised() -> None:
    done = autotune.warm(CONFIG | {"model_type": "mamba"})
    assert done.report.decision is None
    assert done.choice.candidate is None
    assert "mamba" in done.choice.why


def test_two_at_once_are_told_apart(
    tiny: str, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job = Job(autotune.model_of(tiny), find_device("auto"), BALANCED, Wishes("any"))
    caplog.set_level(logging.INFO, "autotune")
    with hold_tuning_lock(subject_of(job, file), LockPatience()):
        with pytest.raises(TuningBusyError):
            autotune.warm(tiny, wait=False)
        assert "waiting for" not in caplog.text
        with pytest.raises(TuningBusyError):
            autotune.warm(tiny, budget_s=0.3)
        assert "waiting for process" in caplog.text


# The page


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_of_the_page_runs(block: str) -> None:
    exec(compile(block.replace("llama-3.1-8b", "llama-3.2-1b"), "python.md", "exec"), {})


def test_the_page_names_what_there_is() -> None:
    told = set(re.findall(r"\bautotune\.([a-zA-Z_]\w*)", PAGE))
    assert [name for name in told if not hasattr(autotune, name)] == []
    fields = set(re.findall(r"`choice\.(\w+)", PAGE))
    assert fields
    assert [name for name in fields if not hasattr(autotune.choose(CONFIG), name)] == []
    errors = {name for name in re.findall(r"`(\w+Error)`", PAGE)}
    known = {*autotune.__all__, "WorkerError"}
    assert errors <= known
