"""Puts a decision that nobody measured into a cache, for tests of what a start does with it."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from autotune import records
from autotune._store import Store
from autotune.decision import Decision, one_backend_everywhere
from autotune.keys import Question, versions_of
from autotune.models import ModelRequest, load_model
from autotune.models.config import kinds
from autotune.ranking import Candidate, Ranked
from kernels_bench.backends import find_backends
from kernels_bench.devices import FoundDevice, find_device
from kernels_bench.method import METHOD
from kernels_bench.spec import Pages, Phase
from kernels_bench.stack import full_stack


@dataclass(frozen=True)
class Planted:
    """Labels, "flash_attn:fa3@vllm"."""

    winner: str
    default: str
    runners_up: tuple[str, ...] = ()
    is_default_wrong: bool = False
    """As known of it, so that it is no candidate."""


def plant(file: Path, question: Question, found: FoundDevice, planted: Planted) -> Decision:
    """As if measured here, now, with what is installed."""
    origin = records.provenance()
    winner = _candidate(planted.winner)
    defaults = () if planted.is_default_wrong else (planted.default,)
    others = [_candidate(each) for each in (*planted.runners_up, *defaults)]
    decision = Decision(
        winner=winner,
        default=planted.default,
        per_kind=one_backend_everywhere(
            winner.backend, kinds(question.model), [phase.value for phase in Phase]
        ),
        speedup_vs_default=1.0 if planted.winner == planted.default else 1.2,
        tie=False,
        why="planted",
        runners_up=tuple(
            Ranked(each, 1.0 if each.label == planted.default else 0.9, 0.001)
            for each in others
            if each != winner
        ),
        versions=versions_of(_packages(question, found), full_stack(found)),
        method=METHOD,
        power_limit_w=found.device.power_limit_w,
        measured_at=origin.created_at,
    )
    with Store.open(file) as store:
        store.put_device(records.device_row(found.device))
        store.put_model(records.model_row(question.model))
        store.put_decision(records.decision_row(question, found.device, decision, origin))
    return decision


def _packages(question: Question, found: FoundDevice) -> set[str]:
    """Of every backend's variants, as a survey looks at them."""
    stack = full_stack(found)
    return {
        package
        for backend in find_backends().backends
        for spec in question.model.specs
        for variant in backend.variants(found.device, spec, stack)
        for package in variant.packages
    }


def _candidate(label: str) -> Candidate:
    backend, _, variant = label.partition(":")
    return Candidate(backend, variant, Pages(16))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("model")
    parser.add_argument("winner")
    parser.add_argument("default")
    parser.add_argument("--max-model-len", type=int)
    parser.add_argument("--dtype")
    parser.add_argument("--engine", default="vllm")
    said = parser.parse_args()
    request = ModelRequest(said.model, dtype=said.dtype, max_model_len=said.max_model_len)
    question = Question(load_model(request), said.engine, "balanced")
    plant(said.file, question, find_device("auto"), Planted(said.winner, said.default))


if __name__ == "__main__":
    main()
