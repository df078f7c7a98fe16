"""`autotune cache export`, `import` and `merge` in this process: words, exit codes, files."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cache_examples import DECISION, DEVICE, H100_RUN, MODEL, TIMED, unpack_h100_run
from cli_runs import error, run, run_json, tune

from autotune._store import Store, find_decisions, list_decisions
from autotune.commands.cache import told

CPU = ("--device", "cpu")
H100_SCHEMA_3 = H100_RUN.with_name("h100-method3-run3.db.xz")
FATES = {"new", "same", "replaced", "kept", "refused"}
ABSORBED = {"file", "rows", "conflicts", "refused"}
VERSIONS = '{{"nvidia-driver": "{}", "torch": "2.11"}}'


@pytest.fixture(autouse=True)
def _without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOTUNE_DISABLE_BACKENDS", "torch_flex")


@pytest.fixture
def tuned(file: Path, tiny: str) -> Path:
    """The user's cache, with an answer for this machine."""
    tune(file, tiny)
    return file


def two_drivers(path: Path) -> Path:
    """Two decisions that differ in the driver alone."""
    with Store.open(path) as store:
        store.put_device(DEVICE)
        store.put_model(MODEL)
        for driver in ("570", "580"):
            store.put_decision(replace(DECISION, versions=VERSIONS.format(driver)))
    return path


def rows(payload: Any, place: int = 0) -> dict[str, int]:
    """Those fates that some row had."""
    found = payload["files"][place]["rows"] if "files" in payload else payload["rows"]
    assert set(found) == FATES
    return {fate: count for fate, count in found.items() if count}


def one_line(*arguments: str, code: int = 1) -> str:
    said = error(*arguments, code=code)
    assert said.startswith("autotune: ")
    assert said.count("\n") == 1
    return said


# Round trips


@pytest.mark.parametrize("name", ["out.jsonl", "out.db"])
def test_what_is_exported_answers_where_it_is_imported(
    tiny: str, tuned: Path, tmp_path: Path, name: str
) -> None:
    out, other = tmp_path / name, ("--cache", str(tmp_path / "new" / "other.db"))
    ask = ("choose", "--model", tiny, *CPU)
    before = run_json(*ask)
    assert before["state"] == "exact"
    exported = run_json("cache", "export", str(out))
    assert set(exported) == {"schema", "path"} | ABSORBED
    assert (exported["schema"], exported["path"]) == (1, str(out))
    assert (exported["file"], exported["refused"]) == (str(tuned), [])
    assert run_json(*ask, *other)["state"] == "default"
    imported = run_json("cache", "import", str(out), *other)
    assert set(imported) == {"schema", "path", "dry_run", "files", "other_drivers"}
    assert (imported["dry_run"], imported["other_drivers"]) == (False, 0)
    assert rows(imported) == rows(exported)
    after = run_json(*ask, *other)
    assert after["state"] == "exact"
    assert {**after, "cache": None} == {**before, "cache": None}
    assert run(*ask, *other, "--assert-hit").exit_code == 0
    assert rows(run_json("cache", "import", str(out), *other)) == {
        "same": sum(rows(exported).values())
    }


def test_what_people_are_told(tuned: Path, tmp_path: Path) -> None:
    out, other = str(tmp_path / "out.jsonl"), str(tmp_path / "other.db")
    exported = run("cache", "export", out)
    assert exported.stdout == ""
    assert exported.stderr.endswith(f" rows in {out}\n")
    imported = run("cache", "import", out, "--cache", other)
    assert imported.stderr == f"cache: {other}\n"
    assert imported.stdout.startswith("Taken")
    for fate in FATES:
        assert fate in imported.stdout
    assert "Conflicts" not in imported.stdout


def test_a_dry_run_says_the_same_and_makes_nothing(tuned: Path, tmp_path: Path) -> None:
    out, other = str(tmp_path / "out.db"), tmp_path / "no" / "other.db"
    run("cache", "export", out)
    take = ("cache", "import", out, "--cache", str(other))
    rehearsed = run_json(*take, "--dry-run")
    assert rehearsed["dry_run"] is True
    said = run(*take, "--dry-run")
    assert said.stdout.startswith("Would take")
    assert said.stderr == ""
    assert not other.parent.exists()
    assert {**run_json(*take), "dry_run": True} == rehearsed


