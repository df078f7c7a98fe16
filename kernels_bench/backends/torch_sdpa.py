"""torch's `scaled_dot_product_attention` over gathered pages: what a plain torch engine runs.

It knows no paging, so every call first copies the pages into one tensor, as such an engine must.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernels_bench.backends._needs import lacks
from kernels_bench.backends._torch import (
    ANY_PAGES,
    GatheredBatch,
    PaddedQuery,
    gather_both,
    torch_refusals,
)
from kernels_bench.spec import AttentionSpec, Device, Phase, Stack, Support, Variant

if TYPE_CHECKING:
    from torch import Tensor

    from kernels_bench.backends.base import Launch, PagedBatch

_PADDED = Variant("padded", ("torch",), ANY_PAGES, graph_phases=frozenset())
_PER_REQUEST = Variant("per_request", ("torch",), ANY_PAGES, graph_phases=frozenset())


class TorchSdpa:
    """One padded batch a call, or one call a request: padding wastes work, calls cost time."""

    name = "torch_sdpa"

    def variants(self, device: Device, spec: AttentionSpec, stack: Stack) -> tuple[Variant, ...]:
        """Both, wherever torch runs."""
        return (_PADDED, _PER_REQUEST)

    def supports(
        self,
        variant: Variant,
        device: Device,
        spec: AttentionSpec,
        phase: Phase,
        stack: Stack,
    ) -> Support:
        """All but soft caps, quantised caches and MLA: a mask expresses the rest."""
        reasons = [
            *torch_refusals(device, spec, phase, stack),
            *lacks(spec, "softcap", "quantized_kv"),
        ]
        if variant.name == _PADDED.name:  # the other one attends to each request alone
            reasons += lacks(spec, "batch_invariance")
        return Support(tuple(reasons))

    def prepare(self, variant: Variant, spec: AttentionSpec, batch: PagedBatch) -> Launch:
        """Bind the variant to a batch."""
        return _Padded(spec, batch) if variant.name == "padded" else _PerRequest(spec, batch)


class _Padded:
    """Every request padded to the longest query and the longest context."""

    def __init__(self, spec: AttentionSpec, batch: PagedBatch) -> None:
        self.spec, self.batch = spec, batch

    def plan(self) -> None:
        """Lengths to masks and to the places of tokens in the padded query."""
        batch = self.batch
        self.padded, self.gathered = PaddedQuery(batch), GatheredBatch(batch)
        mask = _mask(
            self.spec, batch, self.padded.positions, batch.seq_lens, self.gathered.num_keys
        )
        self.mask = _as_bias(mask, batch.query)

    def run(self) -> None:
        """Gather, attend, and put the padded output's real rows back."""
        batch = self.batch
        key, value = self.gathered.gather()
        query = self.padded.pad(batch.query)
        output = _attend(self.spec, batch, query, key, value, self.mask)
        self.padded.unpad(output, batch.output)


@dataclass(frozen=True)
class _Slice:
    """Where one request stands in the batch."""

    row: int
    first_token: int
    last_token: int
    total_tokens: int
    num_pages: int
    mask: Tensor | None
    is_causal: bool


class _PerRequest:
    """No padding and, for a plain decode or prefill, no mask."""

    def __init__(self, spec: AttentionSpec, batch: PagedBatch) -> None:
        self.spec, self.batch = spec, batch

    def plan(self) -> None:
        """Slices and, where a flag cannot say it, masks."""
        starts = self.batch.query_start_loc_cpu.tolist()
        totals = self.batch.seq_lens_cpu.tolist()
        self.slices = tuple(
            self._slice(row, starts[row], starts[row + 1], total)
            for row, total in enumerate(totals)
            if total  # a row of padding has nothing to do
        )

    def _slice(self, row: int, first: int, last: int, total: int) -> _Slice:
        import torch

        spec, batch, new = self.spec, self.batch, last - first
        pages = batch.pages.count_for(total)
        restricted = (
            spec.sliding_window is not None
            or spec.attention_chunk is not None
            or batch.sinks is not None
            or batch.alibi_slopes is not None
        )
        one_or_all_new = new in (1, total)
        if not restricted and (one_or_all_new or not spec.causal):
            is_causal = spec.causal and new == total and new > 1
            return _Slice(row, first, last, total, pages, None, is_causal)
        positions = torch.arange(total - new, total, device=batch.query.device)[None, :]
        lens = torch.tensor([total], device=batch.query.device)
        mask = _as_bias(_mask(spec, batch, positions, lens, total), batch.query)
        return _Slice(row, first, last, total, pages, mask, False)

    def run(self) -> None:
        """One call a request."""
        batch = self.batch
        for part in self.slices:
            table = batch.block_table[part.row : part.row + 1, : part.num_pages]
            key, value = (each[:, :, : part.total_tokens] for each in gather_both(batch, table))
            query = batch.query[part.first_token : part.last_token].transpose(0, 1)[None]
            output = _attend(self.spec, batch, query, key, value, part.mask, part.is_causal)
            batch.output[part.first_token : part.last_token] = output[0].transpose(0, 1)


