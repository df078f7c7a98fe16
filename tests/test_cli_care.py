"""`autotune cache` and several layers, prune, doctor; `warm --no-wait`: in this process."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cache_examples import DECISION, DEVICE, MODEL, REJECTED, TIMED, tamper, write_schema_1
from cli_runs import CHOICE, error, run, run_json, tune
from fakes import write_distribution
from test_cache_files import die_half_way
from test_cache_tuning import holding

import cache
from autotune._store import Store, TuningSubject, group_evidence, list_decisions
from autotune.keys import device_key
from autotune.models import ModelRequest, load_model
from autotune.records import device_of
from kernels_bench.devices import find_device

ROOT = Path(cache.__file__).parents[1]
TESTS = Path(__file__).parent
A100 = replace(DEVICE, name="NVIDIA A100-SXM4-80GB", arch="sm_80", multiprocessors=108)


@pytest.fixture(autouse=True)
def bundles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Without a compiler, and with nothing that an image brought."""
    monkeypatch.setenv("AUTOTUNE_DISABLE_BACKENDS", "torch_flex")
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "env"))
    return tmp_path / "env" / "share" / "attn-autotune"


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What AUTOTUNE_FLEET_CACHE names."""
    monkeypatch.setenv("AUTOTUNE_FLEET_CACHE", str(tmp_path / "fleet" / "a.db"))
    return tmp_path / "fleet" / "a.db"


def put(file: Path, **fields: Any) -> int:
    """A decision on a question of its own; `model`, `device` and `at` besides its columns."""
    device, model = fields.pop("device", DEVICE), fields.pop("model", MODEL.name)
    device = replace(device, key=device_key(device_of(device)))
    at = fields.pop("at", f"2026-01-0{1 + len(list_decisions(file))}T00:00:00+00:00")
    fingerprint = json.dumps({"specs": [{"head_dim": 64, "of": model}]})
    with Store.open(file) as store:
        store.put_device(device)
        store.put_model(replace(MODEL, fingerprint=fingerprint, name=model))
        row = replace(
            DECISION,
            question=json.dumps([model, at, fields.get("engine", ""), fields.get("profile", "")]),
            device_key=device.key,
            model_fingerprint=fingerprint,
            provenance=replace(DECISION.provenance, created_at=at),
        )
        return store.put_decision(replace(row, **fields))


def put_three(file: Path) -> None:
    put(file, model="llama", engine="vllm", backend="triton", speedup_vs_default=1.2)
    put(file, model="gemma", engine="sglang", profile="chat", device=A100, speedup_vs_default=None)
    put(file, model="llama", engine="any", profile="chat", variant="plain", speedup_vs_default=3.0)


def ids(*arguments: str) -> list[int]:
    return [row["id"] for row in run_json("cache", "ls", *arguments)["decisions"]]


def columns(text: str) -> list[str]:
    """The ids of a table."""
    return re.findall(r"^ ((?:\w+:)?\d+) ", text, re.MULTILINE)


def execute(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()


def text_file(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("no database\n" * 500)
    return path


# path


def test_the_files_that_are_read_and_why(
    bundles: Path, file: Path, fleet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(file)
    bundles.mkdir(parents=True)
    (bundles / "image.db").touch()
    result = run("cache", "path")
    assert result.stdout == f"{file}\n"
    assert result.stderr.splitlines() == [
        "read in this order, the first that answers wins:",
        f"  1. user: {file} (AUTOTUNE_CACHE)",
        f"  2. fleet: {fleet} (AUTOTUNE_FLEET_CACHE, not there)",
        f"  3. bundle: {bundles / 'image.db'} (in {bundles})",
    ]
    put_three(fleet)
    monkeypatch.setenv("AUTOTUNE_CACHE_ORDER", "bundle,fleet")
    other = file.with_name("other.db")
    found = run_json("cache", "path", "--cache", str(other))
    assert (found["path"], found["why"], found["exists"]) == (str(other), "--cache", False)
    assert [tuple(each.values()) for each in found["layers"]] == [
        ("bundle", str(bundles / "image.db"), f"in {bundles}", True, False),
        ("fleet", str(fleet), "AUTOTUNE_FLEET_CACHE", True, False),
        ("user", str(other), "--cache", False, True),
    ]
    assert set(found["layers"][0]) == {"layer", "path", "why", "exists", "written"}
    assert not other.exists()


def test_an_order_that_makes_no_sense_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOTUNE_CACHE_ORDER", "fleet,site")
    for command in (["path"], ["ls"], ["doctor"]):
        said = error("cache", *command)
        assert "AUTOTUNE_CACHE_ORDER names 'site'; name some of user, fleet, bundle" in said
        assert said.count("\n") == 1


# ls, show, rm


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ([], [3, 2, 1]),
        (["--model", "llama"], [3, 1]),
        (["--model", "llama", "--model", "gemma"], [3, 2, 1]),
        (["--device", "h100"], [3, 1]),
        (["--device", "A100-SXM4-80GB"], [2]),
        (["--device", "nvidia"], [3, 2, 1]),
        (["--device", "mi300"], []),
        (["--device", "cpu"], []),
        (["--engine", "vllm"], [1]),
        (["--engine", "vllm", "--engine", "any"], [3, 1]),
        (["--profile", "chat"], [3, 2]),
        (["--backend", "triton"], [1]),
        (["--model", "llama", "--profile", "chat"], [3]),
        (["--model", "gemma", "--device", "h100"], []),
        (["--model", "nobody"], []),
    ],
)
def test_the_filters(file: Path, filters: list[str], expected: list[int]) -> None:
    put_three(file)
    found = run_json("cache", "ls", *filters)
    assert [row["id"] for row in found["decisions"]] == expected
    assert found["total"] == len(expected)
    assert columns(run("cache", "ls", *filters).stdout) == [str(each) for each in expected]


def test_what_is_not_there_is_told_on_stderr(file: Path) -> None:
    put_three(file)
    assert run("cache", "ls", "--model", "nobody").stderr == (
        f"{file} holds no such decision; autotune cache ls lists what is there\n"
    )
    said = run("cache", "ls", "--device", "mi300").stderr
    assert said.startswith(f"no decision for device 'mi300'; {file} knows: NVIDIA H100 80GB HBM3")
    assert "NVIDIA A100-SXM4-80GB" in said


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("measured", [3, 2, 1]),
        ("model", [2, 3, 1]),
        ("device", [2, 3, 1]),
        ("engine", [3, 2, 1]),
        ("profile", [1, 3, 2]),
        ("winner", [2, 3, 1]),
        ("speedup", [3, 1, 2]),
    ],
)
def test_the_order(file: Path, sort: str, expected: list[int]) -> None:
    put_three(file)
    assert ids("--sort", sort) == expected
    backwards = ids("--sort", sort, "--reverse")
    assert sorted(backwards) == sorted(expected)
    assert backwards[0] == {"model": 3, "device": 3, "profile": 3}.get(sort, expected[-1])


def test_pages(file: Path) -> None:
    put_three(file)
    assert ids("--limit", "2") == [3, 2]
    assert ids("--limit", "2", "--offset", "1") == [2, 1]
    assert ids("--offset", "2") == [1]
    assert ids("--limit", "0") == [3, 2, 1]
    assert ids("--offset", "3") == []
    assert run_json("cache", "ls", "--limit", "1")["total"] == 3
    assert run_json("cache", "ls", "--model", "llama", "--limit", "1")["total"] == 2
    result = run("cache", "ls", "--limit", "1")
    assert columns(result.stdout) == ["3"]
    assert result.stderr == "2 more: --limit 0 lists all, --offset N goes on\n"
    assert run("cache", "ls", "--offset", "9").stderr == f"no more than 3 decisions in {file}\n"


def test_on_the_last_page_nothing_more_is_promised(file: Path) -> None:
    put_three(file)
    assert "more" not in run("cache", "ls", "--offset", "2").stderr


def test_a_terminal_gets_fifty_and_a_script_all(file: Path) -> None:
    for number in range(53):
        put(file, model=f"model {number}", at=f"2026-02-02T00:00:{number:02}+00:00")
    result = run("cache", "ls")
    assert columns(result.stdout) == [str(number) for number in range(53, 3, -1)]
    assert result.stderr.startswith("3 more: ")
    assert len(columns(run("cache", "ls", "--limit", "0").stdout)) == len(ids()) == 53


def test_several_layers(
    bundles: Path, file: Path, fleet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(file, model="llama")
    put_three(fleet)
    bundles.mkdir(parents=True)
    put(bundles / "image.db", model="gemma", device=A100)
    assert columns(run("cache", "ls").stdout) == ["1", "fleet:3", "fleet:2", "fleet:1", "bundle:1"]
    found = run_json("cache", "ls", "--limit", "1")
    assert [(row["layer"], row["id"]) for row in found["decisions"]] == [
        ("user", 1), ("fleet", 3), ("bundle", 1),
    ]  # fmt: skip
    assert found["total"] == 5
    assert columns(run("cache", "ls", "--model", "gemma").stdout) == ["fleet:2", "bundle:1"]
    monkeypatch.setenv("AUTOTUNE_CACHE_ORDER", "bundle")
    assert columns(run("cache", "ls").stdout)[0] == "bundle:1"
    monkeypatch.setenv("AUTOTUNE_FLEET_CACHE", f"/nowhere/a.db{os.pathsep}{fleet}")
    assert columns(run("cache", "ls", "--model", "gemma").stdout) == ["bundle:1", "fleet2:2"]


def test_a_layer_that_cannot_be_read_is_told_and_left_out(file: Path, fleet: Path) -> None:
    put(file)
    text_file(fleet)
    result = run("cache", "ls")
    assert columns(result.stdout) == ["1"]
    assert result.stderr.startswith(f"autotune: warning: cache {fleet}: not a SQLite file; ")
    assert error("cache", "show", "fleet:1").startswith(f"autotune: cache {fleet}: not a SQLite")


def test_a_fleet_file_that_is_not_there_is_told(file: Path, fleet: Path) -> None:
    put(file)
    result = run("cache", "ls")
    assert columns(result.stdout) == ["1"]
    assert f"cache {fleet}: not there" in result.stderr


def test_the_user_s_own_file_that_cannot_be_read_is_an_error(file: Path, fleet: Path) -> None:
    put(fleet)
    text_file(file)
    for command in (["ls"], ["show", "1"], ["rm", "1"], ["prune", "--keep", "1"]):
        said = error("cache", *command)
        assert said.startswith(f"autotune: cache {file}: not a SQLite file; ")
        assert said.count("\n") == 1


def test_one_of_another_layer_is_shown_and_never_removed(
    tiny: str, file: Path, fleet: Path
) -> None:
    fleet.parent.mkdir()
    tune(fleet, tiny)
    shown = run_json("cache", "show", "fleet:1")
    assert (shown["layer"], shown["id"], shown["model"]) == ("fleet", 1, "tiny")
    assert shown["measurements"]
    assert run("cache", "show", "fleet:1").stdout.startswith("decision 1: torch_sdpa:padded")
    before = fleet.read_bytes()
    assert error("cache", "rm", "fleet:1", code=2) == (
        "autotune: fleet:1: only the user's file is written, others are read-only\n"
    )
    assert "no decision 1" in error("cache", "rm", "1")
    tune(file, tiny)
    error("cache", "rm", "1", "fleet:1", code=2)
    assert len(list_decisions(file)) == 1
    assert "no such layer; there are: user, fleet" in error("cache", "show", "site:1", code=2)
    assert "no decision 9" in error("cache", "show", "fleet:9")
    error("cache", "show", "fleet:", code=2)
    assert run_json("cache", "rm", "user:1") == {"schema": 1, "removed": [1]}
    assert fleet.read_bytes() == before
    assert {each.name for each in fleet.parent.iterdir()} == {fleet.name}


# prune


OLD = "2020-01-01T00:00:00+00:00"


def test_prune_asks_what_is_to_go(file: Path) -> None:
    put_three(file)
    before = file.read_bytes()
    for more in ([], ["--dry-run"], ["--json"]):
        said = error("cache", "prune", *more, code=2)
        assert "say what is to go: --older-than, --keep, --unreachable" in said
    for wrong in (["--older-than", "soon"], ["--keep", "0"]):
        error("cache", "prune", *wrong, code=2)
    assert file.read_bytes() == before


def test_prune_what_is_old(file: Path, fleet: Path) -> None:
    put_three(file)
    put_three(fleet)
    execute_all = "UPDATE decisions SET created_at = strftime('%Y-%m-%dT%H:%M:%S+00:00', 'now'"
    tamper(file, f"{execute_all}, '-91 days') WHERE id = 1")
    tamper(file, f"{execute_all}, '-89 days') WHERE id > 1")
    before, untouched = file.read_bytes(), fleet.read_bytes()
    rehearsal = run("cache", "prune", "--older-than", "90d", "--dry-run")
    assert rehearsal.stdout.startswith("Would go")
    assert columns(rehearsal.stdout) == ["1"]
    assert rehearsal.stderr == "1 decisions and 0 measurements would be removed\n"
    assert file.read_bytes() == before
    result = run("cache", "prune", "--older-than", "90d")
    assert result.stdout.startswith("Removed")
    assert result.stderr == "1 decisions and 0 measurements removed\n"
    assert [each.id for each in list_decisions(file)] == [3, 2]
    assert run("cache", "prune", "--older-than", "90d").stderr.startswith("0 decisions and 0 ")
    assert fleet.read_bytes() == untouched


@pytest.mark.parametrize("age", ["999999d", "999999999d", "999999999h"])
def test_nothing_is_older_than_the_calendar(file: Path, age: str) -> None:
    put_three(file)
    assert run_json("cache", "prune", "--older-than", age)["decisions"] == []


def test_prune_keeps_the_newest_of_each_question(tiny: str, file: Path) -> None:
    tune(file, tiny)
    (row,) = (each.decision for each in list_decisions(file))
    with Store.open(file) as store:
        for number in range(3):
            origin = replace(row.provenance, created_at=f"2020-01-0{1 + number}T00:00:00+00:00")
            versions = json.dumps({**json.loads(row.versions), "torch": f"1.{number}"})
            store.put_decision(replace(row, versions=versions, provenance=origin))
    payload = run_json("cache", "prune", "--keep", "2", "--dry-run")
    assert payload == {
        "schema": 1,
        "dry_run": True,
        "decisions": [{"id": number, "why": "2 newer ones stay"} for number in (3, 2)],
        "measurements": 0,
        "misses": 0,
    }
    assert len(list_decisions(file)) == 4
    assert run_json("cache", "prune", "--keep", "2") == payload | {"dry_run": False}
    assert [each.id for each in list_decisions(file)] == [1, 4]
    run("cache", "prune", "--keep", "1")
    assert [each.id for each in list_decisions(file)] == [1]
    assert run_json("choose", "--model", tiny, "--device", "cpu")["state"] == "exact"


def test_prune_what_no_start_here_takes(
    tiny: str, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_three(file)  # for devices elsewhere
    write_distribution(tmp_path / "old", "torch", "1.13")
    with monkeypatch.context() as other_stack:
        other_stack.syspath_prepend(str(tmp_path / "old"))
        tune(file, tiny)
    assert run_json("cache", "prune", "--unreachable")["decisions"] == []
    tune(file, tiny)
    groups = {each.versions: each.count for each in group_evidence(file)}
    payload = run_json("cache", "prune", "--unreachable")
    assert payload["decisions"] == [
        {"id": 4, "why": "another was decided for what is installed today"}
    ]
    gone = {text for text in groups if '"1.13"' in text}
    assert payload["measurements"] == sum(groups[text] for text in gone) > 0
    assert {each.versions for each in group_evidence(file)} == set(groups) - gone
    assert {each.id for each in list_decisions(file)} == {1, 2, 3, 5}
    assert run_json("choose", "--model", tiny, "--device", "cpu")["state"] == "exact"
    assert run_json("cache", "doctor")["files"][0]["findings"][-1]["level"] == "note"


def test_measurements_go_with_their_last_decision_and_the_file_shrinks(
    tiny: str, file: Path
) -> None:
    tune(file, tiny)
    tamper(file, f"UPDATE decisions SET created_at = '{OLD}'")
    count, size = sum(each.count for each in group_evidence(file)), file.stat().st_size
    result = run("cache", "prune", "--older-than", "1d")
    assert result.stderr == f"1 decisions and {count} measurements removed\n"
    assert (list_decisions(file), group_evidence(file)) == ((), ())
    assert file.stat().st_size < size
    assert [each["what"] for each in findings("cache", "doctor")] == []


def findings(*arguments: str, code: int = 0) -> list[dict[str, str]]:
    """Of the user's file."""
    (own,) = [each for each in run_json(*arguments, code=code)["files"] if each["layer"] == "user"]
    found: list[dict[str, str]] = own["findings"]
    return found


