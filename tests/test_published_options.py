"""Every option that we read and every word that we say, against what published engines take.

`benchmarks/record_vllm_options.py` and `record_sglang_options.py` write the records.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fakes import FULL, H100, WINDOW

from autotune.command_lines.dialect import Dialect
from autotune.command_lines.sglang import SGLANG
from autotune.command_lines.vllm import VLLM
from autotune.engine_options import KINDS, single_options
from kernels_bench.backends import find_backends
from kernels_bench.spec import Variant

PUBLISHED = Path(__file__).parent / "published"
VLLM_RELEASES = ("vllm-0.24.0", "vllm-0.32.0")
RECORDS = [(VLLM, release) for release in VLLM_RELEASES] + [(SGLANG, "sglang-0.5.23")]


def published(release: str) -> Any:
    return json.loads((PUBLISHED / f"{release}.json").read_text())


def names_of(release: str) -> set[str]:
    return {name for names in published(release)["options"] for name in names.split()}


@pytest.mark.parametrize(("dialect", "release"), RECORDS)
def test_a_published_parser_knows_every_name(dialect: Dialect, release: str) -> None:
    known = names_of(release) | set(published(release).get("serve", ()))
    asked = {name for option in dialect.options for name in option.names}
    assert asked - known == set()
    assert release.rpartition("-")[2] in dialect.source


@pytest.mark.parametrize(("dialect", "release"), RECORDS)
def test_no_other_option_is_the_beginning_of_one_of_ours(dialect: Dialect, release: str) -> None:
    """What argparse would take for an option of its own must not be read as a shortened one."""
    ours = {name for option in dialect.options for name in option.names}
    for other in names_of(release) - ours:
        begun = [o for o in dialect.options if any(n.startswith(other) for n in o.names)]
        # Where it begins several, it is taken for none.
        assert len(begun) != 1, f"{other} begins {begun[0].name}"


@pytest.mark.parametrize(("dialect", "release"), RECORDS)
def test_names_of_one_option_belong_together(dialect: Dialect, release: str) -> None:
    together = [set(names.split()) for names in published(release)["options"]]
    for option in dialect.options:
        if len(option.names) > 1:
            assert any(set(option.names) <= names for names in together), option


@pytest.mark.parametrize("release", VLLM_RELEASES)
def test_the_programs_of_a_published_vllm(release: str) -> None:
    record = published(release)
    assert set(record["modules"]) == {
        "vllm.entrypoints.openai.api_server", "vllm.entrypoints.cli.main",
    }  # fmt: skip
    assert {"serve", "bench", "latency", "throughput"} <= set(record["subcommands"])


def test_the_programs_of_the_published_sglang() -> None:
    record = published("sglang-0.5.23")
    assert record["modules"] == ["sglang.launch_server"]
    assert record["scripts"]["sglang"] == "sglang.cli.main:main"


def variants() -> list[Variant]:
    """Of every backend here, on a device that most of them know."""
    stack = {"torch": "2.9.0", "vllm": "0.24.0", "flashinfer-python": "0.6.12"}
    return [
        variant
        for backend in find_backends().backends
        for spec in (FULL, WINDOW)
        for variant in backend.variants(H100, spec, stack)
    ]


@pytest.mark.parametrize("release", VLLM_RELEASES)
def test_a_published_vllm_takes_every_word_that_we_may_say(release: str) -> None:
    record = published(release)
    said = [each.engine_options["vllm"] for each in variants() if "vllm" in each.engine_options]
    assert said
    for options in said:
        assert {f"--{name.replace('_', '-')}" for name in options} <= names_of(release)
        assert options["attention_backend"] in record["attention_backends"]
        config = options.get("attention_config", {})
        assert isinstance(config, dict)
        assert set(config) <= set(record["attention_config"])


def test_a_vllm_with_kinds_knows_their_names() -> None:
    assert "backend_per_kind" in published("vllm-0.32.0")["attention_config"]
    assert "backend_per_kind" not in published("vllm-0.24.0")["attention_config"]
    assert set(KINDS.values()) <= set(published("vllm-0.32.0")["kv_cache_kinds"])


def test_the_published_sglang_takes_every_word_that_we_may_say() -> None:
    record, names = published("sglang-0.5.23"), names_of("sglang-0.5.23")
    seats = ("prefill_attention_backend", "decode_attention_backend")
    assert {f"--{name.replace('_', '-')}" for name in seats} <= names
    for variant in variants():
        options = single_options("sglang", variant.engine_options.get("sglang")) or {}
        assert {f"--{name.replace('_', '-')}" for name in options} <= names
        for name in set(seats) & set(options):
            assert options[name] in record["choices"][f"--{name.replace('_', '-')}"]
