"""What is said when nobody can run."""

from __future__ import annotations

import pytest
from fakes import FULL, H100_FOUND, make_model

from autotune.plan import Situation
from autotune.report import nobody_text
from kernels_bench.backends import Broken, FoundBackends, find_backends
from kernels_bench.candidates import Answer, Survey, survey
from kernels_bench.spec import Pages, Phase, Reason, Stack, Support, Variant

WITHOUT_CUDA = (
    "torch 2.13.0: built without CUDA, cannot use NVIDIA H100 80GB HBM3;"
    " install a build of torch for CUDA"
)


def situation(found: Survey) -> Situation:
    return Situation(make_model(FULL), H100_FOUND, {}, found)


def refusal(backend: str, *texts: str) -> Answer:
    support = Support(tuple(Reason("x", text) for text in texts))
    return Answer(backend, Variant("v"), FULL, Phase.DECODE, Pages(16), support)


@pytest.mark.parametrize(
    "stack", [{"torch": "2.13.0"}, {"torch": "2.13.0", "triton": "3.7.1", "vllm": "0.24.0"}]
)
def test_a_torch_without_cuda_beside_a_gpu_is_said_plainly(stack: Stack) -> None:
    asked = survey(find_backends(), H100_FOUND.device, stack, (FULL,), tuple(Phase))
    told = nobody_text(situation(asked))
    assert told.endswith(f", 80 GiB): {WITHOUT_CUDA}")


def test_what_all_say_is_said_once_and_otherwise_each_is_named() -> None:
    shared = Survey((refusal("a", "too old", "too wide"), refusal("b", "too wide")))
    assert nobody_text(situation(shared)).endswith(": too wide")
    each = Survey((refusal("a", "too old"), refusal("b", "too wide")))
    assert nobody_text(situation(each)).endswith(": a (too old), b (too wide)")


def test_a_broken_backend_is_named_and_no_backend_at_all_is_said() -> None:
    broken = Survey((), (Broken("c", "ImportError: no libcuda"),))
    assert nobody_text(situation(broken)).endswith(": c (ImportError: no libcuda)")
    nobody = survey(FoundBackends(()), H100_FOUND.device, {}, (FULL,), (Phase.DECODE,))
    assert nobody_text(situation(nobody)).endswith(": no backend is installed")