def test_measurements_that_no_decision_needs_are_pruned_by_their_age(tiny: str, file: Path) -> None:
    tune(file, tiny)
    tamper(file, f"UPDATE measurements SET created_at = '{OLD}'")
    run("cache", "rm", "1")
    count = sum(each.count for each in group_evidence(file))
    assert run_json("cache", "prune", "--older-than", "1d")["measurements"] == count
    assert group_evidence(file) == ()


def test_prune_removes_the_orphans_that_the_doctor_sends_to_it(tiny: str, file: Path) -> None:
    tune(file, tiny)
    run("cache", "rm", "1", "--evidence")
    assert [each["remedy"] for each in findings("cache", "doctor")] == [
        "autotune cache prune removes them"
    ] * 2
    run("cache", "prune", "--keep", "1")
    assert findings("cache", "doctor") == []


def test_to_prune_what_is_not_there_makes_nothing(file: Path) -> None:
    assert run_json("cache", "prune", "--keep", "1")["decisions"] == []
    assert run("cache", "prune", "--older-than", "1d").stderr.startswith("0 decisions")
    assert not file.exists()


TUNER = """
import sys
from pathlib import Path
from cache import Store
from cache_examples import DECISION, DEVICE, MODEL, REJECTED, TIMED
with Store.open(Path(sys.argv[1])) as store:
    store.put_device(DEVICE)
    store.put_model(MODEL)
    store.put_measurements([REJECTED])
    print("measured", flush=True)
    sys.stdin.readline()
    store.put_measurements([TIMED])
    store.put_decision(DECISION)
"""


