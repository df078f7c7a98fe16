"""Prints where FlashAttention 3, as vLLM ships it, lets a windowed prompt see its own future.

    python benchmarks/fa3_windows.py

Needs an sm_90 GPU and vllm. `predicted` says what the kernel's source implies (kernels_bench/
backends/_flash_attn_windows.py), so that the cause is checked together with its effect.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from kernels_bench.backends._flash_attn_launches import vllm_flash_attn_3
from kernels_bench.backends._flash_attn_windows import hit_tokens
from kernels_bench.batch import make_batches, make_contents
from kernels_bench.reference import reference
from kernels_bench.spec import AttentionSpec, Pages
from kernels_bench.workload import parse_workload

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
        wrong += [before + token for token in hit_tokens(spec, request)]
        before += request.new_tokens
    return wrong


def span(tokens: list[int]) -> str:
    return f"{len(tokens)} of {tokens[0]}-{tokens[-1]}" if tokens else "none"


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
