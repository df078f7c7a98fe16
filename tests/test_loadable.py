"""Which defaults of an engine are known to be wrong, and what a decision makes of that."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fakes import candidate, timed

from autotune._store import Layers
from autotune.costs import Evidence
from autotune.elsewhere import find_anywhere
from autotune.keys import Question
from autotune.loadable import Site, defective
from autotune.models import ModelRequest, load_model
from autotune.policy import Terms, Verdict, decide
from autotune.profiles import BALANCED
from autotune.today import Asked
from autotune.unmeasured import by_default
from autotune.verdicts import Setting, decision_of_verdict
from kernels_bench.spec import AttentionSpec, Device, Phase

H100 = Device("cuda", "NVIDIA H100 80GB HBM3", "sm_90", 132, 80 << 30, 50 << 20)
STACK = {"torch": "2.11.0", "cuda": "13.0", "vllm": "0.24.0", "triton": "3.6.0"}
PHI_3 = AttentionSpec(32, 32, 96, "bfloat16", 32, sliding_window=2047)
SDPA, FLEX = map(candidate, ("torch_sdpa", "torch_flex"))


def labels(spec: AttentionSpec, device: Device = H100) -> frozenset[str]:
    return defective(Site(device, (spec,), STACK), ["flash_attn", "no_such_backend"])


def test_flash_attention_3_is_known_to_be_wrong_on_phi_3() -> None:
    assert labels(PHI_3) == {"flash_attn:fa3@vllm"}
    assert labels(replace(PHI_3, head_dim=128, sliding_window=2048)) == frozenset()


def test_what_cannot_run_here_anyway_is_no_default_that_is_wrong() -> None:
    a100 = replace(H100, name="NVIDIA A100-SXM4-80GB", arch="sm_80")
    assert labels(PHI_3, a100) == frozenset()


def test_a_decision_names_the_default_that_is_wrong_and_no_speed_over_it() -> None:
    evidence = [
        Evidence("full", 1, "q1s1k", Phase.DECODE, who, timed(100.0)) for who in (SDPA, FLEX)
    ] + [Evidence("full", 1, "q1k", Phase.PREFILL, FLEX, timed(90.0))]
    terms = Terms(
        {"q1s1k": 1.0, "q1k": 1.0},
        ("torch_sdpa", "torch_flex"),
        defective=frozenset({SDPA.label}),
    )
    verdict = decide(evidence, terms)
    assert isinstance(verdict, Verdict)
    setting = Setting({}, 4, 700, "2026-11-29T00:00:00+00:00", BALANCED, {})
    decision = decision_of_verdict(verdict, evidence, setting)
    assert (decision.winner, decision.default) == (FLEX, SDPA.label)
    assert decision.speedup_vs_default is None


def test_an_engine_s_own_choice_that_is_wrong_is_not_told_as_another(tmp_path: Path) -> None:
    model = load_model(ModelRequest("phi-3-mini"))
    layers = Layers.alone(tmp_path / "none.db")
    question = Question(model, "vllm", "balanced")
    found = find_anywhere("h100", question, layers)
    choice = by_default(Asked(question, found), "nothing is measured")
    assert choice.candidate is None
    assert choice.why == (
        "nothing is measured; flash_attn:fa3@vllm, which vllm takes by itself, is known to be wrong"
        " here (autotune backends says why)"
    )