# Which part


@pytest.mark.parametrize(
    ("filters", "decisions", "models", "measurements"),
    [
        ([], 8, 4, 1730),
        (["--model", "llama-3.1-8b"], 2, 1, 366),
        (["--model", "llama-3.1-8b", "--model", "gemma-2-9b"], 4, 2, 998),
        (["--model", "gemma-2-9b", "--engine", "vllm"], 1, 1, 632),
        (["--engine", "vllm"], 4, 4, 1730),
        (["--profile", "balanced", "--profile", "chat"], 8, 4, 1730),
        (["--backend", "flash_attn"], 8, 4, 1730),
        (["--device", "h100"], 8, 4, 1730),
        (["--device", "H100 80GB", "--model", "qwen3-30b-a3b", "--engine", "any"], 1, 1, 366),
    ],
)
def test_a_part_is_written_with_its_evidence(
    file: Path, tmp_path: Path, filters: list[str], decisions: int, models: int, measurements: int
) -> None:
    unpack_h100_run(file, H100_SCHEMA_3)
    before = file.read_bytes()
    out = tmp_path / "out.db"
    exported = run_json("cache", "export", str(out), *filters)
    assert rows(exported) == {"new": 1 + models + decisions + measurements}
    assert len(list_decisions(out)) == decisions
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    "filters",
    [
        ["--model", "no such model"],
        ["--engine", "sglang"],
        ["--profile", "chat"],
        ["--backend", "torch_sdpa"],
        ["--device", "mi300x"],
        ["--device", "cpu"],
        ["--model", "llama-3.1-8b", "--profile", "chat"],
        ["--model", ""],
    ],
)
def test_a_part_that_nothing_fits_is_wrong_usage(
    file: Path, tmp_path: Path, filters: list[str]
) -> None:
    unpack_h100_run(file, H100_SCHEMA_3)
    said = one_line("cache", "export", str(tmp_path / "out.db"), *filters, code=2)
    assert f"{file} holds no such decision; autotune cache ls lists them" in said
    assert not (tmp_path / "out.db").exists()


# Conflicts


def conflicting(tmp_path: Path) -> tuple[Path, Path]:
    """The same keys on two hosts, and newer on the second."""
    later = replace(TIMED.provenance, created_at="2027-01-01T00:00:00Z", host="[bold]node8[/]")
    paths = tmp_path / "first.db", tmp_path / "second.db"
    measured = TIMED, replace(TIMED, provenance=later, gpu_us=39.0, samples=100)
    decided = DECISION, replace(DECISION, provenance=later, backend="flash_attn", bound=0.5)
    for path, timed, decision in zip(paths, measured, decided, strict=True):
        with Store.open(path) as store:
            store.put_device(DEVICE)
            store.put_model(MODEL)
            store.put_measurements([timed])
            store.put_decision(decision)
    return paths


@pytest.mark.parametrize(
    ("prefer", "fates", "backend"),
    [
        ([], {"same": 2, "replaced": 2}, "flash_attn"),
        (["--prefer", "newest"], {"same": 2, "replaced": 2}, "flash_attn"),
        (["--prefer", "samples"], {"same": 2, "kept": 1, "replaced": 1}, "flash_attn"),
    ],
)
def test_a_conflict_is_decided_as_asked_and_told(
    tmp_path: Path, prefer: list[str], fates: dict[str, int], backend: str
) -> None:
    first, second = conflicting(tmp_path)
    out = tmp_path / "out.db"
    merge = ("cache", "merge", str(first), str(second), "-o", str(out), *prefer)
    merged = run_json(*merge)
    assert set(merged) == {"schema", "path", "files", "other_drivers"}
    assert [each["file"] for each in merged["files"]] == [str(first), str(second)]
    assert (rows(merged), rows(merged, 1)) == ({"new": 4}, fates)
    conflicts = merged["files"][1]["conflicts"]
    assert {frozenset(each) for each in conflicts} == {
        frozenset({"table", "of", "ours", "theirs", "fate"})
    }
    assert [each["table"] for each in conflicts] == ["measurements", "decisions"]
    (stored,) = find_decisions(out, DECISION.question)
    assert stored.decision.backend == backend
    imported = run_json("cache", "import", str(second), "--cache", str(first), *prefer)
    assert imported["files"][0] == merged["files"][1]


