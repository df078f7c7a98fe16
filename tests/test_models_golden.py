"""Real config.json files, and the layers that each must yield, worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from autotune.models import ModelRequest, kinds, load_model
from kernels_bench.spec import AttentionSpec, Mla

CONFIGS = Path(__file__).parent / "fixtures" / "configs"


def layer(q: int, kv: int, dim: int, layers: int, **features: object) -> AttentionSpec:
    return AttentionSpec(q, kv, dim, "bfloat16", layers, **features)  # type: ignore[arg-type]


def mla(q: int, layers: int, scale: float) -> AttentionSpec:
    latent = Mla(kv_lora_rank=512, qk_rope_head_dim=64, qk_nope_head_dim=128, v_head_dim=128)
    return layer(q, 1, 192, layers, head_dim_v=128, softmax_scale=pytest.approx(scale), mla=latent)


def mixed(*layers: AttentionSpec) -> list[AttentionSpec]:
    """Of one model, whose layers do not all have the same window."""
    return [replace(each, has_mixed_windows=True) for each in layers]


GOLDEN = {
    "llama-3.1-8b": (131072, [layer(32, 8, 128, 32)]),
    "llama-4-scout": (
        10485760,
        # Three layers with rope and chunks to one without rope.
        [layer(40, 8, 128, 36, attention_chunk=8192), layer(40, 8, 128, 12)],
    ),
    "qwen2.5-7b": (32768, [layer(28, 4, 128, 28)]),
    "qwen3-8b": (40960, [layer(32, 8, 128, 36)]),
    # 2048 wide with 32 heads: without the explicit head_dim it would be 64.
    "qwen3-30b-a3b": (40960, [layer(32, 4, 128, 48)]),
    "mistral-7b-v0.1": (32768, [layer(32, 8, 128, 32, sliding_window=4096)]),
    "mistral-7b-v0.3": (32768, [layer(32, 8, 128, 32)]),
    "mixtral-8x7b": (32768, [layer(32, 8, 128, 32)]),
    "gemma-2-9b": (
        8192,
        mixed(
            layer(16, 8, 256, 21, sliding_window=4096, logit_softcap=50.0),
            layer(16, 8, 256, 21, logit_softcap=50.0),
        ),
    ),
    "gemma-3-1b": (32768, mixed(layer(4, 1, 256, 22, sliding_window=512), layer(4, 1, 256, 4))),
    "gemma-3-27b": (
        131072,
        # 62 layers: ten times five windows and one full, then two windows.
        mixed(
            layer(32, 16, 128, 52, sliding_window=1024, softmax_scale=168**-0.5),
            layer(32, 16, 128, 10, softmax_scale=168**-0.5),
        ),
    ),
    "gpt-oss-20b": (
        131072,
        mixed(
            layer(64, 8, 64, 12, sliding_window=128, has_sinks=True),
            layer(64, 8, 64, 12, has_sinks=True),
        ),
    ),
    "phi-3-mini": (4096, [layer(32, 32, 96, 32, sliding_window=2047)]),
    # A window of 262144 over 131072 positions hides nothing.
    "phi-3.5-mini": (131072, [layer(32, 32, 96, 32)]),
    "phi-4-mini": (131072, [layer(24, 8, 128, 32)]),
    "falcon-7b": (2048, [layer(71, 1, 64, 32)]),
    "falcon-40b": (2048, [layer(128, 8, 64, 60)]),
    "minimax-m2.5": (196608, [layer(48, 8, 128, 62)]),
    # YaRN by 40: 192 ** -0.5 * (0.1 * ln 40 + 1) ** 2.
    "deepseek-v3": (163840, [mla(128, 61, 0.1352337788608801)]),
    # YaRN by 64, nested in a multi-modal file.
    "kimi-k2.5": (262144, [mla(64, 61, 0.14467962580268923)]),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_layers_of_a_real_config(name: str) -> None:
    length, specs = GOLDEN[name]
    model = load_model(ModelRequest(str(CONFIGS / name)))
    assert model.specs == tuple(specs)
    assert model.max_model_len == length
    assert model.unsupported == ()
    assert model.name == name


REFUSED = {
    "deepseek-v3.2": {"index_head_dim", "index_n_heads", "index_topk"},
    "gemma-4-26b-a4b": {
        "attention_k_eq_v",
        "global_head_dim",
        "num_global_key_value_heads",
        "use_bidirectional_attention",
    },
    "mimo-v2-flash": {
        "add_swa_attention_sink_bias",
        "attention_chunk_size",
        "attention_value_scale",
        "hybrid_layer_pattern",
        "sliding_window",
        "swa_head_dim",
        "swa_num_attention_heads",
        "swa_num_key_value_heads",
        "swa_rope_theta",
        "swa_v_head_dim",
    },
    "minimax-m3": {"sparse_attention_config"},
    "nemotron-h-56b": {"model_type"},
    "qwen3.5-27b": {
        "layer_types",
        "linear_conv_kernel_dim",
        "linear_key_head_dim",
        "linear_num_key_heads",
        "linear_num_value_heads",
        "linear_value_head_dim",
        "mamba_ssm_dtype",
    },
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_spec_expresses_is_a_reason(name: str) -> None:
    model = load_model(ModelRequest(str(CONFIGS / name)))
    assert {reason.field for reason in model.unsupported} == REFUSED[name]


def test_every_fixture_has_an_expectation_and_a_source() -> None:
    folders = {path.name for path in CONFIGS.iterdir() if path.is_dir()}
    sources = (CONFIGS / "SOURCES.md").read_text(encoding="utf-8")
    assert folders == set(GOLDEN) | set(REFUSED)
    assert [name for name in sorted(folders) if f"| {name} |" not in sources] == []


def test_linear_layers_are_never_counted_as_full_attention() -> None:
    model = load_model(ModelRequest(str(CONFIGS / "qwen3.5-27b")))
    assert [spec.num_layers for spec in model.specs] == [16]
    texts = [reason.text for reason in model.unsupported if reason.field == "layer_types"]
    assert texts == ["layer type 'linear_attention' in 48 of 64 layers: no backend here runs it"]


def test_kinds_name_the_layers_in_order() -> None:
    assert kinds(load_model(ModelRequest(str(CONFIGS / "gemma-3-27b")))) == ("window", "full")
    assert kinds(load_model(ModelRequest(str(CONFIGS / "llama-4-scout")))) == ("chunk", "full")
    assert kinds(load_model(ModelRequest(str(CONFIGS / "deepseek-v3")))) == ("mla",)
