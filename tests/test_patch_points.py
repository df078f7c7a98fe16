"""What the plug-in wraps in vLLM, against the published packages and our own documentation.

`benchmarks/record_vllm_options.py` writes the records.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autotune.in_vllm.known import CONFIG, POINTS, SELECT, PatchPoint, refuse_version

ROOT = Path(__file__).parents[1]
RELEASES = ("0.24.0", "0.32.0")


def functions_of(release: str) -> dict[str, list[str] | None]:
    record = json.loads((ROOT / "tests" / "published" / f"vllm-{release}.json").read_text())
    found: dict[str, list[str] | None] = record["functions"]
    return found


def recorded(point: PatchPoint, release: str) -> list[list[str] | None]:
    """The parameters wherever the function is written: each platform has its own."""
    functions = functions_of(release)
    if point is SELECT:
        return [args for name, args in functions.items() if name.endswith(f".{point.function}")]
    end = f":{point.owner}.{point.function}"
    return [args for name, args in functions.items() if name.endswith(end)]


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.name)
def test_a_published_vllm_has_it_as_we_expect_it(point: PatchPoint, release: str) -> None:
    every = recorded(point, release)
    assert every
    for parameters in every:
        assert parameters is not None
        wanted = list(point.first_parameters)
        assert parameters[1 : 1 + len(wanted)] == wanted


@pytest.mark.parametrize("release", RELEASES)
def test_a_published_vllm_reads_backends_by_name(release: str) -> None:
    name = "vllm/config/attention.py:AttentionConfig.validate_backend_before"
    assert functions_of(release)[name] == ["cls", "value"]


@pytest.mark.parametrize("release", RELEASES)
def test_a_published_vllm_is_one_that_we_know(release: str) -> None:
    assert refuse_version(release) == ""


def test_the_decision_is_made_where_vllm_makes_its_config() -> None:
    assert recorded(CONFIG, "0.24.0") == [["self", "usage_context", "headless"]]


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.name)
def test_it_is_written_down(point: PatchPoint) -> None:
    assert f"`{point.name}`" in (ROOT / "docs" / "engines.md").read_text()
