"""Backends against the recorded signatures of what they call: a name, or a place among positional
arguments, that a release does not know raises here as there; what is swapped shows in the output.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from fake_kernels import attend, install
from published_modules import FOLDER, published, signature_of
from rocm_trials import H100, trial_verdict

from kernels_bench.backends.base import Backend
from kernels_bench.backends.flash_attn import BACKEND as FLASH_ATTN
from kernels_bench.backends.vllm_triton import BACKEND as VLLM_TRITON
from kernels_bench.spec import AttentionSpec, Pages, Phase, Variant

SPEC = AttentionSpec(4, 2, 32, "bfloat16", num_layers=1)
PHASES = (Phase.DECODE, Phase.EXTEND, Phase.MIXED)
TRITON = "vllm.v1.attention.ops.triton_unified_attention"
Mistake = Callable[[dict[str, Any]], Mapping[str, Any]]
NAMES = {
    "k_cache": "k",
    "v_cache": "v",
    "page_table": "block_table",
    "cache_seqlens": "seqused_k",
    "s_aux": "sinks",
    "learnable_sink": "sinks",
}
"""What packages call the same thing."""


def none(given: dict[str, Any]) -> Mapping[str, Any]:
    return {}


def attending(mistake: Mistake = none) -> Callable[..., Any]:
    """Attention under every provider's names, into `out` where that is given."""

    def kernel(**arguments: Any) -> Any:
        given = {NAMES.get(name, name): value for name, value in arguments.items()}
        given.update(mistake(given))
        lens = given.get("seqused_k")
        if lens is None:
            lens = given["cu_seqlens_k"].diff()
        before, after = given["window_size"]
        computed = attend(
            given["q"],
            (given["k"], given["v"]),
            given["block_table"],
            given["cu_seqlens_q"],
            lens,
            given["softmax_scale"],
            given["causal"],
            (-1 if before is None else before, -1 if after is None else after),
            given["softcap"],
            given.get("alibi_slopes"),
            given.get("sinks"),
        )
        output = given.get("out")
        output = torch.zeros_like(given["q"]) if output is None else output
        output[: len(computed)] = computed
        return output

    return kernel


def with_logsums(**arguments: Any) -> tuple[torch.Tensor, None]:
    return attending()(**arguments), None


def schedule(**arguments: Any) -> torch.Tensor:
    return torch.zeros(4, dtype=torch.int32)


def variant_of(backend: Backend, name: str) -> Variant:
    return next(each for each in backend.variants(H100, SPEC, {}) if each.name == name)


def install_vllm(monkeypatch: pytest.MonkeyPatch, version: str, mistake: Mistake) -> None:
    vllm, kernel = published(f"vllm-{version}"), attending(mistake)
    vllm.install(monkeypatch, TRITON, unified_attention=kernel)
    name = "vllm.vllm_flash_attn"
    functions = {"flash_attn_varlen_func": kernel, "get_scheduler_metadata": schedule}
    vllm.install(monkeypatch, name, **functions)
    built = dict.fromkeys(("FA2_AVAILABLE", "FA3_AVAILABLE", "FA4_AVAILABLE"), True)
    install(monkeypatch, f"{name}.flash_attn_interface", **built)


VLLM = [
    (VLLM_TRITON, "unified"),
    (FLASH_ATTN, "fa2@vllm"),
    (FLASH_ATTN, "fa3@vllm"),
    (FLASH_ATTN, "fa4@vllm"),
]


@pytest.mark.parametrize("version", ["0.24.0", "0.32.0"])
@pytest.mark.parametrize(("backend", "name"), VLLM, ids=[name for _, name in VLLM])
def test_vllm_takes_what_it_is_given(
    monkeypatch: pytest.MonkeyPatch, backend: Backend, name: str, version: str
) -> None:
    install_vllm(monkeypatch, version, none)
    variant = variant_of(backend, name)
    spec = replace(SPEC, sliding_window=40, logit_softcap=20.0)
    verdicts = {
        phase: trial_verdict(backend, variant, spec, phase, variant.pages[0]) for phase in PHASES
    }
    assert verdicts == dict.fromkeys(PHASES)


