"""What identifies a model in the cache, and what must not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

from autotune.models import ModelConfig, ModelRequest, kinds, load_model, spec_key
from kernels_bench.spec import AttentionSpec, Mla, Reason

GEMMA = load_model(ModelRequest("gemma-2-9b"))
FULL = AttentionSpec(32, 8, 128, "bfloat16", num_layers=32)


def test_the_fingerprint_is_compact_sorted_json_without_defaults() -> None:
    assert load_model(ModelRequest("llama-3.1-8b")).fingerprint == (
        '{"specs":[{"dtype":"bfloat16","head_dim":128,"num_kv_heads":8,"num_layers":32,'
        '"num_q_heads":32}]}'
    )


def test_fine_tunes_and_wishes_share_the_fingerprint() -> None:
    tuned = replace(GEMMA, name="my-tune", max_model_len=1024)
    pinned = load_model(ModelRequest("gemma-2-9b", page_size=64, max_model_len=2048))
    assert GEMMA.fingerprint == tuned.fingerprint == pinned.fingerprint


def test_what_a_kernel_sees_is_in_the_fingerprint() -> None:
    others = [
        load_model(ModelRequest("gemma-2-9b", tensor_parallel=2)),
        load_model(ModelRequest("gemma-2-9b", dtype="float16")),
        load_model(ModelRequest("gemma-2-9b", kv_dtype="fp8")),
        load_model(ModelRequest("gemma-2-27b")),
        replace(GEMMA, unsupported=(Reason("index_topk", "index_topk 2048: not understood"),)),
    ]
    assert len({GEMMA.fingerprint, *(other.fingerprint for other in others)}) == 6


def test_the_key_of_a_layer_knows_no_count_and_no_page() -> None:
    assert spec_key(FULL) == spec_key(replace(FULL, num_layers=1, page_size=16))
    assert spec_key(FULL) != spec_key(replace(FULL, sliding_window=4096))
    assert json.loads(spec_key(FULL)) == {
        "dtype": "bfloat16",
        "head_dim": 128,
        "num_kv_heads": 8,
        "num_q_heads": 32,
    }


def test_the_key_of_a_latent_layer_is_json_too() -> None:
    latent = replace(FULL, mla=Mla(512, 64, 128, 128))
    assert json.loads(spec_key(latent))["mla"]["kv_lora_rank"] == 512


def test_kinds_are_unique() -> None:
    windows = tuple(replace(FULL, sliding_window=size) for size in (1024, 2048, 4096))
    model = ModelConfig("x", "x", (windows[0], FULL, *windows[1:]), 1, 8192)
    assert kinds(model) == ("window", "full", "window2", "window3")


def test_importing_reads_no_heavy_package() -> None:
    code = "import sys, autotune.models; print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert not {"torch", "numpy", "rich", "transformers"} & set(out.stdout.split())
