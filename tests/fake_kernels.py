"""Paged attention in plain torch, under the names and with the arguments of kernel packages."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from kernels_bench.batch import Batch, Contents, make_batches, make_contents
from kernels_bench.spec import AttentionSpec, Pages
from kernels_bench.workload import parse_workload

if TYPE_CHECKING:
    import pytest


@dataclass
class Recorder:
    """What a fake kernel was called with, call by call."""

    calls: list[dict[str, Any]] = field(default_factory=list)

    @property
    def last(self) -> dict[str, Any]:
        return self.calls[-1]


def install(monkeypatch: pytest.MonkeyPatch, name: str, **attributes: object) -> None:
    """Put a module where an import finds it."""
    module = ModuleType(name)
    for attribute, value in attributes.items():
        setattr(module, attribute, value)
    monkeypatch.setitem(sys.modules, name, module)


def make_batch(spec: AttentionSpec, text: str, pages: Pages) -> tuple[Contents, Batch]:
    """One batch on the CPU whose block table is wider than its longest request."""
    contents = make_contents(spec, parse_workload(text), torch.device("cpu"))
    (batch,) = make_batches(spec, contents, pages, count=1, longest_tokens=1024)
    return contents, batch


def attend(
    query: Tensor,
    caches: tuple[Tensor, Tensor],
    block_table: Tensor,
    starts: Tensor,
    lengths: Tensor,
    scale: float,
    causal: bool,
    window: tuple[int, int],
    softcap: float = 0.0,
    alibi_slopes: Tensor | None = None,
    sinks: Tensor | None = None,
    chunk: int = 0,
) -> Tensor:
    """As FlashAttention's documentation defines it; caches are [pages, size, heads, dim]."""
    outputs = []
    for row, total in enumerate(lengths.tolist()):
        rows = query[starts[row] : starts[row + 1]].float()
        key, value = (
            cache[block_table[row].long()]
            .flatten(0, 1)[:total]
            .float()
            .repeat_interleave(query.shape[1] // cache.shape[2], dim=1)
            for cache in caches
        )
        logits = torch.einsum("qhd,khd->hqk", rows, key) * scale
        if softcap:
            logits = softcap * torch.tanh(logits / softcap)
        at = torch.arange(total - len(rows), total)[:, None]
        keys = torch.arange(total)[None, :]
        if alibi_slopes is not None:
            logits = logits - alibi_slopes[:, None, None] * (at - keys).abs()
        before, after = window[0], 0 if causal else window[1]
        hidden = torch.zeros(len(rows), total, dtype=torch.bool)
        if before >= 0:
            hidden |= keys < at - before
        if after >= 0:
            hidden |= keys > at + after
        if chunk:
            hidden |= at // chunk != keys // chunk
        logits = logits.masked_fill(hidden, float("-inf"))
        if sinks is not None:
            column = sinks.float()[:, None, None].expand(-1, len(rows), 1)
            logits = torch.cat([logits, column], dim=2)
        weights = logits.softmax(dim=2)[:, :, :total]
        outputs.append(torch.einsum("hqk,khd->qhd", weights, value))
    return torch.cat(outputs).to(query.dtype)