def install_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    flash_attn = published("flash-attn-2.8.3")
    flash_attn.install(monkeypatch, "flash_attn", flash_attn_varlen_func=attending())
    cute = published("flash-attn-4-4.0.0b36")
    cute.install(monkeypatch, "flash_attn.cute", flash_attn_varlen_func=with_logsums)
    published("sglang-kernel-0.4.10").install(
        monkeypatch,
        "sgl_kernel.flash_attn",
        flash_attn_with_kvcache=attending(),
        get_scheduler_metadata=schedule,
    )


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("name", ["fa2@flash-attn", "fa4@flash-attn-4", "fa3@sglang-kernel"])
def test_packages_take_what_they_are_given(
    monkeypatch: pytest.MonkeyPatch, name: str, phase: Phase
) -> None:
    install_packages(monkeypatch)
    variant = variant_of(FLASH_ATTN, name)
    assert trial_verdict(FLASH_ATTN, variant, SPEC, phase, variant.pages[0]) is None


SWAPS: dict[str, Mistake] = {
    "keys for values": lambda given: {"k": given["v"], "v": given["k"]},
    "before for after": lambda given: {"window_size": given["window_size"][::-1]},
    "a window of all but itself": lambda given: {"window_size": (given["window_size"][0] - 1, 0)},
    "scale for cap": lambda given: {
        "softmax_scale": given["softcap"],
        "softcap": given["softmax_scale"],
    },
    "no cap": lambda _: {"softcap": 0.0},
    "starts for lengths": lambda given: {"seqused_k": given["cu_seqlens_q"][1:]},
}


@pytest.mark.parametrize("mistake", SWAPS.values(), ids=SWAPS)
def test_what_is_swapped_is_wrong(monkeypatch: pytest.MonkeyPatch, mistake: Mistake) -> None:
    """As an adapter would that puts the right names over the wrong values."""
    install_vllm(monkeypatch, "0.24.0", mistake)
    spec = replace(SPEC, sliding_window=40, logit_softcap=20.0)
    variant = variant_of(VLLM_TRITON, "unified")
    assert trial_verdict(VLLM_TRITON, variant, spec, Phase.EXTEND, Pages(16)) is not None


@pytest.mark.parametrize(
    ("args", "names"),
    [((), ("a", "b", "c")), ((1, 2), ("c",)), ((1,), ("b", "c", "d"))],
)
def test_what_a_signature_takes(args: tuple[int, ...], names: tuple[str, ...]) -> None:
    signature = signature_of("f", "(a, b, *, c, d=...)")
    assert signature.bind(*args, **dict.fromkeys(names, 0))


@pytest.mark.parametrize(
    ("args", "names"),
    [((1,), ("c",)), ((1, 2, 3), ()), ((1, 2), ("c", "e")), ((1, 2), ("a", "c"))],
)
def test_what_it_does_not(args: tuple[int, ...], names: tuple[str, ...]) -> None:
    signature = signature_of("f", "(a, b, *, c, d=...)")
    with pytest.raises(TypeError):
        signature.bind(*args, **dict.fromkeys(names, 0))


def test_a_fake_class_is_called_as_the_published_one() -> None:
    class Wrapper:
        def __init__(self, float_workspace_buffer: str, kv_layout: str) -> None:
            self.made_with = (float_workspace_buffer, kv_layout)

        def plan(self, **given: Any) -> dict[str, Any]:
            return given

        def run(self, q: int, paged_kv_cache: int, out: int) -> int:
            return q + paged_kv_cache + out

    flashinfer = published("flashinfer-python-0.6.12")
    made = flashinfer.class_like("flashinfer:BatchDecodeWithPagedKVCacheWrapper", Wrapper)
    wrapper = made("buffer", kv_layout="NHD")
    assert wrapper.made_with == ("buffer", "NHD")
    assert wrapper.run(1, 2, out=3) == 6
    with pytest.raises(TypeError, match="unexpected keyword argument 'output'"):
        wrapper.run(1, 2, output=3)


@pytest.mark.parametrize(
    "file", sorted(FOLDER.glob("signatures-*.json")), ids=lambda each: each.stem
)
def test_every_record_is_read(file: Any) -> None:
    record = published(file.stem.removeprefix("signatures-"))
    assert file.stem == f"signatures-{record.package}-{record.version}"
    texts = {**record.functions, **record.operators}
    signatures = [signature_of(name, text) for name, text in texts.items()]
    assert all(len(signature.parameters) > 4 for signature in signatures)
    assert all(isinstance(each, inspect.Signature) for each in signatures)
