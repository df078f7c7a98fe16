"""Which side an engine is started for, without an engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from engine_samples import LOAD, run
from planting import Planted, plant
from vllm_starts import DEFAULT

from autotune._store import Layers
from autotune.confirming import NothingToConfirm, Plan, find_subject, run_sides
from autotune.engine_messages import EngineJob, EngineRun
from autotune.keys import Question
from autotune.models import ModelRequest, load_model
from autotune.today import Asked
from kernels_bench.devices import find_device

OPTIONS = {"attention_config": {"backend_per_kind": {"sliding_window": "TRITON_ATTN"}}}


@pytest.mark.usefixtures("vllm")
def test_a_split_around_the_engines_own_choice_is_told_from_that_choice(
    tiny: str, file: Path
) -> None:
    question = Question(load_model(ModelRequest(tiny)), "vllm", "balanced")
    plant(file, question, find_device("cpu"), Planted("swift:plain", DEFAULT))
    asked = Asked(question, find_device("cpu"))
    subject = find_subject(asked, Layers.alone(file), Path(tiny), {})
    assert not isinstance(subject, NothingToConfirm)
    stored = replace(
        subject.stored,
        decision=replace(subject.stored.decision, default_backend=subject.choice.label),
    )
    split = replace(subject, stored=stored, choice=replace(subject.choice, engine_options=OPTIONS))
    seen: list[Mapping[str, object]] = []

    def start(job: EngineJob, environ: Mapping[str, str], ends_at: float) -> EngineRun:
        seen.append(job.arguments)
        return run(100.0, 100.0)

    run_sides(split, Plan((LOAD,), 2, 60.0), start, lambda _: None)
    assert seen == [{}, OPTIONS, OPTIONS, {}]


@pytest.mark.usefixtures("vllm")
def test_nobody_is_confirmed_against_a_default_that_is_known_to_be_wrong(
    tiny: str, file: Path
) -> None:
    question = Question(load_model(ModelRequest(tiny)), "vllm", "balanced")
    plant(file, question, find_device("cpu"), Planted("swift:plain", "wrong:plain", (), True))
    asked = Asked(question, find_device("cpu"))
    subject = find_subject(asked, Layers.alone(file), Path(tiny), {})
    assert isinstance(subject, NothingToConfirm)
    assert subject.why.startswith("wrong:plain, which vllm takes by itself, is known to compute")
