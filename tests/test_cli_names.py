"""Names of backends that somebody mistyped, and plug-ins that die when they are looked at."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from cli_runs import error, run, run_json
from fakes import install_plugin, write_plugin

DEADLY = "import os\nos.write(2, b'no licence\\n')\nos._exit(7)\n"
"""An import that would take this process along."""


@pytest.fixture(autouse=True)
def _plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`deadly`, and `swift`, which can run."""
    write_plugin(tmp_path / "deadly", "deadly", DEADLY)
    monkeypatch.syspath_prepend(str(tmp_path / "deadly"))
    install_plugin(monkeypatch, tmp_path / "swift", "'swift'")


def told(stderr: str, source: str) -> tuple[str, list[str]]:
    """What is said of a name, and the names that are known."""
    (line,) = [line for line in stderr.splitlines() if source in line]
    said, _, known = line.partition("; known: ")
    return said, known.split(", ")


def assert_runnable_first(names: list[str]) -> None:
    runnable = ["(cannot run here)" not in name for name in names]
    assert runnable == sorted(runnable, reverse=True)
    assert {"torch_sdpa", "swift"} <= set(names)
    assert {"flash_attn (cannot run here)", "deadly (cannot run here)"} <= set(names)


def choose(model: str, *options: str) -> tuple[str, ...]:
    return ("choose", "--model", model, "--device", "cpu", *options)


def test_a_misspelt_override_names_the_nearest_and_all_that_are_known(
    tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOTUNE_BACKEND", "flash_atn")
    said, names = told(run(*choose(tiny)).stderr, "AUTOTUNE_BACKEND=")
    refusal = (
        "AUTOTUNE_BACKEND=flash_atn cannot be taken: no such backend is installed: flash_atn"
        " (nearest: flash_attn)"
    )
    assert said == f"autotune: warning: {refusal}"
    assert_runnable_first(names)
    assert told(error(*choose(tiny, "--strict"), code=2), "AUTOTUNE_BACKEND=") == (
        f"autotune: {refusal}",
        names,
    )


def test_an_override_that_is_disabled_says_so(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOTUNE_BACKEND", "swift")
    monkeypatch.setenv("AUTOTUNE_DISABLE_BACKENDS", "swift")
    said, names = told(run(*choose(tiny)).stderr, "AUTOTUNE_BACKEND=")
    assert said.endswith("cannot be taken: swift: named in AUTOTUNE_DISABLE_BACKENDS")
    assert "swift (cannot run here)" in names
    assert names.index("torch_sdpa") < names.index("swift (cannot run here)")


def test_a_misspelt_override_of_a_plug_in_names_it(
    tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOTUNE_BACKEND", "Swfit")
    assert "Swfit (nearest: swift); known: " in run(*choose(tiny)).stderr


MISSPELT = (
    "AUTOTUNE_DISABLE_BACKENDS: no such backend is installed: flash_atn (nearest: flash_attn)"
)


@pytest.mark.parametrize(
    "arguments",
    [("choose",), ("backends",), ("warm", "--dry-run"), ("bench", "--workload", "q16")],
    ids=lambda arguments: arguments[0],
)
def test_a_misspelt_name_that_disables_nobody_is_told(
    tiny: str, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    disabled = "flash_atn,torch_flex,triton_unified,triton_split,swift"
    monkeypatch.setenv("AUTOTUNE_DISABLE_BACKENDS", disabled)
    command, *options = arguments
    ran = run(command, "--model", tiny, "--device", "cpu", *options, "--json")
    said, names = told(ran.stderr, "AUTOTUNE_DISABLE_BACKENDS:")
    assert said == f"autotune: warning: {MISSPELT}"
    assert names.index("torch_sdpa") < names.index("swift (cannot run here)")
    json.loads(ran.stdout)


def test_a_misspelt_name_that_disables_nobody_is_an_error_where_one_is_strict(
    tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOTUNE_DISABLE_BACKENDS", "flash_atn")
    said, names = told(error(*choose(tiny, "--strict"), code=2), "AUTOTUNE_DISABLE")
    assert said == f"autotune: {MISSPELT}"
    assert_runnable_first(names)


def test_a_plug_in_that_is_disabled_is_not_imported(
    tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Naming it is how somebody gets rid of one that crashes."""
    monkeypatch.setenv("AUTOTUNE_DISABLE_BACKENDS", "deadly,swift")
    assert run(*choose(tiny)).stderr == ""
    assert "swift" not in sys.modules


def test_a_misspelt_deny_names_the_nearest(tmp_path: Path) -> None:
    said = error("lock", "-o", str(tmp_path / "x.lock"), "--deny", "torch_spda", code=2)
    assert said.startswith(
        "autotune: --deny: no such backend is installed: torch_spda (nearest: torch_sdpa); known: "
    )
    assert "deadly" in said


def test_a_misspelt_engine_lists_those_that_are_known(tiny: str) -> None:
    said = error(*choose(tiny, "--engine", "vlm"), code=2)
    assert "'any', 'vllm', 'sglang'" in said


def test_a_survey_goes_on_without_a_plug_in_that_dies(tiny: str) -> None:
    rows = run_json("backends", "--model", tiny, "--device", "cpu")
    (deadly,) = (row for row in rows if row["backend"] == "deadly")
    text = "exit status 7 while being imported: no licence"
    assert deadly["reasons"] == [{"field": "import", "text": text}]
    assert {"torch_sdpa", "swift"} <= {row["backend"] for row in rows if row["supported"]}
