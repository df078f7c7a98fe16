"""What vLLM's and AITER's kernels for ROCm compute, in plain torch and under their own names."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from fake_kernels import attend
from torch import Tensor

if TYPE_CHECKING:
    import pytest
    from published_modules import Published


@dataclass
class FakeRocm:
    """Called as the kernels are; knows which of them were."""

    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.calls]

    def install_vllm(self, monkeypatch: pytest.MonkeyPatch, vllm: Published) -> None:
        ops = "vllm.v1.attention.ops"
        for module, fake in (
            (f"{ops}.chunked_prefill_paged_decode", self.chunked_prefill_paged_decode),
            (f"{ops}.triton_prefill_attention", self.context_attention_fwd),
            (f"{ops}.merge_attn_states", self.merge_attn_states),
            ("vllm.v1.attention.backends.rocm_aiter_fa", self.cp_mha_gather_cache),
        ):
            vllm.install(monkeypatch, module, **{fake.__name__: fake})
        # The wrapper passes on what it was given: _aiter_ops.py.
        wrapped = "rocm_aiter_ops.flash_attn_varlen_func"
        vllm.install(monkeypatch, "vllm._aiter_ops", **{wrapped: _of_aiter})

    def install_aiter(self, monkeypatch: pytest.MonkeyPatch, aiter: Published) -> None:
        varlen = self.flash_attn_varlen_func
        aiter.install(monkeypatch, "aiter", flash_attn_varlen_func=varlen)
        name = "aiter.ops.triton.unified_attention"
        aiter.install(monkeypatch, name, unified_attention=self.unified_attention)
        paged = self.paged_attention_v1
        aiter.install_operators(monkeypatch, "aiter", paged_attention_v1=paged)

    def chunked_prefill_paged_decode(
        self,
        *,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        output: Tensor,
        kv_cache_dtype: str,
        key_cache: Tensor,
        value_cache: Tensor,
        block_table: Tensor,
        query_start_loc: Tensor,
        seq_lens: Tensor,
        max_seq_len: int,
        max_query_len: int,
        k_scale: Tensor,
        v_scale: Tensor,
        alibi_slopes: Tensor | None,
        sliding_window: int,
        sm_scale: float,
        output_scale: None,
        sinks: None,
        causal: bool,
    ) -> None:
        """Cached tokens from pages, new ones from beside them; a decode reads pages alone."""
        self.calls.append(("chunked_prefill_paged_decode", dict(locals())))
        assert key_cache.is_contiguous()
        assert value_cache.is_contiguous()
        assert (kv_cache_dtype == "auto") == (key_cache.dtype == query.dtype)
        keys = key_cache.permute(0, 3, 1, 2, 4).flatten(3).float() * k_scale
        values = value_cache.permute(0, 3, 1, 2).float() * v_scale
        size = keys.shape[1]
        for row, total in enumerate(seq_lens.tolist()):
            tokens = slice(query_start_loc[row], query_start_loc[row + 1])
            new = tokens.stop - tokens.start
            positions = torch.arange(total)
            at = (block_table[row, positions // size].long(), positions % size)
            own_keys, own_values = keys[at], values[at]
            if max_query_len > 1 and new > 1:
                own_keys[total - new :] = key[tokens].float()
                own_values[total - new :] = value[tokens].float()
            output[tokens] = over_plain(
                query[tokens],
                own_keys,
                own_values,
                sm_scale,
                causal,
                (sliding_window - 1, -1),
                alibi_slopes=alibi_slopes,
            )

    def context_attention_fwd(
        self,
        *,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        o: Tensor,
        b_start_loc: Tensor,
        b_seq_len: Tensor,
        max_input_len: int,
        is_causal: bool,
        softmax_scale: float,
        sliding_window_q: int,
        sliding_window_k: int,
    ) -> None:
        self.calls.append(("context_attention_fwd", dict(locals())))
        window = (sliding_window_q, sliding_window_k)
        for start, total in zip(b_start_loc.tolist(), b_seq_len.tolist(), strict=False):
            tokens = slice(start, start + total)
            o[tokens] = over_plain(
                q[tokens], k[tokens], v[tokens], softmax_scale, is_causal, window
            )

    def flash_attn_varlen_func(
        self,
        *,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        cu_seqlens_q: Tensor,
        cu_seqlens_k: Tensor,
        max_seqlen_q: int,
        max_seqlen_k: int,
        min_seqlen_q: int,
        dropout_p: float,
        softmax_scale: float,
        causal: bool,
        window_size: tuple[int, int],
        alibi_slopes: Tensor | None,
        sink_ptr: Tensor | None,
        return_lse: bool = False,
        out: Tensor | None = None,
    ) -> tuple[Tensor, Tensor] | Tensor:
        """The logsum is [heads, tokens]."""
        self.calls.append(("flash_attn_varlen_func", dict(locals())))
        assert dropout_p == 0.0
        output = torch.empty_like(q) if out is None else out
        logsums = torch.full((q.shape[1], len(q)), float("-inf"))
        assert int(cu_seqlens_q.diff().max()) == max_seqlen_q
        assert int(cu_seqlens_k.diff().max()) <= max_seqlen_k
        for row in range(len(cu_seqlens_q) - 1):
            tokens = slice(cu_seqlens_q[row], cu_seqlens_q[row + 1])
            keys = slice(cu_seqlens_k[row], cu_seqlens_k[row + 1])
            if keys.start == keys.stop:
                output[tokens] = 0.0
                continue
            extras = {"alibi_slopes": alibi_slopes, "sinks": sink_ptr}
            arguments = (q[tokens], k[keys], v[keys], softmax_scale, causal, window_size)
            output[tokens] = over_plain(*arguments, **extras)
            if return_lse:
                logsums[:, tokens] = logsum(q[tokens], k[keys], softmax_scale, causal)
        return (output, logsums) if return_lse else output

    def cp_mha_gather_cache(
        self,
        *,
        key_cache: Tensor,
        value_cache: Tensor,
        key: Tensor,
        value: Tensor,
        block_tables: Tensor,
        k_scales: Tensor,
        v_scales: Tensor,
        cu_seqlens_kv: Tensor,
        token_to_batch: Tensor,
        seq_starts: Tensor,
        dequant: bool,
        kv_cache_layout: str,
        total_tokens: int,
    ) -> None:
        self.calls.append(("cp_mha_gather_cache", dict(locals())))
        assert kv_cache_layout == "NHD"
        assert dequant == (key_cache.dtype != key.dtype)
        rows = token_to_batch.long()
        assert len(rows) == total_tokens
        positions = torch.arange(total_tokens) - cu_seqlens_kv[rows] + seq_starts[rows]
        size = key_cache.shape[1]
        at = (block_tables[rows, positions // size].long(), positions % size)
        for plain, cache, scale in ((key, key_cache, k_scales), (value, value_cache, v_scales)):
            plain[:total_tokens] = (cache.float()[at] * scale).to(plain.dtype)

    def merge_attn_states(
        self,
        *,
        output: Tensor,
        prefix_output: Tensor,
        prefix_lse: Tensor,
        suffix_output: Tensor,
        suffix_lse: Tensor,
        output_lse: Tensor | None = None,
    ) -> None:
        self.calls.append(("merge_attn_states", dict(locals())))
        both = torch.logaddexp(prefix_lse, suffix_lse)
        weighted = [
            piece.float() * (lse - both).exp().transpose(0, 1)[..., None]
            for piece, lse in ((prefix_output, prefix_lse), (suffix_output, suffix_lse))
        ]
        output.copy_(weighted[0] + weighted[1])
        if output_lse is not None:
            output_lse.copy_(both)

    def unified_attention(
        self,
        *,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        out: Tensor,
        cu_seqlens_q: Tensor,
        max_seqlen_q: int,
        seqused_k: Tensor,
        max_seqlen_k: int,
        softmax_scale: float,
        causal: bool,
        window_size: tuple[int, int],
        block_table: Tensor,
        softcap: float,
        q_descale: None,
        k_descale: Tensor | None,
        v_descale: Tensor | None,
        alibi_slopes: Tensor | None,
        sinks: Tensor | None,
        output_scale: None = None,
    ) -> None:
        self.calls.append(("unified_attention", dict(locals())))
        assert causal
        assert q_descale is None
        caches = _scaled(k, v, k_descale, v_descale)
        lens = (cu_seqlens_q, seqused_k)
        scale = (softmax_scale, causal, window_size, softcap)
        computed = attend(q, caches, block_table, *lens, *scale, alibi_slopes, sinks)
        out[: len(computed)] = computed

    def paged_attention_v1(
        self,
        *,
        out: Tensor,
        workspace_buffer: Tensor,
        query: Tensor,
        key_cache: Tensor,
        value_cache: Tensor,
        scale: float,
        block_tables: Tensor,
        cu_query_lens: Tensor,
        context_lens: Tensor,
        max_context_len: int,
        alibi_slopes: Tensor | None,
        kv_cache_dtype: str,
        kv_cache_layout: str,
        logits_soft_cap: float,
        k_scale: Tensor,
        v_scale: Tensor,
        fp8_out_scale: None,
        partition_size: int,
        mtp: int,
        sliding_window: int,
    ) -> None:
        self.calls.append(("paged_attention_v1", dict(locals())))
        assert (kv_cache_layout, partition_size, mtp, sliding_window) == ("NHD", 256, 1, 0)
        assert int(context_lens.max()) <= max_context_len
        caches = _scaled(key_cache, value_cache, k_scale, v_scale)
        for row, (token, length) in enumerate(zip(cu_query_lens, context_lens, strict=True)):
            if length == 0:
                continue
            one = slice(int(token), int(token) + 1)
            starts = torch.tensor([0, 1])
            rows = slice(row, row + 1)
            lens = (starts, context_lens[rows])
            how = (scale, True, (-1, -1), logits_soft_cap)
            out[one] = attend(query[one], caches, block_tables[rows], *lens, *how, alibi_slopes)


def _of_aiter(**arguments: Any) -> Any:
    return sys.modules["aiter"].flash_attn_varlen_func(**arguments)


def over_plain(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float,
    causal: bool,
    window: tuple[int, int],
    **extras: Tensor | None,
) -> Tensor:
    """Of one request, its keys [k, H, D] as pages of one token; a causal mask ends at its last key
    and query, as FlashAttention's does.
    """
    total = len(key)
    caches = (key[:, None], value[:, None])
    starts, lens = torch.tensor([0, len(query)]), torch.tensor([total])
    table = torch.arange(total)[None]
    return attend(query, caches, table, starts, lens, scale, causal, window, **extras)


def logsum(query: Tensor, key: Tensor, scale: float, causal: bool) -> Tensor:
    """[H, q], of the logits of one request."""
    repeats = query.shape[1] // key.shape[1]
    keys = key.float().repeat_interleave(repeats, dim=1)
    logits = torch.einsum("qhd,khd->hqk", query.float(), keys) * scale
    if causal:
        later = torch.ones(len(query), len(key)).triu(len(key) - len(query) + 1).bool()
        logits = logits.masked_fill(later, float("-inf"))
    return logits.logsumexp(dim=2)


def _scaled(
    key: Tensor, value: Tensor, k_scale: Tensor | None, v_scale: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Dequantised; a scale may be expanded to heads, all of them the same."""
    scales = [1.0 if scale is None else scale.flatten()[0] for scale in (k_scale, v_scale)]
    return key.float() * scales[0], value.float() * scales[1]
