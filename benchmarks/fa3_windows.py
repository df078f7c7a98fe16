"""Prints where FlashAttention 3, as vLLM ships it, lets a windowed prompt see its own future.

    python benchmarks/fa3_windows.py

Needs an sm_90 GPU and vllm. `predicted` says what the kernel's source implies, so that the cause is
checked together with its effect.

The source is vLLM's fork of flash-attention, hopper/, from 8f468e7d (2025-10-04) to at least
617264c1 (2026-08-06). A tile of queries reads its keys from the first that its window holds
(block.h, `n_offset`), but where the unmasked blocks begin and end is still counted from the first
key of all (mainloop_fwd_sm90_tma_gmma_ws.hpp, `tot_seqlen_k`; the branch without IntraWGOverlap
counts right). So blocks that hold the future of the tile's first queries go without a mask.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from kernels_bench.backends._flash_attn_launches import vllm_flash_attn_3
from kernels_bench.batch import make_batches, make_contents
from kernels_bench.reference import reference
from kernels_bench.spec import AttentionSpec, Pages
from kernels_bench.workload import Request, parse_workload

WRONG = 0.03
"""Relative L2 of a token and head; right ones stay below 0.005."""
SPEC = AttentionSpec(
    16, 8, 256, "bfloat16", 1, softmax_scale=0.2, sliding_window=200, logit_softcap=5.0
)
PROMPTS = "q600_2q77"
GEMMA = replace(SPEC, logit_softcap=50.0, softmax_scale=1 / 16)
CASES = (
    *((SPEC, prompts) for prompts in ("q376", "q384", "q512", "q600", "q640", "q1k", "q2k")),
    *((SPEC, prompts) for prompts in ("2q600", PROMPTS, "q300s1000", "q600s1000")),
    *((replace(SPEC, sliding_window=w), PROMPTS) for w in (64, 128, 129, 192, 256, 300, 512)),
    *((replace(SPEC, head_dim=dim), PROMPTS) for dim in (64, 128, 192)),
    *((replace(SPEC, num_kv_heads=heads), PROMPTS) for heads in (1, 16)),
    (replace(SPEC, logit_softcap=None), PROMPTS),
    (replace(SPEC, dtype="float16"), PROMPTS),
    (replace(GEMMA, sliding_window=1024), "q3000_2q77"),
    (replace(GEMMA, sliding_window=4096), "q5000_2q77"),
    (AttentionSpec(32, 32, 96, "bfloat16", 1, sliding_window=2047), "q4k"),
)
"""The last are the windows of gemma-3 and of gemma-2, then phi-3-mini."""


@dataclass(frozen=True)
class Tile:
    """What a block of threads works on."""

    rows: int
    keys: int


def main() -> None:
    print("| heads | head_dim | window | cap | dtype | prompts | wrong tokens | predicted |")
    print("|---|---|---|---|---|---|---|---|")
    for spec, prompts in CASES:
        heads = f"{spec.num_q_heads}/{spec.num_kv_heads}"
        cap = spec.logit_softcap or "none"
        cells = (heads, spec.head_dim, spec.sliding_window, cap, spec.dtype, f"`{prompts}`")
        seen, expected = span(wrong_tokens(spec, prompts)), span(predicted(spec, prompts))
        print(f"| {' | '.join(map(str, cells))} | {seen} | {expected} |", flush=True)


def wrong_tokens(spec: AttentionSpec, prompts: str) -> list[int]:
    """New tokens, counted through the batch, in whose output a head is wrong."""
    contents = make_contents(spec, parse_workload(prompts), torch.device("cuda:0"))
    (batch,) = make_batches(spec, contents, Pages(16), 1)
    launch = vllm_flash_attn_3(spec, batch)
    launch.plan()
    launch.run()
    exact = reference(spec, contents, torch.float32)
    error = (batch.output.float() - exact).norm(dim=2) / exact.norm(dim=2)
    wrong = torch.nonzero((~(error <= WRONG)).any(1)).flatten()  # NaN is wrong
    return [int(token) for token in wrong]


def predicted(spec: AttentionSpec, prompts: str) -> list[int]:
    """New tokens for which an unmasked block holds keys outside their window."""
    wrong, before = [], 0
    for request in parse_workload(prompts).requests(0):
        wrong += [before + token for token in predicted_of(spec, request)]
        before += request.new_tokens
    return wrong


def predicted_of(spec: AttentionSpec, request: Request) -> list[int]:
    tile, group = tile_of(spec.head_dim), spec.num_q_heads // spec.num_kv_heads
    if tile is None or spec.sliding_window is None:
        return []
    left, cached = spec.sliding_window - 1, request.total_tokens - request.new_tokens
    wrong: set[int] = set()
    for row in range(0, request.new_tokens * group, tile.rows):
        first, end = row // group, (row + tile.rows - 1) // group + 1
        offset = max(0, first + cached - left)
        keys = min(request.total_tokens, end + cached) - offset
        last = math.ceil(keys / tile.keys) - 1  # this block is masked whatever the bounds say
        begin = max(0, math.ceil((end + cached - left) / tile.keys))
        for block in range(begin, min(last, (first + cached) // tile.keys)):
            key = block * tile.keys + offset - cached
            tokens = range(first, min(end, request.new_tokens))
            wrong.update(t for t in tokens if not t - left <= key <= t - tile.keys + 1)
    return sorted(wrong)


def tile_of(head_dim: int) -> Tile | None:
    """For a window, 2-byte elements (tile_size.h); None where the branch counts right."""
    if head_dim <= 64:
        return None
    if head_dim <= 96:
        return Tile(192, 128)
    if head_dim <= 128:
        return Tile(128, 128)
    return Tile(128, 96 if head_dim <= 192 else 64)


def span(tokens: list[int]) -> str:
    return f"{len(tokens)} of {tokens[0]}-{tokens[-1]}" if tokens else "none"


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
