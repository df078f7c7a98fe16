"""Prints where vLLM's own checks and ours differ over the layers of the sweep, and who is right.

    python benchmarks/vllm_agreement.py [--sweep sweep.jsonl]

Run it with a Python that finds a published vLLM, any build: its checks are asked on this CPU, with
stand-ins for the part and for compiled libraries, as record_vllm_choices.py does. What the kernels
did is read from the sweep of an sm_90 GPU.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from record_vllm_choices import Anything, _cuda, _name, _reasons
from sweep import Case
from sweep_cases import SPECS

from kernels_bench.backends import find_backend
from kernels_bench.backends.base import Backend
from kernels_bench.candidates import ask
from kernels_bench.spec import AttentionSpec, Device, Phase, Stack, Variant

H200 = Device("cuda", "NVIDIA H200", "sm_90", 132, 141 << 30, 60 << 20)
NAMES = {"FLASH_ATTN": "flash_attn", "FLASHINFER": "flashinfer", "TRITON_ATTN": "vllm_triton"}
"""Its names of what both can load; its FLEX_ATTENTION is no candidate of ours."""
STACK: Stack = {
    "torch": "2.11.0", "cuda": "13.0", "triton": "3.6.0", "flashinfer-python": "0.6.12",
    "nvcc": "13.0", "c++": "13", "ninja": "1.13", "nvidia-cutlass-dsl": "4.5.2",
    "quack-kernels": "0.4.1",
}  # fmt: skip
ATTENTION_TYPES = {
    "decoder": "decoder", "encoder_only": "encoder_only", "cross": "encoder_decoder",
}  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """Of one side; no reasons are a yes."""

    reasons: tuple[str, ...]

    @property
    def text(self) -> str:
        """For a cell."""
        return "no: " + "; ".join(self.reasons) if self.reasons else "yes"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sweep", type=Path)
    file = parser.parse_args().sweep
    lines = [] if file is None else file.read_text().splitlines()
    cases = [Case(**json.loads(line)) for line in lines]
    sys.meta_path.insert(0, Anything())
    os.environ["VLLM_LOGGING_LEVEL"] = "ERROR"  # its log goes to stdout
    platform = _cuda("sm_90")
    vllm: str = importlib.import_module("vllm").__version__
    asked = differing = 0
    print(f"vllm {vllm}, sm_90\n")
    print("| layer | backend | vLLM | ours | on the GPU | right |\n|---|---|---|---|---|---|")
    for name, spec in SPECS.items():
        theirs = ask_vllm(platform, spec)
        for backend, own in NAMES.items():
            asked += 1
            variant, ours = ask_ours(own, spec, {**STACK, "vllm": "0.24.0"})
            if bool(theirs[backend].reasons) != bool(ours.reasons):
                differing += 1
                did = "; ".join(dict.fromkeys(seen(cases, name, own, variant))) or "not run"
                cells = (name, backend, theirs[backend].text, ours.text, did, right(ours, did))
                print(f"| {' | '.join(cells)} |")
    print(f"\n{asked} questions, {asked - differing} answered alike")
    return 0


def ask_vllm(platform: Any, spec: AttentionSpec) -> Mapping[str, Answer]:
    """Through the platform's own function, as a layer would."""
    torch, selector, config = map(
        importlib.import_module, ("torch", "vllm.v1.attention.selector", "vllm.config")
    )
    os.environ["VLLM_BATCH_INVARIANT"] = str(int(spec.batch_invariant))
    fields: dict[str, Any] = {
        "head_size": spec.head_dim,
        "dtype": getattr(torch, spec.dtype),
        "kv_cache_dtype": spec.kv_dtype or "auto",
        "block_size": None,
        "has_sink": spec.has_sinks,
        "use_non_causal": not spec.causal and spec.attention_type == "decoder",
        "attn_type": ATTENTION_TYPES[spec.attention_type],
        "use_batch_invariant": spec.batch_invariant,
    }
    with config.set_current_vllm_config(config.VllmConfig()):
        found, refused = platform.get_valid_backends(
            platform.get_device_capability(), selector.AttentionSelectorConfig(**fields), None
        )
    answers = {each.name: Answer(tuple(_reasons(said))) for each, said in refused.items()}
    return answers | {_name(each): Answer(()) for each in found}


def right(ours: Answer, did: str) -> str:
    """By what the kernel did; where it did not run, the page says."""
    is_bad = "wrong" in did or "failed" in did
    if not (is_bad or "passed" in did):
        return "?"
    return "ours" if is_bad == bool(ours.reasons) else "vLLM"


def ask_ours(name: str, spec: AttentionSpec, stack: Stack) -> tuple[Variant | None, Answer]:
    """Of the variant that the backend's name alone means to vLLM, in every phase of the layer."""
    backend = find_backend(name)
    assert isinstance(backend, Backend)
    variants = backend.variants(H200, spec, stack)
    variant = next(
        (v for v in variants if set(v.engine_options.get("vllm", {})) == {"attention_backend"}),
        None,
    )
    if variant is None:
        return None, Answer(("no option of vLLM loads it",))
    is_encoder = spec.attention_type == "encoder_only"
    phases = (Phase.PREFILL,) if is_encoder else (Phase.PREFILL, Phase.DECODE)
    answers = [ask(backend, variant, H200, spec, phase, stack).support for phase in phases]
    texts = dict.fromkeys(reason.text for answer in answers for reason in answer.reasons)
    return variant, Answer(tuple(texts))


def seen(cases: list[Case], name: str, backend: str, variant: Variant | None) -> Iterator[str]:
    """What the variant did on that layer, yes or forced."""
    who = None if variant is None else variant.name
    for case in cases:
        if (case.spec, case.backend, case.variant) == (name, backend, who):
            is_decoder = SPECS[name].attention_type != "encoder_only" or case.phase == "prefill"
            if is_decoder and not case.did.startswith("not run: forced"):
                yield f"{case.did} {case.said}".strip()[:120]


if __name__ == "__main__":
    sys.exit(main())
