"""Reasons that several backends share: what a kernel lacks, and what must be installed under it."""

from __future__ import annotations

from typing import Literal, TypeAlias

from kernels_bench.spec import AttentionSpec, Device, Phase, Reason, Stack

Feature: TypeAlias = Literal[
    "sinks",
    "alibi",
    "chunk",
    "softcap",
    "mla",
    "quantized_kv",
    "e5m2_kv",
    "value_dim",
    "non_causal",
    "encoder_only",
    "cross",
    "batch_invariance",
]
"""What a layer, or its user, may ask of a kernel beyond plain causal attention."""


def lacks(spec: AttentionSpec, *features: Feature) -> list[Reason]:
    """One reason for each of these features that the layer needs and the kernel has not."""
    return [reason for feature in features if (reason := _lack(spec, feature)) is not None]


def _lack(spec: AttentionSpec, feature: Feature) -> Reason | None:
    return _lack_in_scores(spec, feature) or _lack_in_tensors(spec, feature)


def _lack_in_scores(spec: AttentionSpec, feature: Feature) -> Reason | None:
    """Which keys a query sees, and what is made of their logits."""
    match feature:
        case "sinks" if spec.has_sinks:
            return Reason("has_sinks", "has_sinks: the kernel has no sink term")
        case "alibi" if spec.has_alibi:
            return Reason("has_alibi", "has_alibi: the kernel adds no bias by distance")
        case "chunk" if spec.attention_chunk is not None:
            text = f"attention_chunk {spec.attention_chunk}: the kernel has no chunked mask"
            return Reason("attention_chunk", text)
        case "softcap" if spec.logit_softcap is not None:
            text = f"logit_softcap {spec.logit_softcap:g}: the kernel cannot cap logits"
            return Reason("logit_softcap", text)
        case "non_causal" if not spec.causal:
            return Reason("causal", "causal false: the kernel hides every later token")
        case _:
            return None


def _lack_in_tensors(spec: AttentionSpec, feature: Feature) -> Reason | None:
    """What it reads, whom it serves, and in which order it adds up."""
    match feature:
        case "mla" if spec.mla is not None:
            return Reason("mla", "mla: latent attention needs kernels of its own")
        case "quantized_kv" if spec.kv_dtype not in (None, spec.dtype):
            text = f"kv_dtype {spec.kv_dtype}: query, key and value must share {spec.dtype}"
            return Reason("kv_dtype", text)
        case "e5m2_kv" if spec.kv_dtype == "fp8_e5m2":
            return Reason("kv_dtype", "kv_dtype fp8_e5m2: of fp8 it takes fp8_e4m3 alone")
        case "value_dim" if spec.value_dim != spec.head_dim:
            text = f"head_dim_v {spec.value_dim}: must equal head_dim {spec.head_dim}"
            return Reason("head_dim_v", text)
        case "encoder_only" | "cross" if spec.attention_type == feature:
            text = f"attention_type {feature}: it serves decoders"
            return Reason("attention_type", text)
        case "batch_invariance" if spec.batch_invariant:
            text = "batch_invariant: it divides the work by what else is in the batch"
            return Reason("batch_invariant", text)
        case _:
            return None


def needs_encoder_phase(spec: AttentionSpec, phase: Phase) -> list[Reason]:
    """An encoder has no cache to come back to."""
    if spec.attention_type != "encoder_only" or phase is Phase.PREFILL:
        return []
    text = f"phase {phase.value}: an encoder keeps no cache, and only ever prefills"
    return [Reason("phase", text)]


def needs_dtype(spec: AttentionSpec, *dtypes: str) -> list[Reason]:
    """Why a kernel for these dtypes cannot run this layer."""
    if spec.dtype in dtypes:
        return []
    *others, last = dtypes
    return [Reason("dtype", f"dtype {spec.dtype}: takes {', '.join(others)} and {last}")]


def needs_torch(device: Device, stack: Stack) -> list[Reason]:
    """Why torch itself cannot reach this device.

    The stack's "cuda" and "hip" are what torch was built for.
    """
    version = stack.get("torch")
    if version is None:
        return [Reason("package", "torch: not installed; pip install torch")]
    built_for = {"cuda": "cuda", "rocm": "hip"}.get(device.kind)
    if built_for is not None and built_for not in stack:
        name = {"cuda": "CUDA", "hip": "ROCm"}[built_for]
        text = f"torch {version}: built without {name}, cannot use {device.name}"
        return [Reason("torch", f"{text}; install a build of torch for {name}")]
    return []


def fp8_of_rocm(device: Device, spec: AttentionSpec) -> list[Reason]:
    """Which AMD GPUs convert fp8 in hardware, as AMD's own kernels need it: CDNA 3 and 4, and RDNA
    4. On CDNA 3 the formats are those without infinities and negative zero (fnuz), which stand for
    the others there: kernels_bench/storage.py. AMD's ISA guides.
    """
    if device.kind != "rocm" or spec.kv_dtype is None:
        return []
    if device.arch.startswith(("gfx94", "gfx95", "gfx12")):
        return []
    return [Reason("kv_dtype", f"kv_dtype {spec.kv_dtype}: {device.arch} has no fp8")]


def needs_gpu(device: Device, *kinds: Literal["cuda", "rocm"]) -> list[Reason]:
    """Why a kernel for these kinds of device cannot run on this one."""
    if device.kind in kinds:
        return []
    return [Reason("device", f"device {device.kind}: runs on {' and '.join(kinds)}")]


def needs_package(stack: Stack, name: str, what_to_do: str) -> list[Reason]:
    """Why a distribution that is not installed keeps a kernel from running."""
    if name in stack:
        return []
    return [Reason("package", f"{name}: not installed; {what_to_do}")]


def compute_capability(device: Device) -> int | None:
    """90 for "sm_90"; None where the device is not NVIDIA's."""
    digits = device.arch.removeprefix("sm_").rstrip("af")
    return int(digits) if device.kind == "cuda" and digits.isdigit() else None