def test_prune_takes_no_model_away_from_a_tuner(file: Path) -> None:
    with Store.open(file) as store:
        store.put_device(DEVICE)
        store.put_model(MODEL)
        row = replace(DECISION, question="of old")
        store.put_decision(replace(row, provenance=replace(row.provenance, created_at=OLD)))
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(TESTS)])}
    with subprocess.Popen(
        [sys.executable, "-c", TUNER, str(file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environ,
    ) as tuner:
        assert tuner.stdout is not None
        assert tuner.stdout.readline() == "measured\n"
        # No decision of today rests on what it measured, and its model has none.
        assert len(run_json("cache", "prune", "--older-than", "1000d")["decisions"]) == 1
        with closing(sqlite3.connect(file)) as connection:
            assert connection.execute("SELECT count(*) FROM models").fetchone() == (0,)
        tuner.communicate("\n", timeout=60)
    assert tuner.returncode == 0
    (stored,) = list_decisions(file)
    assert (stored.decision, stored.device, stored.model) == (DECISION, DEVICE, MODEL)
    assert {each.versions for each in group_evidence(file)} == {TIMED.versions, REJECTED.versions}
    assert not [each for each in findings("cache", "doctor") if each["level"] == "error"]


# doctor


def test_the_doctor_of_a_healthy_file(tiny: str, file: Path) -> None:
    tune(file, tiny)
    result = run("cache", "doctor")
    assert result.stdout.splitlines() == [
        f"user: {file} (AUTOTUNE_CACHE): well",
        "  note: decisions: 1 for this machine as it is",
    ]
    assert run_json("cache", "doctor") == {
        "schema": 1,
        "files": [
            {
                "layer": "user",
                "path": str(file),
                "why": "AUTOTUNE_CACHE",
                "findings": [
                    {
                        "level": "note",
                        "what": "decisions: 1 for this machine as it is",
                        "remedy": "",
                    }
                ],
            }
        ],
    }


def test_the_doctor_of_nothing_makes_nothing(file: Path) -> None:
    assert run("cache", "doctor").stdout.splitlines() == [
        f"user: {file} (AUTOTUNE_CACHE): well",
        "  note: not there: it is empty, and the first tuning makes it",
    ]
    assert not file.exists()


def test_the_doctor_says_whom_the_decisions_fit(
    tiny: str, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_three(file)
    tune(file, tiny)
    write_distribution(tmp_path / "newer", "torch", "9.9.9")
    monkeypatch.syspath_prepend(str(tmp_path / "newer"))
    told = [each["what"] for each in findings("cache", "doctor")]
    assert "decisions: 3 for devices elsewhere, 1 for this machine with other versions" in told
    assert "1 decisions are for other versions than those installed" in told


def test_damage_anywhere_is_exit_1_and_repair_mends_the_user_s_file_alone(
    tiny: str, file: Path, fleet: Path
) -> None:
    tune(file, tiny)
    tune_into(fleet, tiny)
    execute(file, "UPDATE measurements SET gpu_us = 1 WHERE id = 2")
    execute(fleet, "UPDATE measurements SET gpu_us = 1 WHERE id = 3")
    old, untouched = file.read_bytes(), fleet.read_bytes()
    result = run("cache", "doctor", code=1)
    assert f"user: {file} (AUTOTUNE_CACHE): damaged" in result.stdout
    assert "error: measurements 2: checksum does not fit what the row holds" in result.stdout
    assert f"fleet: {fleet} (AUTOTUNE_FLEET_CACHE): damaged" in result.stdout
    levels = [each["level"] for each in findings("cache", "doctor", code=1)]
    assert levels == ["error", "note"]
    assert file.read_bytes() == old

    mended = run("cache", "doctor", "--repair", code=1)  # the fleet's is as it was
    assert f"user: {file} (AUTOTUNE_CACHE): well" in mended.stdout
    match = re.fullmatch(
        rf"{re.escape(str(file))}: \d+ rows saved, 1 damaged rows left out;"
        r" the old file is (\S+)\n",
        mended.stderr,
    )
    assert match is not None
    kept = Path(match[1])
    assert kept.name.startswith("autotune.db.damaged.")
    assert kept.read_bytes() == old
    assert fleet.read_bytes() == untouched
    assert {each.name for each in fleet.parent.iterdir()} == {fleet.name}
    assert run_json("choose", "--model", tiny, "--device", "cpu")["cache"] == str(file)


def tune_into(path: Path, model: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tune(path, model)


def test_what_was_repaired_as_json(tiny: str, file: Path) -> None:
    tune(file, tiny)
    rows = sum(each.count for each in group_evidence(file)) + 3
    execute(file, "DELETE FROM models")
    payload = run_json("cache", "doctor", "--repair")
    repaired = payload["repaired"]
    assert set(repaired) == {"rows", "left_out", "unreadable", "old_file"}
    assert (repaired["rows"], repaired["left_out"], repaired["unreadable"]) == (rows - 2, 1, 0)
    assert Path(repaired["old_file"]).exists()
    assert [each["level"] for each in payload["files"][0]["findings"]] == ["note"]
    again = run_json("cache", "doctor", "--repair")
    assert again["repaired"] is None


@pytest.mark.parametrize("state", ["healthy", "missing", "empty", "old", "with bad JSON"])
def test_nothing_to_repair(tiny: str, file: Path, state: str) -> None:
    match state:
        case "healthy":
            tune(file, tiny)
        case "empty":
            file.touch()
        case "old":
            write_schema_1(file, DEVICE, MODEL, DECISION)
        case "with bad JSON":
            tune(file, tiny)
            tamper(file, "UPDATE decisions SET per_kind = '{'")
    before = file.read_bytes() if file.exists() else None
    code = 1 if state == "with bad JSON" else 0
    assert run("cache", "doctor", "--repair", code=code).stderr == f"{file}: nothing to repair\n"
    assert run_json("cache", "doctor", "--repair", code=code)["repaired"] is None
    assert (file.read_bytes() if file.exists() else None) == before
    assert [each.name for each in file.parent.glob("autotune.db.*")] == []


def test_a_decision_of_bad_json_is_named_with_what_removes_it(tiny: str, file: Path) -> None:
    tune(file, tiny)
    tamper(file, "UPDATE decisions SET per_kind = '{'")
    (bad,) = [each for each in findings("cache", "doctor", code=1) if each["level"] == "error"]
    assert bad["what"] == "decision 1 (tiny) holds JSON that cannot be read"
    assert bad["remedy"] == "autotune cache rm 1, then autotune warm"
    run("cache", "rm", "1")
    run("cache", "doctor")


def test_what_cannot_be_repaired_is_one_line_and_stays(file: Path) -> None:
    text_file(file)
    before = file.read_bytes()
    said = error("cache", "doctor", "--repair")
    assert said.startswith(f"autotune: cache {file}: not a SQLite file")
    assert said.count("\n") == 1
    assert "error: not a SQLite file; move it away, or set" in run("cache", "doctor", code=1).stdout
    assert file.read_bytes() == before


def test_a_fleet_file_that_is_not_there_is_an_error(tiny: str, file: Path, fleet: Path) -> None:
    tune(file, tiny)
    said = run("cache", "doctor", code=1).stdout
    assert f"user: {file} (AUTOTUNE_CACHE): well" in said
    assert "error: named by AUTOTUNE_FLEET_CACHE and not there; mount it, or" in said
    assert run("cache", "doctor", "--repair", code=1).stderr == f"{file}: nothing to repair\n"


def leave_a_note(path: Path) -> None:
    """Of a tuner that died, whose lock somebody tidied away."""
    folder = path.with_name(f"{path.name}.locks")
    folder.mkdir()
    note = {"pid": 2**22 + 1, "host": "node7", "since": OLD, "what": "tiny on a CPU"}
    (folder / "0123456789abcdef.holder").write_text(json.dumps(note))


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(each): (each.stat().st_mtime_ns, each.read_bytes() if each.is_file() else b"")
        for each in [folder, *folder.rglob("*")]
    }


@pytest.mark.parametrize(
    "leave",
    [die_half_way, lambda path: execute(path, "PRAGMA journal_mode = WAL"), leave_a_note],
    ids=["a journal", "WAL mode", "a note"],
)
def test_no_command_touches_another_layer(
    tiny: str, file: Path, fleet: Path, leave: Callable[[Path], None]
) -> None:
    tune(file, tiny)
    tune_into(fleet, tiny)
    leave(fleet)
    before = snapshot(fleet.parent)
    is_unreadable = leave is die_half_way
    run("cache", "doctor", code=int(is_unreadable))
    run("cache", "doctor", "--repair", code=int(is_unreadable))
    for command in (["ls"], ["show", "1"], ["prune", "--keep", "1"], ["path"], ["rm", "1"]):
        run("cache", *command)
    run("choose", "--model", tiny, "--device", "cpu", code=int(is_unreadable))
    assert snapshot(fleet.parent) == before


# One tuner at a time


@pytest.fixture
def subject(tiny: str, file: Path) -> TuningSubject:
    """What `warm` locks for the model of the tests on this machine's CPU."""
    model = load_model(ModelRequest(tiny))
    Store.open(file).close()
    return TuningSubject(file, device_key(find_device("cpu").device), model.fingerprint, "tiny")


def test_who_does_not_wait_is_told_who_tunes_and_what_a_start_gets(
    tiny: str, file: Path, subject: TuningSubject
) -> None:
    base = ("warm", "--model", tiny, "--device", "cpu", "--no-wait")
    with holding(subject, 60) as other:
        result = run(*base)
        assert result.stdout == ""
        busy, meanwhile = result.stderr.splitlines()
        assert busy.startswith(
            f"autotune: cache {file}: locked by process {other.pid} on {os.uname().nodename},"
            " which tunes tiny on a CPU since "
        )
        assert busy.endswith("; autotune choose says what a start gets meanwhile")
        assert meanwhile.startswith("meanwhile: default: torch_sdpa:padded")
        payload = run_json(*base)
        (choice,) = payload["busy"]
        assert set(choice) == CHOICE | {"per_phase"}
        assert (choice["state"], choice["model"]) == ("default", "tiny")
        assert (payload["decisions"], payload["measured"]) == ([], 0)
        assert f"process {other.pid} on " in run("cache", "doctor").stdout
        tune(file, tiny)
        (choice,) = run_json(*base)["busy"]
        assert (choice["state"], choice["cache"]) == ("exact", str(file))
        assert run_json("choose", "--model", tiny, "--device", "cpu")["state"] == "exact"
        other.kill()
    assert [each.name for each in file.parent.glob("*-journal")] == []


def test_a_budget_bounds_the_wait(tiny: str, subject: TuningSubject) -> None:
    with holding(subject, 60) as other:
        result = run("warm", "--model", tiny, "--device", "cpu", "--budget", "0.5s")
        first, busy, _ = result.stderr.splitlines()
        assert first.startswith(f"waiting for process {other.pid} on ")
        assert first.endswith("; Ctrl-C stops, --no-wait goes on without")
        assert f"locked by process {other.pid}" in busy
        other.kill()


def test_a_file_under_a_tuner_s_hands_is_not_repaired(
    tiny: str, file: Path, subject: TuningSubject
) -> None:
    tune(file, tiny)
    execute(file, "UPDATE measurements SET gpu_us = 1 WHERE id = 2")
    before = file.read_bytes()
    with holding(subject, 60) as other:
        assert f"in use by process {other.pid} on " in error("cache", "doctor", "--repair")
        other.kill()
    assert file.read_bytes() == before
    run("cache", "doctor", "--repair")