def test_conflicts_are_shown_with_both_sides(tmp_path: Path) -> None:
    first, second = conflicting(tmp_path)
    said = run("cache", "merge", str(first), str(second), "-o", str(tmp_path / "out.db"))
    assert "Conflicts" in said.stdout
    for part in ("41.5", "39.0", "node7", "[bold]node8[/]", "replaced"):
        assert part in said.stdout
    assert said.stderr == f"cache: {tmp_path / 'out.db'}\n"


def test_the_driver_that_is_asked_for(tmp_path: Path) -> None:
    source, out = two_drivers(tmp_path / "a.db"), tmp_path / "out.db"
    prefer = ("--prefer", "driver", "--driver", "nvidia-driver=580")
    merged = run_json("cache", "merge", str(source), "-o", str(out), *prefer)
    assert (rows(merged), merged["other_drivers"]) == ({"new": 4}, 1)
    (stored,) = list_decisions(out)
    assert stored.decision.versions == VERSIONS.format("580")
    said = run("cache", "import", str(source), *prefer, "--dry-run").stderr
    assert said == "1 decisions for other drivers are left out\n"
    both = ("--driver", "nvidia-driver=580", "--driver", "cuda-driver=13")
    taken = run_json("cache", "import", str(source), "--prefer", "driver", *both)
    assert taken["other_drivers"] == 0


def test_without_a_driver_here_one_must_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(told, "find_devices", lambda: ())
    source = two_drivers(tmp_path / "a.db")
    said = one_line("cache", "import", str(source), "--prefer", "driver", code=2)
    assert "no driver is here; name one: --driver NAME=VERSION" in said


# Rows that are refused


def test_refused_rows_are_told_and_the_others_taken(
    tiny: str, tuned: Path, tmp_path: Path, file: Path
) -> None:
    out, other = tmp_path / "out.jsonl", ("--cache", str(tmp_path / "other.db"))
    run("cache", "export", str(out))
    bad = [f'{{"table": "devices", "evil{number}": 1}}' for number in range(8)]
    out.write_text("\n".join([*out.read_text().splitlines(), *bad]) + "\n")
    count = len(out.read_text().splitlines())
    said = run("cache", "import", str(out), *other)
    warnings = said.stderr.splitlines()
    assert len(warnings) == 7
    first = f"{out}: line {count - 7}: evil0 is no column of devices; left out"
    assert warnings[0] == f"autotune: warning: {first}"
    assert warnings[5] == f"autotune: warning: {out}: 3 more rows are left out"
    again = run_json("cache", "import", str(out), *other)
    assert rows(again)["refused"] == len(again["files"][0]["refused"]) == 8
    assert set(again["files"][0]["refused"][0]) == {"where", "why"}
    assert run_json("choose", "--model", tiny, *CPU, *other)["state"] == "exact"


def test_a_damaged_row_is_not_exported(tmp_path: Path, file: Path) -> None:
    two_drivers(file)
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE decisions SET backend = 'other' WHERE id = 1")
    connection.close()
    said = run("cache", "export", str(tmp_path / "out.db")).stderr
    warning, summary = said.splitlines()
    assert warning.startswith(f"autotune: warning: {file}: decisions 1: checksum does not fit")
    assert summary == f"3 rows in {tmp_path / 'out.db'}"


# Errors


def test_nothing_to_export(file: Path, tmp_path: Path) -> None:
    said = one_line("cache", "export", str(tmp_path / "out.db"), code=2)
    assert said == f"autotune: {file} holds nothing yet; autotune warm makes it\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["out.db", "out.jsonl"])
def test_an_output_that_is_there_stays_unless_forced(
    tuned: Path, tmp_path: Path, name: str
) -> None:
    out = tmp_path / name
    out.write_bytes(b"another's")
    base = str(tuned)
    export, merge = ("cache", "export", str(out)), ("cache", "merge", base, "-o", str(out))
    for command in (export, merge):
        said = one_line(*command)
        assert (
            said == f"autotune: cache {out}: is there already; name another file, or pass --force\n"
        )
        assert out.read_bytes() == b"another's"
    for command in (export, merge):
        assert rows(run_json(*command, "--force"))["new"] > 3
    assert len(list_decisions(out)) == 1
    assert {each.name for each in tmp_path.iterdir()} >= {name, "autotune.db"}
    assert not list(tmp_path.glob(".*"))


