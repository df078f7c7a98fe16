"""torch's FlexAttention, compiled: the mask and the soft cap are fused into generated code."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from kernels_bench.backends._needs import compute_capability, lacks, needs_package
from kernels_bench.backends._torch import (
    ANY_PAGES,
    GatheredBatch,
    PaddedQuery,
    torch_refusals,
)
from kernels_bench.backends._triton import triton_package
from kernels_bench.spec import AttentionSpec, Device, Phase, Reason, Stack, Support, Variant

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from kernels_bench.backends.base import Launch, PagedBatch

_ON_CPU = Variant(
    "compiled", ("torch", "c++", "python-headers"), ANY_PAGES, graph_phases=frozenset()
)
# torch's C++ template computes in vectors of AVX2 or wider; without them it refuses to lower:
# torch/_inductor/kernel/flex/flex_cpu.py, 2.13
_VECTORS = ("avx2", "avx512")
_BUFFER_ROWS = 1024
_MOST_HEAD_DIM = 256


class TorchFlex:
    """One padded batch, compiled once for all lengths."""

    name = "torch_flex"

    def variants(self, device: Device, spec: AttentionSpec, stack: Stack) -> tuple[Variant, ...]:
        """Only the compiled one: eager FlexAttention materialises every logit."""
        if device.kind == "cpu":
            return (_ON_CPU,)
        packages = ("torch", triton_package(stack))
        return (Variant("compiled", packages, ANY_PAGES, graph_phases=frozenset()),)

    def supports(
        self,
        variant: Variant,
        device: Device,
        spec: AttentionSpec,
        phase: Phase,
        stack: Stack,
    ) -> Support:
        """All but sinks, scaled caches and MLA, where torch can compile it."""
        reasons = torch_refusals(device, spec, phase, stack)
        if device.kind == "cpu":
            reasons += _needs_of_the_cpu_template(device, stack) + lacks(spec, "quantized_kv")
        else:
            what_to_do = "pip install triton, with which torch compiles for a GPU"
            reasons += needs_package(stack, triton_package(stack), what_to_do)
            reasons += _limits_of_the_gpu_template(device, spec)
        return Support((*reasons, *lacks(spec, "sinks", "batch_invariance")))

    def prepare(self, variant: Variant, spec: AttentionSpec, batch: PagedBatch) -> Launch:
        """Bind to a batch; the first `run` of a new kind of shape compiles."""
        return _Compiled(spec, batch)


def _needs_of_the_cpu_template(device: Device, stack: Stack) -> list[Reason]:
    """On a CPU torch writes C++ and calls a compiler, at the first use of a kind of shape."""
    reasons = [
        Reason("package", text)
        for package, text in (
            ("c++", "c++: no C++ compiler found; install g++ or set CXX"),
            ("python-headers", "python-headers: Python.h not found; install python3-dev"),
        )
        if package not in stack
    ]
    if not any(vectors in device.arch for vectors in _VECTORS):
        text = f"arch {device.arch}: torch's C++ template needs AVX2 or AVX-512"
        reasons.append(Reason("arch", text))
    return reasons


def _limits_of_the_gpu_template(device: Device, spec: AttentionSpec) -> list[Reason]:
    """It converts what it loads to the query's dtype, but scales nothing, so that of fp8 it reads
    what is stored without a scale. At a head_dim of 512 torch 2.11's smallest tiles take 256 KiB of
    shared memory, and an H200 has 227.
    """
    reasons = []
    capability = compute_capability(device)
    if capability is not None and capability < 80 and spec.dtype == "bfloat16":
        # torch/_inductor/compile_fx.py, 2.13, `_check_triton_bf16_support`: eager in its place
        text = f"arch {device.arch}: torch compiles bfloat16 for sm_80 or later"
        reasons.append(Reason("arch", text))
    if spec.head_dim > _MOST_HEAD_DIM:
        text = f"head_dim {spec.head_dim}: at most {_MOST_HEAD_DIM} fit the shared memory of a GPU"
        reasons.append(Reason("head_dim", text))
    if spec.kv_dtype == "fp8_e4m3":
        reasons.append(Reason("kv_dtype", "kv_dtype fp8_e4m3: its scales are not applied"))
    return reasons


class _Compiled:
    """Queries and keys padded as in torch_sdpa; blocks that nobody sees are skipped."""

    def __init__(self, spec: AttentionSpec, batch: PagedBatch) -> None:
        self.spec, self.batch = spec, batch
        self.attend = _compile()

    def plan(self) -> None:
        """Lengths to the places of tokens and to the block mask."""
        from torch.nn.attention.flex_attention import create_block_mask

        batch = self.batch
        self.padded, self.gathered = PaddedQuery(batch), GatheredBatch(batch)
        cached, lens = _fixed_size(self.padded.cached), _fixed_size(batch.seq_lens)
        rows, width = self.padded.positions.shape
        self.block_mask = create_block_mask(
            _mask_mod(self.spec, cached, lens),
            B=rows,
            H=None,
            Q_LEN=width,
            KV_LEN=self.gathered.num_keys,
            device=str(batch.query.device),
        )
        self.score_mod = _score_mod(self.spec, cached, batch.alibi_slopes)

    def run(self) -> None:
        """Gather, attend, and put the padded output's real rows back."""
        batch = self.batch
        output = self.attend(
            self.padded.pad(batch.query),
            *self.gathered.gather(),
            score_mod=self.score_mod,
            block_mask=self.block_mask,
            scale=batch.softmax_scale,
            enable_gqa=self.spec.num_q_heads != self.spec.num_kv_heads,
        )
        self.padded.unpad(output, batch.output)


