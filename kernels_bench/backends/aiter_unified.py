"""AITER's unified kernel in Triton, as vLLM's ROCM_AITER_UNIFIED_ATTN calls it; the package alone
will do.

Not run on an AMD GPU here: called against the recorded signatures, with the results checked
(tests/test_backends_aiter_unified.py); the published kernel of 0.1.7 compiles for gfx942 and
gfx950, and is right under Triton's interpreter (tests/test_aiter_compiles.py). Read against
amd-aiter 0.1.7 to 0.1.20, ops/triton/unified_attention.py, and vLLM 0.24 and 0.32,
v1/attention/backends/rocm_aiter_unified_attn.py.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

from kernels_bench.backends._launches import Unplanned
from kernels_bench.backends._needs import lacks, needs_dtype, needs_gpu, needs_torch
from kernels_bench.backends._releases import release
from kernels_bench.backends._rocm import (
    AITER,
    CDNA3_AND_4,
    AiterRelease,
    aiter_release,
    needs_aiter,
    needs_gfx,
)
from kernels_bench.backends._vllm import bound
from kernels_bench.spec import AttentionSpec, Device, Pages, Phase, Reason, Stack, Support, Variant

if TYPE_CHECKING:
    from kernels_bench.backends.base import Launch, PagedBatch

_UNIFIED = Variant(
    "unified",
    (AITER,),
    # vLLM prefers 64 and takes multiples of 16; a decode's tile is a page, and one of 128 needs
    # more shared memory than CDNA 3 has (tests/test_aiter_compiles.py).
    tuple(Pages(size) for size in (64, 16, 32)),
    engine_options={"vllm": {"attention_backend": "ROCM_AITER_UNIFIED_ATTN"}},
)
_MOST_HEAD_DIM = 256
"""Where a block has 64 KiB of shared memory, which tiles of 64 keys and values then fill; gfx950
has 160."""
_RDNA4 = ("gfx1200", "gfx1201")
_FIRST_ON_RDNA4 = (0, 28)
"""vLLM's: of AITER these parts have the Triton kernels alone (_aiter_ops.py,
`is_rdna_aiter_enabled`)."""
_FIRST: AiterRelease = (0, 1, 7)
_FIRST_WITH_ANY_DIM: AiterRelease = (0, 1, 12)
"""Before it, the kernel that adds up a split context names a variable that it never sets where a
head is padded (_triton_kernels/unified_attention.py, `reduce_segments`), and does not compile."""


class AiterUnified:
    """One kernel for all phases; few programs over long contexts split them."""

    name = "aiter_unified"

    def variants(self, device: Device, spec: AttentionSpec, stack: Stack) -> tuple[Variant, ...]:
        """One: AITER sets its tiles by fixed rules."""
        return (_UNIFIED,)

    def supports(
        self,
        variant: Variant,
        device: Device,
        spec: AttentionSpec,
        phase: Phase,
        stack: Stack,
    ) -> Support:
        """Causal decoders. Over an fp8 cache vLLM quantises the query too, which AITER took up
        on the way.
        """
        return Support(
            (
                *needs_torch(device, stack),
                *needs_gpu(device, "rocm"),
                *needs_gfx(device, *_arches(stack)),
                *needs_aiter(stack, _FIRST, "the first that was read"),
                *_limits(device, spec, stack),
                *lacks(spec, "chunk", "mla", "quantized_kv", "value_dim", "non_causal"),
                *lacks(spec, "encoder_only", "cross", "batch_invariance"),
            )
        )

    def prepare(self, variant: Variant, spec: AttentionSpec, batch: PagedBatch) -> Launch:
        """Bind to a batch; the first `run` of a new kind of layer compiles."""
        return _unified(spec, batch)


def _unified(spec: AttentionSpec, batch: PagedBatch) -> Unplanned:
    """Scales are read for a quantised cache alone, or multiply by one; vLLM passes them always."""
    import torch

    module = import_module("aiter.ops.triton.unified_attention")
    one = torch.ones((), dtype=torch.float32, device=batch.query.device)
    return Unplanned(
        partial(
            bound(module.unified_attention, spec, batch),
            alibi_slopes=batch.alibi_slopes,
            q_descale=None,
            k_descale=one,
            v_descale=one,
            sinks=batch.sinks,
            output_scale=None,
        )
    )


def _arches(stack: Stack) -> tuple[str, ...]:
    is_on_rdna4 = release(stack.get("vllm", "")) >= _FIRST_ON_RDNA4
    return (*CDNA3_AND_4, *(_RDNA4 if is_on_rdna4 else ()))


def _limits(device: Device, spec: AttentionSpec, stack: Stack) -> list[Reason]:
    reasons = needs_dtype(spec, "bfloat16", "float16")
    if spec.head_dim > _MOST_HEAD_DIM and device.arch != "gfx950":
        text = f"head_dim {spec.head_dim}: at most {_MOST_HEAD_DIM} in 64 KiB of shared memory"
        reasons.append(Reason("head_dim", text))
    if spec.head_dim < 32:
        reasons.append(Reason("head_dim", f"head_dim {spec.head_dim}: at least 32"))
    version = stack.get(AITER)
    is_padded = spec.head_dim & (spec.head_dim - 1) != 0
    if version is None or not is_padded or aiter_release(version) >= _FIRST_WITH_ANY_DIM:
        return reasons
    if spec.sliding_window is None:  # with one, a context is never split
        text = f"a power of two in {AITER} {version}; needs {AITER} >= 0.1.12"
        reasons.append(Reason("head_dim", f"head_dim {spec.head_dim}: {text}"))
    return reasons


BACKEND = AiterUnified()
