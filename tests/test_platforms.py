"""Platforms that are not here: who survives on each, and every reason of those who do not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cache

import pytest
from platform_cases import CPU, CUDA, LLAMA, ROCM, Case

from autotune.incumbents import default_order, with_variants
from autotune.models import ModelRequest, kinds, load_model, preset_names
from autotune.plan import restrict
from autotune.settings import RocmFlags
from autotune.wishes import Wishes
from kernels_bench.backends import FoundBackends, find_backends, own_names
from kernels_bench.candidates import Answer, Survey, survey
from kernels_bench.devices.catalogue import PARTS, Part, part_called
from kernels_bench.spec import AttentionSpec, Device, Phase, Reason, Stack

CASES = (*CUDA, *ROCM, *CPU)
KINDS = {
    "flash_attn": "cuda", "flashinfer": "cuda",
    "vllm_rocm": "rocm", "aiter_fa": "rocm", "aiter_unified": "rocm",
    "vllm_triton": "cuda rocm", "triton_unified": "cuda rocm", "triton_split": "cuda rocm",
    "torch_sdpa": "cuda rocm cpu", "torch_flex": "cuda rocm cpu",
    "vllm_cpu": "cpu",
}  # fmt: skip
"""Of the devices that a backend can run on."""
ONE_OF_MANY = {"flashinfer-jit-cache", "nvcc", "ninja"}
"""FlashInfer takes kernels that are compiled, or else what compiles them."""

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
each_part = pytest.mark.parametrize("part", PARTS, ids=lambda part: part.aliases[0])


def part_of(case: Case) -> Part:
    """The catalogue has nothing before sm_80: Turing's is made of Ada's sibling."""
    part = part_called("l4" if case.part == "t4" else case.part)
    assert part is not None, case.part
    if case.part != "t4":
        return part
    return replace(part, device=replace(part.device, name="Tesla T4", arch="sm_75"))


def stack_of(case: Case) -> Stack:
    changed = {**part_of(case).stack.versions, **case.stack}
    return {name: version for name, version in changed.items() if version is not None}


@cache
def ours() -> FoundBackends:
    """A plug-in that happens to be installed is nobody's business here."""
    found = find_backends()
    assert set(own_names()) == set(KINDS)
    return FoundBackends(tuple(each for each in found.backends if each.name in KINDS))


def ask(device: Device, stack: Stack, *specs: AttentionSpec, phases: Iterable[Phase]) -> Survey:
    """Broken is who raises, or has two variants of one name."""
    asked = survey(ours(), device, stack, specs, tuple(phases))
    assert asked.broken == ()
    return asked


def answers_to(case: Case) -> tuple[Answer, ...]:
    model = load_model(case.request)
    spec = model.specs[kinds(model).index(case.kind)]
    asked = ask(part_of(case).device, stack_of(case), spec, phases=[case.phase])
    return restrict(asked, model, Wishes(case.engine)).answers


def labels(text: str, answers: Iterable[Answer]) -> set[str]:
    """ "torch_sdpa flashinfer:fa2,fa3" with every variant written out."""
    found: set[str] = set()
    for word in text.split():
        backend, _, variants = word.partition(":")
        known = {each.entrant.label for each in answers if each.backend == backend}
        wanted = {f"{backend}:{name}" for name in variants.split(",")} if variants else known
        assert wanted <= known, word
        assert wanted, word
        found |= wanted
    return found


def offending(device: Device, stack: Stack, answer: Answer, reason: Reason) -> str:
    """What a reason must name."""
    package = reason.text.partition(" ")[0].rstrip(":")
    named = {
        "device": device.kind,
        "arch": device.arch,
        "torch": device.name,
        "phase": answer.phase.value,
        "package": stack.get(package, f"{package}: "),
        "engine": answer.entrant.label,
        "variants": answer.backend,
        "defect": f"sliding_window {answer.spec.sliding_window}",
        "head_dim_v": f"head_dim_v {answer.spec.value_dim}",
        "logit_softcap": f"{answer.spec.logit_softcap or 0:g}",
        **{name: name for name in ("has_sinks", "has_alibi", "mla")},
    }
    return named.get(reason.field) or f"{reason.field} {getattr(answer.spec, reason.field)}"


@each_case
def test_who_survives_and_why_the_others_do_not(case: Case) -> None:
    answers, device, stack = answers_to(case), part_of(case).device, stack_of(case)
    able = {answer.entrant.label for answer in answers if answer.support}
    assert able == labels(case.able, answers)
    texts = {each.entrant.label: [r.text for r in each.support.reasons] for each in answers}
    for names, expected in case.refused.items():
        wanted = [expected] if isinstance(expected, str) else list(expected)
        for label in labels(names, answers):
            assert texts[label] == wanted, label
    for answer in answers:
        for reason in answer.support.reasons:
            assert offending(device, stack, answer, reason) in reason.text


@pytest.mark.parametrize("case", [c for c in CASES if c.first], ids=lambda case: case.name)
def test_who_would_run_unmeasured(case: Case) -> None:
    flags, specs = RocmFlags(use_aiter=case.use_aiter), load_model(case.request).specs
    order = default_order(case.engine, part_of(case).device, specs, stack_of(case), flags)
    able = [answer.entrant.label for answer in answers_to(case) if answer.support]
    assert next(name for name in with_variants(order, able) if name in able) == case.first


@cache
def layers() -> tuple[AttentionSpec, ...]:
    """Each kind of all presets once, with a cache in fp8 as well."""
    requests = (
        ModelRequest(name, kv_dtype=kv_dtype)
        for name in preset_names()
        for kv_dtype in (None, "fp8_e4m3", "fp8_e5m2")
    )
    specs = (spec for request in requests for spec in load_model(request).specs)
    return tuple(dict.fromkeys(replace(spec, num_layers=1) for spec in specs))


@each_part
def test_every_answer_is_a_yes_or_says_what_offends(part: Part) -> None:
    device, stack = part.device, part.stack.versions
    answers = ask(device, stack, *layers(), phases=Phase).answers
    assert {answer.backend for answer in answers} == set(KINDS)
    for answer in answers:
        assert not answer.support or device.kind in KINDS[answer.backend]
        for reason in answer.support.reasons:
            assert offending(device, stack, answer, reason) in reason.text, answer.entrant.label


@each_part
def test_who_is_not_installed_says_so_and_what_to_do(part: Part) -> None:
    stack, (spec,) = part.stack.versions, load_model(LLAMA).specs
    for answer in ask(part.device, stack, spec, phases=[Phase.DECODE]).answers:
        for name in set(answer.variant.packages) - ONE_OF_MANY:
            if answer.backend == "flashinfer" and name == "c++":
                continue
            rest = {key: version for key, version in stack.items() if key != name}
            again = ask(part.device, rest, spec, phases=[Phase.DECODE]).answers
            (found,) = (each for each in again if each.entrant.label == answer.entrant.label)
            # vLLM for CPUs and Triton for ROCm have other names that would do as well
            names = (f"{name}: ", *(f"{each}: " for each in found.variant.packages))
            texts = [r.text for r in found.support.reasons if r.field == "package"]
            assert any(text.startswith(names) and "; " in text for text in texts), (name, texts)
