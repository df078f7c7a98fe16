"""How FlashInfer's wrappers are planned and run: as vLLM's FLASHINFER does both.

Read in flashinfer 0.6.12 (prefill.py, decode.py, attention/scheduler.cuh) and in vllm 0.24
(v1/attention/backends/flashinfer.py).

In CUDA-graph mode a wrapper copies a plan into the buffers that it was made with and into its own
integer workspace. What `run` passes beside them (grid sizes, offsets in the workspaces) follows
from the number of requests and of tokens, which a batch does not change.
"""

from __future__ import annotations

import os
import shutil
import sysconfig
from collections.abc import Callable
from functools import lru_cache, partial
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Literal, TypeAlias

from kernels_bench.backends._flashinfer_pages import PageIndices
from kernels_bench.workload import VERIFY_MAX_NEW_TOKENS

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from kernels_bench.backends.base import Launch, PagedBatch
    from kernels_bench.spec import AttentionSpec

WORKSPACE_BYTES = 394 << 20
"""vLLM's VLLM_FLASHINFER_WORKSPACE_BUFFER_SIZE."""

PrefillKernel: TypeAlias = Literal["fa2", "fa3", "auto"]


class Prefill:
    """The prefill wrapper over the requests from `first_row` on."""

    def __init__(
        self,
        spec: AttentionSpec,
        batch: PagedBatch,
        pages: PageIndices,
        kernel: PrefillKernel,
        first_row: int,
        is_captured: bool,
    ) -> None:
        import torch

        self._batch, self._pages, self._first_row = batch, pages, first_row
        wrapper = flashinfer().BatchPrefillWithPagedKVCacheWrapper(
            _workspace(batch.query.device),
            batch.pages.layout,
            backend=kernel,
            use_cuda_graph=is_captured,
            # These are used in CUDA-graph mode alone.
            qo_indptr_buf=torch.empty_like(batch.query_start_loc),
            paged_kv_indptr_buf=pages.starts,
            paged_kv_indices_buf=pages.buffer,
            paged_kv_last_page_len_buf=pages.last_page_len,
        )
        self._plan = partial(
            wrapper.plan,
            num_qo_heads=spec.num_q_heads,
            num_kv_heads=spec.num_kv_heads,
            head_dim_qk=spec.head_dim,
            page_size=batch.pages.size,
            causal=spec.causal,
            sm_scale=batch.softmax_scale,
            window_left=window_left(spec),
            logits_soft_cap=spec.logit_softcap,
            q_data_type=batch.query.dtype,
            kv_data_type=batch.key_cache.dtype,
        )
        first_token = int(batch.query_start_loc_cpu[first_row])
        self._run = _bound_run(wrapper.run, batch, slice(first_token, None))

    def plan(self) -> None:
        """Divide the work; lengths are read on the CPU, so that nothing waits."""
        first, pages = self._first_row, self._pages
        starts = self._batch.query_start_loc_cpu[first:]
        self._plan(
            qo_indptr=starts - starts[0],
            paged_kv_indptr=pages.starts_cpu[first:],
            paged_kv_indices=pages.pages,
            paged_kv_last_page_len=pages.last_page_len_cpu[first:],
        )

    def run(self) -> None:
        """One call, which writes these requests' output."""
        self._run()


class Decode:
    """The decode wrapper over the first `num_rows` requests, one new token each."""

    def __init__(
        self,
        spec: AttentionSpec,
        batch: PagedBatch,
        pages: PageIndices,
        use_tensor_cores: bool,
        num_rows: int,
        is_captured: bool,
    ) -> None:
        self._pages, self._num_rows, self._is_captured = pages, num_rows, is_captured
        wrapper = flashinfer().BatchDecodeWithPagedKVCacheWrapper(
            _workspace(batch.query.device),
            batch.pages.layout,
            use_cuda_graph=is_captured,
            use_tensor_cores=use_tensor_cores,
            paged_kv_indptr_buffer=pages.starts,
            paged_kv_indices_buffer=pages.buffer,
            paged_kv_last_page_len_buffer=pages.last_page_len,
        )
        fast_plan = import_module("flashinfer.decode").fast_decode_plan
        self._plan, self._plan_again = (
            partial(
                plan,
                num_qo_heads=spec.num_q_heads,
                num_kv_heads=spec.num_kv_heads,
                head_dim=spec.head_dim,
                page_size=batch.pages.size,
                sm_scale=batch.softmax_scale,
                window_left=window_left(spec),
                logits_soft_cap=spec.logit_softcap,
                q_data_type=batch.query.dtype,
                kv_data_type=batch.key_cache.dtype,
            )
            for plan in (wrapper.plan, partial(fast_plan, wrapper))
        )
        self._run = _bound_run(wrapper.run, batch, slice(0, num_rows))

    def plan(self) -> None:
        """Divide the work. For a graph only the first plan is the whole one: it loads the kernel;
        the later ones leave out the copies that `PageIndices` makes.
        """
        pages, rows = self._pages, self._num_rows
        self._plan(
            indptr=pages.starts_cpu[: rows + 1],
            indices=pages.pages,
            last_page_len=pages.last_page_len_cpu[:rows],
        )
        if self._is_captured:
            self._plan = self._plan_again

    def run(self) -> None:
        """One call, which writes these requests' output."""
        self._run()