def _attend(
    spec: AttentionSpec,
    batch: PagedBatch,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    is_causal: bool = False,
) -> Tensor:
    """[B, Hq, q, D] x [B, Hkv, k, D] -> [B, Hq, q, Dv]."""
    from torch.nn.functional import pad, scaled_dot_product_attention

    groups = spec.num_q_heads // spec.num_kv_heads
    if query.is_cuda and mask is not None:
        # With a mask only the memory-efficient kernel fuses, and it knows no groups: the fallback
        # writes every logit to memory. torch/nn/attention, sdp_utils.cpp, 2.11.
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        groups = 1
    if batch.sinks is not None:  # the mask's last column is the sink: a key of zeros, no value
        key, value = pad(key, (0, 0, 0, 1)), pad(value, (0, 0, 0, 1))
    return scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        is_causal=is_causal,
        scale=batch.softmax_scale,
        enable_gqa=groups > 1,
    )


def _mask(
    spec: AttentionSpec, batch: PagedBatch, positions: Tensor, lens: Tensor, num_keys: int
) -> Tensor:
    """What each query sees: bool [B, 1, q, k], or float32 [B, Hq, q, k(+1)] with ALiBi or sinks.

    Args:
        spec: the layer.
        batch: for sinks and slopes.
        positions: [B, q], the absolute position of each query.
        lens: [B], tokens of each request.
        num_keys: k.
    """
    import torch

    keys = torch.arange(num_keys, device=positions.device)
    query, key = positions[:, :, None], keys[None, None, :]
    seen = (key < lens[:, None, None]).expand(-1, positions.shape[1], -1)
    if spec.causal:
        seen = seen & (key <= query)
    if spec.sliding_window is not None:
        seen = seen & (query - key < spec.sliding_window)
    if spec.attention_chunk is not None:
        seen = seen & (query // spec.attention_chunk == key // spec.attention_chunk)
    if batch.sinks is None and batch.alibi_slopes is None:
        return seen[:, None]
    bias = torch.zeros(seen.shape, device=keys.device)[:, None]
    if batch.alibi_slopes is not None:
        bias = batch.alibi_slopes[None, :, None, None] * (key - query)[:, None]
    bias = bias.masked_fill(~seen[:, None], float("-inf"))
    if batch.sinks is not None:
        rows = (bias.shape[0], len(batch.sinks), bias.shape[2])
        sinks = batch.sinks[None, :, None].expand(rows)[..., None]
        bias = torch.cat([bias.expand(*rows, -1), sinks], dim=3)
    return bias  # in fp32: a distance of 1000 tokens has 3 digits in bfloat16


def _as_bias(mask: Tensor, query: Tensor) -> Tensor:
    """What a GPU's fused kernels add: in the query's dtype, as they ask for (sinks, which come in
    fp32, are stored in it anyway). Not as bools: with torch 2.11 on an H200 large keys of pages
    that nobody wrote then came through, and outweighed all others.
    """
    import torch

    if not query.is_cuda:
        return mask
    if mask.is_floating_point():
        return mask.to(query.dtype)
    return torch.zeros_like(mask, dtype=query.dtype).masked_fill_(~mask, float("-inf"))


BACKEND = TorchSdpa()
