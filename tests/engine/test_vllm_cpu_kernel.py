"""The kernel that a real vLLM runs on a CPU, through the trials that every candidate goes through:
what `supports` says yes to is right, and what it says no to is not.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from kernels_bench.backends.vllm_cpu import BACKEND, PAGES
from kernels_bench.devices import find_device
from kernels_bench.spec import AttentionSpec, Pages, Phase, Support, Wrong
from kernels_bench.stack import full_stack
from kernels_bench.trial import Trial, run_trial

pytestmark = pytest.mark.engine

HERE = find_device("cpu")
STACK = full_stack(HERE)
SPEC = AttentionSpec(4, 2, 64, "bfloat16", num_layers=1)
(PAGED,) = BACKEND.variants(HERE.device, SPEC, STACK)


def answer(spec: AttentionSpec, phase: Phase) -> Support:
    return BACKEND.supports(PAGED, HERE.device, spec, phase, STACK)


def verdict(spec: AttentionSpec, phase: Phase, pages: Pages = PAGES[0]) -> Wrong | None:
    stage = Trial(spec, phase, torch.device("cpu"), 0).bind(pages, 0, with_padding=False)
    launch = BACKEND.prepare(PAGED, spec, stage.batch)
    return run_trial(stage, launch, launch.run)


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize(
    "features",
    [
        {},
        {"dtype": "float16"},
        {"sliding_window": 50},
        {"logit_softcap": 30.0},
        {"has_sinks": True, "sliding_window": 50},
        {"has_alibi": True},
        {"causal": False},
        {"num_q_heads": 7, "num_kv_heads": 1, "head_dim": 80},
    ],
    ids=str,
)
def test_it_is_right_where_it_says_yes(features: dict[str, Any], phase: Phase) -> None:
    spec = replace(SPEC, **features)
    assert answer(spec, phase)
    assert verdict(spec, phase) is None


@pytest.mark.parametrize("head_dim", [32, 48, 96, 112, 128, 160, 192, 224, 256, 512])
def test_every_size_of_a_head(head_dim: int) -> None:
    spec = replace(SPEC, head_dim=head_dim)
    assert answer(spec, Phase.DECODE)
    assert verdict(spec, Phase.DECODE) is None


@pytest.mark.parametrize("pages", PAGES[1:], ids=str)
def test_every_size_of_a_page(pages: Pages) -> None:
    assert verdict(SPEC, Phase.MIXED, pages) is None


@pytest.mark.parametrize("head_dim", [16, 72, 144])
def test_no_other_head_is_compiled(head_dim: int) -> None:
    spec = replace(SPEC, head_dim=head_dim)
    assert not answer(spec, Phase.DECODE)
    with pytest.raises(RuntimeError, match=r"Unsupported CPU attention configuration"):
        verdict(spec, Phase.DECODE)


def test_a_window_of_a_layer_that_looks_ahead_is_another() -> None:
    spec = replace(SPEC, causal=False, sliding_window=50)
    assert not answer(spec, Phase.PREFILL)
    assert verdict(spec, Phase.PREFILL) is not None


@pytest.mark.skipif("avx512" in HERE.device.arch, reason="this CPU takes fp8 caches")
def test_fp8_caches_are_compiled_for_wider_vectors_alone() -> None:
    spec = replace(SPEC, kv_dtype="fp8_e4m3")
    assert not answer(spec, Phase.DECODE)
    with pytest.raises(RuntimeError, match=r"Unsupported CPU attention configuration"):
        verdict(spec, Phase.DECODE)


def test_vllm_itself_stays_where_it_is() -> None:
    """Its import takes seconds, and sets up logging in the measuring process."""
    source = (
        "import sys\n"
        "from kernels_bench.backends import _vllm_cpu_launches as launches\n"
        "launches._load_operators()\n"
        "import torch\n"
        "torch.ops._C.cpu_attention_with_kv_cache\n"
        "print('vllm' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


def test_warm_measures_it_for_vllm(tmp_path: Path) -> None:
    asked = ["warm", "--model", "llama-3.2-1b", "--engine", "vllm", "--device", "cpu"]
    done = subprocess.run(
        [sys.executable, "-m", "autotune", *asked, "--budget", "10s", "--json"],
        env={**os.environ, "AUTOTUNE_CACHE": str(tmp_path / "autotune.db")},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    (decision,) = said["decisions"]
    assert (decision["backend"], decision["variant"]) == ("vllm_cpu", "paged")
    assert decision["engine_args"] == {"attention_backend": "CPU_ATTN"}
    assert (said["wrong"], said["failed"]) == ([], [])