SOURCES = {
    "missing": "not there; name a file that is",
    "a folder": "a folder, not a file",
    "a pipe": "not a regular file",
    "text": "neither a cache nor JSON Lines of one; nothing was taken from it",
    "no cache": "not a cache of attn-autotune",
    "newer": "schema 99, and this version knows",
}


def make(kind: str, path: Path) -> None:
    match kind:
        case "a folder":
            path.mkdir()
        case "a pipe":
            os.mkfifo(path)
        case "text":
            path.write_text("backend,gpu_us\n")
        case "no cache" | "newer":
            if kind == "newer":
                two_drivers(path)
            connection = sqlite3.connect(path)
            connection.execute("CREATE TABLE more (x)")
            connection.execute("PRAGMA user_version = 99")
            connection.close()


@pytest.mark.parametrize(("kind", "what"), SOURCES.items())
def test_a_file_that_cannot_be_taken_is_one_line(
    tuned: Path, tmp_path: Path, kind: str, what: str
) -> None:
    source, out, before = tmp_path / "source", tmp_path / "out.db", tuned.read_bytes()
    make(kind, source)
    for command in (
        ("cache", "import", str(source)),
        ("cache", "import", str(source), "--dry-run"),
        ("cache", "import", str(source), "--json"),
        ("cache", "merge", str(tuned), str(source), "-o", str(out)),
    ):
        said = one_line(*command)
        assert f"cache {source}: " in said
        assert what in said
    assert tuned.read_bytes() == before
    assert not out.exists()


WRONG = {
    "no file": ["export"],
    "no file to import": ["import"],
    "no file to merge": ["merge", "-o", "x.db"],
    "no output": ["merge", "a.db"],
    "two outputs": ["export", "a.db", "b.db"],
    "a policy that is none": ["import", "a.db", "--prefer", "fastest"],
    "an option that is none": ["export", "a.db", "--everything"],
    "force where it is none": ["import", "a.db", "--force"],
}


@pytest.mark.parametrize("arguments", WRONG.values(), ids=WRONG)
def test_wrong_usage_is_exit_2(arguments: list[str]) -> None:
    said = error("cache", *arguments, code=2)
    assert said.startswith("Usage: autotune cache ")
    assert said.splitlines()[-1].startswith("Error: ")


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--driver", "nvidia-driver=580"], "--driver: only --prefer driver looks at it"),
        (["--prefer", "driver", "--driver", "580"], "expected NAME=VERSION"),
        (["--prefer", "driver", "--driver", "=580"], "expected NAME=VERSION"),
        (["--prefer", "driver", "--driver", "nvidia-driver="], "expected NAME=VERSION"),
    ],
)
def test_a_driver_that_makes_no_sense(tuned: Path, options: list[str], what: str) -> None:
    before = tuned.read_bytes()
    assert what in one_line("cache", "import", str(tuned), *options, code=2)
    assert what in one_line("cache", "merge", str(tuned), "-o", "x.db", *options, code=2)
    assert tuned.read_bytes() == before


@pytest.mark.parametrize("command", ["export", "import", "merge"])
def test_every_command_has_help(command: str) -> None:
    assert f"Usage: autotune cache {command}" in run("cache", command, "--help").stdout


def test_a_layer_of_the_fleet_is_never_exported_nor_written(
    tuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = two_drivers(tmp_path / "fleet.db")
    monkeypatch.setenv("AUTOTUNE_FLEET_CACHE", str(fleet))
    before = fleet.read_bytes()
    assert len(run_json("cache", "ls")["decisions"]) == 3
    run("cache", "export", str(tmp_path / "out.db"))
    assert len(list_decisions(tmp_path / "out.db")) == 1
    run("cache", "import", str(fleet))
    assert len(list_decisions(tuned)) == 3
    assert fleet.read_bytes() == before