@lru_cache(maxsize=1)
def _compile() -> Callable[..., Tensor]:
    """One compiled function a process, for all lengths: a recompile costs about 5 s on a CPU."""
    import torch
    from torch._dynamo import config as dynamo
    from torch._inductor import config as inductor
    from torch.nn.attention.flex_attention import flex_attention

    dynamo.recompile_limit = 64  # past the limit it would run eager, and nobody would see it
    dynamo.fail_on_recompile_limit_hit = True
    dynamo.specialize_float = True  # a soft cap as a symbol does not lower on torch 2.13
    inductor.compile_threads = 1  # a pool of compilers costs more than our few kernels
    compiled: Callable[..., Tensor] = torch.compile(flex_attention, dynamic=True)
    return compiled


def _fixed_size(per_row: Tensor) -> Tensor:
    """Lengths in a buffer whose size is no symbol, as engines keep them.

    torch 2.13's C++ template renames symbols by replacing text ("ks1" inside "ks11" too), and then
    does not compile; what the mask indexes must bring no symbol along.
    """
    import torch

    rows = -(-len(per_row) // _BUFFER_ROWS) * _BUFFER_ROWS
    buffer = per_row.new_zeros(rows)
    buffer[: len(per_row)] = per_row
    torch._dynamo.mark_static(buffer)
    return buffer


def _mask_mod(
    spec: AttentionSpec, cached: Tensor, lens: Tensor
) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """What a query sees, by its index in the padded query and the key's index."""
    # Locals, not fields of `spec`: under dynamic shapes the compiler takes a number read from an
    # object for a symbol, and torch 2.13's C++ template does not compile with one more symbol.
    causal, window, chunk = spec.causal, spec.sliding_window, spec.attention_chunk

    def seen(row: Tensor, head: Tensor, query_index: Tensor, key: Tensor) -> Tensor:
        query = query_index + cached[row]
        mask = key < lens[row]
        if causal:
            mask = mask & (key <= query)
        if window is not None:
            mask = mask & (query - key < window)
        if chunk is not None:
            mask = mask & (query // chunk == key // chunk)
        return mask

    return seen


def _score_mod(
    spec: AttentionSpec, cached: Tensor, slopes: Tensor | None
) -> Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor] | None:
    """Soft cap and ALiBi; None where the scores stay as they are."""
    import torch

    cap = spec.logit_softcap
    if cap is None and slopes is None:
        return None
    if slopes is not None:
        torch._dynamo.mark_static(slopes)

    def changed(
        score: Tensor, row: Tensor, head: Tensor, query_index: Tensor, key: Tensor
    ) -> Tensor:
        if cap is not None:
            score = torch.tanh(score / cap) * cap
        if slopes is not None:
            score = score + slopes[head] * (key - query_index - cached[row])
        return score

    return changed


BACKEND = TorchFlex()