class WrapperLaunch:
    """Wrappers that together cover the batch."""

    def __init__(self, pages: PageIndices, *parts: Launch) -> None:
        self._pages, self._parts = pages, parts

    def plan(self) -> None:
        """The page indices, then every wrapper's schedule."""
        self._pages.update()
        for part in self._parts:
            part.plan()

    def run(self) -> None:
        """A call a wrapper."""
        for part in self._parts:
            part.run()


def prefill(spec: AttentionSpec, batch: PagedBatch, kernel: PrefillKernel) -> WrapperLaunch:
    """The prefill wrapper for every request, whatever the phase."""
    lens = batch.query_start_loc_cpu.diff()
    # Decode and verify, which engines capture, are uniform and short.
    is_captured = bool((lens == lens[0]).all()) and int(lens[0]) <= VERIFY_MAX_NEW_TOKENS
    pages = PageIndices(batch)
    return WrapperLaunch(pages, Prefill(spec, batch, pages, kernel, 0, is_captured))


def decode(spec: AttentionSpec, batch: PagedBatch, use_tensor_cores: bool) -> WrapperLaunch:
    """The decode wrapper for every request."""
    pages, rows = PageIndices(batch), len(batch.seq_lens)
    return WrapperLaunch(pages, Decode(spec, batch, pages, use_tensor_cores, rows, True))


def as_vllm(spec: AttentionSpec, batch: PagedBatch) -> WrapperLaunch:
    """The decodes that lead the batch on the one wrapper, whatever follows on the other; vLLM
    orders its batches so. It captures batches of decodes alone, and prefills before it decodes.
    """
    pages, rows = PageIndices(batch), len(batch.seq_lens)
    decodes = num_leading_decodes(batch) if spec.causal else 0
    parts: list[Launch] = []
    if decodes < rows:
        parts.append(Prefill(spec, batch, pages, "auto", decodes, is_captured=False))
    if decodes:
        parts.append(Decode(spec, batch, pages, True, decodes, is_captured=decodes == rows))
    return WrapperLaunch(pages, *parts)


def num_leading_decodes(batch: PagedBatch) -> int:
    """Requests of one new token before the first that has more."""
    others = (batch.query_start_loc_cpu.diff() != 1).nonzero()
    return int(others[0]) if len(others) else len(batch.seq_lens)


def flashinfer() -> ModuleType:
    """The package, with ninja where it looks for it when it compiles a kernel: on the PATH, where
    a virtual environment's programs are only while it is activated.
    """
    if shutil.which("ninja") is None:
        scripts = sysconfig.get_path("scripts")
        os.environ["PATH"] = os.pathsep.join((os.environ.get("PATH", os.defpath), scripts))
    return import_module("flashinfer")


@lru_cache
def _workspace(device: torch.device) -> Tensor:
    """Partial results of split contexts. All wrappers share it, as in vLLM: one runs after the
    other, and each writes what it reads.
    """
    import torch

    return torch.zeros(WORKSPACE_BYTES, dtype=torch.uint8, device=device)


def _bound_run(
    run: Callable[..., object], batch: PagedBatch, tokens: slice
) -> Callable[[], object]:
    """A call over some of the tokens; scales are handed over as Python's numbers."""
    k_scale, v_scale = batch.k_scale, batch.v_scale
    return partial(
        run,
        batch.query[tokens],
        (batch.key_cache, batch.value_cache),
        k_scale=None if k_scale is None else float(k_scale),
        v_scale=None if v_scale is None else float(v_scale),
        out=batch.output[tokens],
    )


def window_left(spec: AttentionSpec) -> int:
    """Keys before the query's own; -1 is all."""
    return -1 if spec.sliding_window is None else spec.sliding_window - 1
