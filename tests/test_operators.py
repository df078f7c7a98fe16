"""The commands of `docs/operators.md`, run in the order of the page as an operator would."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from fakes import write_plugin

import autotune

PAGE = Path(autotune.__file__).parents[1] / "docs" / "operators.md"
VLLM_ON_A_CPU = """
from dataclasses import replace
from kernels_bench.backends.torch_sdpa import BACKEND as SDPA

class VllmTorch:
    name = "vllm_torch"

    def variants(self, *asked):
        options = {"vllm": {"attention_backend": "TORCH_SDPA"}}
        return tuple(replace(each, engine_options=options) for each in SDPA.variants(*asked))

    def supports(self, *asked):
        return SDPA.supports(*asked)

    def prepare(self, *asked):
        return SDPA.prepare(*asked)

BACKEND = VllmTorch()
"""
"""torch's kernel as one that vLLM loads, so that a CPU without vLLM has something to measure."""


def commands() -> list[list[str]]:
    """Of shell blocks, of RUN lines, and of a manifest's `command: [...]`."""
    found = []
    for language, block in re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text(), re.DOTALL):
        for line in block.splitlines():
            if language == "sh":
                found.append(shlex.split(line, comments=True))
            elif language == "dockerfile" and line.startswith("RUN autotune"):
                found.append(shlex.split(line.removeprefix("RUN ")))
            elif words := re.search(r"command: \[(autotune, .*)\]", line):
                found.append([word.strip(' "') for word in words[1].split(",")])
    return [words for words in found if words]


def test_the_page_has_commands_of_every_kind() -> None:
    said = [" ".join(words[:3]) for words in commands()]
    assert "autotune choose --model" in said
    assert "autotune cache doctor" in said
    assert "autotune lock -o" in said
    assert all(words[0] == "autotune" for words in commands())


def test_the_commands_of_the_page_work(tmp_path: Path, tiny: str) -> None:
    write_plugin(tmp_path / "plugins", "vllm_torch", VLLM_ON_A_CPU)
    baked = tmp_path / "fleet.db"
    environ = {
        **os.environ,
        "PYTHONPATH": str(tmp_path / "plugins"),
        "AUTOTUNE_DISABLE_BACKENDS": "torch_flex,triton_unified",
        "AUTOTUNE_BUDGET": "20s",
        "AUTOTUNE_FLEET_CACHE": str(baked),
        "AUTOTUNE_CACHE": str(tmp_path / "state.db"),
    }
    for words in commands():
        text = shlex.join(words).replace("/models/llama", tiny)
        text = text.replace("/usr/share/attn-autotune", str(tmp_path))
        done = subprocess.run(
            [sys.executable, "-m", *shlex.split(text)],
            env=environ,
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("name", ["AUTOTUNE_STATE", "AUTOTUNE_LOCK", "AUTOTUNE_MODE"])
def test_the_manifests_set_what_we_read(name: str) -> None:
    assert f"name: {name}" in PAGE.read_text()
