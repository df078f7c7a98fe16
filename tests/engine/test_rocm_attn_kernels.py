"""vLLM's own Triton kernels behind ROCM_ATTN, under Triton's interpreter and called by our adapter.

Read from the vLLM that `make test-engine` installs: its build for CPUs has the kernels of every
platform. What a kernel's file imports of the rest of vLLM would ask for a GPU, and is stood in for.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from importlib.util import find_spec
from multiprocessing import get_context
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from fake_kernels import make_batch
from rocm_trials import MI300

from kernels_bench.backends.vllm_rocm import BACKEND
from kernels_bench.gate import check, make_truth
from kernels_bench.spec import AttentionSpec, Pages

pytestmark = pytest.mark.engine

PACKAGES = ("vllm", "vllm.v1", "vllm.v1.attention", "vllm.v1.attention.ops")
SPEC = AttentionSpec(4, 2, 32, "float16", num_layers=1)
"""In float16: the interpreter's bfloat16 products are wrong."""
ENCODER = {"attention_type": "encoder_only", "causal": False}


@pytest.fixture(scope="module")
def interpreter() -> Iterator[ProcessPoolExecutor]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        with ProcessPoolExecutor(1, get_context("spawn"), initializer=stand_in) as pool:
            yield pool


def stand_in() -> None:
    """In the child: vLLM's folders, and what the kernels' files import from elsewhere."""
    import triton
    import triton.language as tl

    spec = find_spec("vllm")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    (root,) = spec.submodule_search_locations
    for name in PACKAGES:
        package = ModuleType(name)
        package.__path__ = [root + name.removeprefix("vllm").replace(".", "/")]
        sys.modules[name] = package
    platform = SimpleNamespace(
        fp8_dtype=lambda: torch.float8_e4m3fn,
        has_device_capability=lambda _: True,
        get_device_capability=lambda: (9, 4),
        is_rocm=lambda: True,
        is_cuda_alike=lambda: True,
    )
    stands = {
        "vllm._custom_ops": {},
        "vllm.logger": {"init_logger": lambda _: SimpleNamespace(warning_once=lambda *_: None)},
        "vllm.platforms": {"current_platform": platform},
        # HIP's kernel is compiled into vLLM for ROCm alone: Triton's decodes.
        "vllm.platforms.rocm": {
            "use_rocm_custom_paged_attention": lambda *_: False,
            "on_gfx1x": lambda: False,
        },
        "vllm.triton_utils": {"tl": tl, "triton": triton},
        "vllm.utils.math_utils": {"RCP_LN2": 1.4426950408889634},
    }
    for name, attributes in stands.items():
        sys.modules[name] = ModuleType(name)
        vars(sys.modules[name]).update(attributes)
    vars(sys.modules["vllm"])["_custom_ops"] = sys.modules["vllm._custom_ops"]


def interpret(spec: AttentionSpec, text: str, page_size: int) -> str | None:
    """In the child: the check that failed."""
    contents, batch = make_batch(spec, text, Pages(page_size))
    (variant,) = BACKEND.variants(MI300, spec, {})
    launch = BACKEND.prepare(variant, spec, batch)
    launch.plan()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what the kernels then discard
        launch.run()
    wrong = check(make_truth(spec, contents), batch.output)
    return None if wrong is None else wrong.check


@pytest.mark.parametrize("text", ["q1s40_q33_q20s64", "3q1s90v50", "2q4s50"])
@pytest.mark.parametrize(
    "features",
    [
        {},
        {"sliding_window": 24},
        {"has_alibi": True},
        {"causal": False},
        {"head_dim": 80},
        {"dtype": "float32", "softmax_scale": 0.3},
    ],
    ids=str,
)
def test_the_published_kernels_are_right_as_they_are_called(
    interpreter: ProcessPoolExecutor, features: dict[str, Any], text: str
) -> None:
    spec = replace(SPEC, **features)
    assert interpreter.submit(interpret, spec, text, 16).result() is None


@pytest.mark.parametrize("size", [32, 64, 256])
def test_any_pages(interpreter: ProcessPoolExecutor, size: int) -> None:
    assert interpreter.submit(interpret, SPEC, "q1s40_q20s64", size).result() is None


def test_the_kernel_for_encoders(interpreter: ProcessPoolExecutor) -> None:
    spec = replace(SPEC, **ENCODER)
    assert interpreter.submit(interpret, spec, "q33_2q20v50", 16).result() is None
