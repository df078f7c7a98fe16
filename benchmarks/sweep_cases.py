"""Layers that between them ask for everything that a capability check looks at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from kernels_bench.spec import AttentionSpec

PLAIN = AttentionSpec(32, 8, 128, "bfloat16", num_layers=32)
GEMMA = AttentionSpec(
    16, 8, 256, "bfloat16", 21, softmax_scale=1 / 16, sliding_window=256, logit_softcap=50.0
)
GPT_OSS = AttentionSpec(64, 8, 64, "bfloat16", 12, sliding_window=128, has_sinks=True)
LONGEST = 4096
"""Tokens of the longest context that an engine would serve here."""

SPECS: Mapping[str, AttentionSpec] = MappingProxyType(
    {
        "plain": PLAIN,
        "float16": replace(PLAIN, dtype="float16"),
        "no groups": replace(PLAIN, num_kv_heads=32),
        "8 to 1": replace(PLAIN, num_q_heads=8, num_kv_heads=1),
        "32 to 4": replace(PLAIN, num_kv_heads=4),
        "28 to 4": replace(PLAIN, num_q_heads=28, num_kv_heads=4),
        "40 to 1": replace(PLAIN, num_q_heads=40, num_kv_heads=1),
        "window 128": replace(PLAIN, sliding_window=128),
        "window 1000": replace(PLAIN, sliding_window=1000),
        "soft cap": replace(PLAIN, logit_softcap=30.0),
        "gemma-2 window": GEMMA,
        "gemma-2 full": replace(GEMMA, sliding_window=None, has_mixed_windows=True),
        "gpt-oss window": GPT_OSS,
        "gpt-oss full": replace(GPT_OSS, sliding_window=None, has_mixed_windows=True),
        "sinks, 128": replace(PLAIN, has_sinks=True),
        "alibi": replace(PLAIN, has_alibi=True, num_kv_heads=32),
        "chunk 256": replace(PLAIN, attention_chunk=256),
        "scale": replace(PLAIN, softmax_scale=0.05),
        "not causal": replace(PLAIN, causal=False),
        "not causal, window": replace(PLAIN, causal=False, sliding_window=128),
        "encoder": replace(PLAIN, causal=False, attention_type="encoder_only"),
        "cross": replace(PLAIN, causal=False, attention_type="cross"),
        "head_dim 16": replace(PLAIN, head_dim=16),
        "head_dim 64": replace(PLAIN, head_dim=64),
        "head_dim 72": replace(PLAIN, head_dim=72),
        "head_dim 84": replace(PLAIN, head_dim=84),
        "phi-3": AttentionSpec(32, 32, 96, "bfloat16", 32, sliding_window=2047),
        "head_dim 96": replace(PLAIN, head_dim=96, num_kv_heads=32),
        "head_dim 192": replace(PLAIN, head_dim=192),
        "head_dim 256": replace(PLAIN, head_dim=256, num_q_heads=16),
        "head_dim 512": replace(PLAIN, head_dim=512, num_q_heads=16),
        "head_dim_v 64": replace(PLAIN, head_dim_v=64),
        "fp8_e4m3": replace(PLAIN, kv_dtype="fp8_e4m3"),
        "fp8_e5m2": replace(PLAIN, kv_dtype="fp8_e5m2"),
        "fp8_e4m3, window": replace(PLAIN, kv_dtype="fp8_e4m3", sliding_window=128),
        "fp8_e4m3, soft cap": replace(PLAIN, kv_dtype="fp8_e4m3", logit_softcap=30.0),
        "fp8_e4m3, sinks": replace(GPT_OSS, kv_dtype="fp8_e4m3"),
        "batch invariant": replace(PLAIN, batch_invariant=True),
        "fa3 window 200": replace(GEMMA, sliding_window=200, logit_softcap=5.0),
    }
)

FLASHINFER: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "plain": frozenset({"vllm", "fa2", "fa3", "xqa", "decode", "decode-tc"}),
        "32 to 4": frozenset({"vllm", "fa2", "fa3", "decode-tc"}),
        "8 to 1": frozenset({"vllm", "fa2", "fa3", "decode", "decode-tc"}),
        "28 to 4": frozenset({"vllm", "fa2", "fa3", "decode", "decode-tc"}),
        "no groups": frozenset({"vllm", "fa2", "fa3", "decode", "decode-tc"}),
        "scale": frozenset({"vllm", "fa2", "fa3", "xqa", "decode", "decode-tc"}),
        "not causal": frozenset({"vllm", "fa2", "fa3", "xqa", "decode", "decode-tc"}),
        "encoder": frozenset({"vllm", "fa2", "fa3"}),
        "cross": frozenset({"vllm", "fa2", "fa3", "xqa", "decode", "decode-tc"}),
        "sinks, 128": frozenset({"vllm", "fa2", "fa3", "decode", "xqa"}),
        "alibi": frozenset({"vllm", "fa2", "fa3", "decode"}),
        "chunk 256": frozenset({"vllm", "fa2", "fa3", "xqa"}),
        "gemma-2 window": frozenset({"vllm", "fa2", "fa3", "decode-tc"}),
        "gemma-2 full": frozenset({"vllm", "fa2", "fa3", "decode-tc"}),
        "gpt-oss window": frozenset({"xqa"}),
        "fp8_e4m3": frozenset({"vllm", "fa2", "xqa", "decode-tc"}),
        "fp8_e5m2": frozenset({"vllm", "fa2", "decode-tc"}),
    }
)
"""What of FlashInfer runs on which layer. Each kind of kernel takes nvcc up to a minute, so that a
dozen must do: fa2 and fa3 at head_dim 128, and at 256 with a cap with and without a window; decode
at 128; fa2 beside both formats of fp8; xqa for the plain layer, beside fp8, and for gpt-oss."""
