"""The table of known model types: the defaults that a config.json leaves out.

Source of every default: the `configuration_*.py` of Hugging Face transformers 4.57.1. They are
recorded here, and never read from an installed package, so that a model has the same fingerprint
on every machine.

Shapes (layers, heads, hidden size) have a default only where transformers itself leaves them out
on saving: in nested text configs, of which it writes the differences alone. A flat file without
its shape is broken, and a guess would measure another model.
"""

from __future__ import annotations

from collections.abc import Mapping

from autotune.models.family import UNRECORDED, Family

_KV_AS_Q = {"num_key_value_heads": None}  # null: as many as query heads
_QWEN_WINDOW = {"use_sliding_window": False, "sliding_window": 4096}

_LLAMA = Family(defaults={**_KV_AS_Q, "max_position_embeddings": 2048})
_MISTRAL = Family(
    "all",
    {
        "num_key_value_heads": 8,
        "sliding_window": 4096,
        "max_position_embeddings": 131072,
    },
)
_MIXTRAL = Family(
    "all",
    {
        "num_key_value_heads": 8,
        "sliding_window": None,
        "max_position_embeddings": 131072,
    },
)
_QWEN2 = Family(
    "from max_window_layers",
    {
        **_QWEN_WINDOW,
        "num_key_value_heads": 32,
        "max_window_layers": 28,
        "max_position_embeddings": 32768,
    },
)
_QWEN2_MOE = Family("from max_window_layers", {**_QWEN2.defaults, "num_key_value_heads": 16})
_QWEN2_VL = Family(
    "from max_window_layers",
    {**_QWEN2.defaults, "num_key_value_heads": 8, "max_window_layers": 80},
)
_QWEN3 = Family("from max_window_layers", {**_QWEN2.defaults, "head_dim": 128})
_QWEN3_MOE = Family(
    # max_window_layers is not read here.
    "all",
    {**_QWEN_WINDOW, "num_key_value_heads": 4, "max_position_embeddings": 32768},
)
_QWEN3_NEXT = Family(
    defaults={
        "full_attention_interval": 4,
        "num_key_value_heads": 2,
        "head_dim": 256,
        "max_position_embeddings": 32768,
    },
    # The sizes of the linear layers, which `layer_types` already refuses.
    reads=frozenset(
        {
            "linear_conv_kernel_dim",
            "linear_key_head_dim",
            "linear_num_key_heads",
            "linear_num_value_heads",
            "linear_value_head_dim",
        }
    ),
)
_GEMMA = Family(
    defaults={"num_key_value_heads": 16, "head_dim": 256, "max_position_embeddings": 8192}
)
_GEMMA2 = Family(
    "pattern",
    {
        "num_key_value_heads": 4,
        "head_dim": 256,
        "query_pre_attn_scalar": 256,
        "attn_logit_softcapping": 50.0,
        "sliding_window": 4096,
        "sliding_window_pattern": 2,
        "max_position_embeddings": 8192,
    },
    frozenset({"query_pre_attn_scalar", "attn_logit_softcapping"}),
)
_GEMMA3_TEXT = Family(
    "pattern",
    {
        "hidden_size": 2304,
        "num_hidden_layers": 26,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "query_pre_attn_scalar": 256,
        "sliding_window": 4096,
        "sliding_window_pattern": 6,
        "max_position_embeddings": 131072,
    },
    frozenset({"query_pre_attn_scalar", "attn_logit_softcapping"}),
)
_LLAMA4_TEXT = Family(
    defaults={
        "hidden_size": 5120,
        "num_hidden_layers": 48,
        "num_attention_heads": 40,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "attention_chunk_size": 8192,
        "no_rope_layer_interval": 4,
        "max_position_embeddings": 131072,
    },
    # The temperature multiplies the queries of layers without rope, before the kernel.
    reads=frozenset({"attention_chunk_size", "attn_scale", "attn_temperature_tuning"}),
)
_GPT_OSS = Family(
    "pattern",
    {
        "num_key_value_heads": 8,
        "head_dim": 64,
        "sliding_window": 128,
        "sliding_window_pattern": 2,
        "max_position_embeddings": 131072,
    },
    # modeling_gpt_oss.py gives every layer one learned sink a head; no field says so.
    has_sinks=True,
)
_PHI3 = Family("all", {**_KV_AS_Q, "max_position_embeddings": 4096})
_FALCON = Family(
    defaults={
        "multi_query": True,
        "new_decoder_architecture": False,
        "num_kv_heads": None,
        "max_position_embeddings": 2048,
    },
    reads=frozenset({"alibi", "multi_query", "num_kv_heads", "new_decoder_architecture"}),
    # The names of the first Falcon files, when the type was still called RefinedWeb.
    aliases={
        "num_attention_heads": "n_head",
        "num_hidden_layers": "n_layer",
        "num_kv_heads": "n_head_kv",
        "hidden_size": "n_embed",
    },
)
_DEEPSEEK_MLA = {
    "kv_lora_rank": 512,
    "qk_rope_head_dim": 64,
    "qk_nope_head_dim": 128,
    "v_head_dim": 128,
}
_DEEPSEEK_V2 = Family(
    defaults={**_DEEPSEEK_MLA, **_KV_AS_Q, "max_position_embeddings": 2048},
)
_DEEPSEEK_V3 = Family(
    defaults={**_DEEPSEEK_MLA, "num_key_value_heads": 128, "max_position_embeddings": 4096},
)
_COHERE2 = Family(
    "pattern",
    {
        **_KV_AS_Q,
        "sliding_window": 4096,
        "sliding_window_pattern": 4,
        "max_position_embeddings": 8192,
    },
)
_GRANITE = Family(
    defaults={**_LLAMA.defaults, "attention_multiplier": 1.0},
    reads=frozenset({"attention_multiplier"}),
)
_STARCODER2 = Family(
    "all", {"num_key_value_heads": 2, "sliding_window": None, "max_position_embeddings": 4096}
)

FAMILIES: Mapping[str, Family] = {
    "llama": _LLAMA,
    "llama4_text": _LLAMA4_TEXT,
    "mistral": _MISTRAL,
    "mixtral": _MIXTRAL,
    "qwen2": _QWEN2,
    "qwen2_moe": _QWEN2_MOE,
    "qwen2_vl": _QWEN2_VL,
    "qwen2_vl_text": _QWEN2_VL,
    "qwen2_5_vl": _QWEN2_VL,
    "qwen2_5_vl_text": _QWEN2_VL,
    "qwen3": _QWEN3,
    "qwen3_moe": _QWEN3_MOE,
    "qwen3_next": _QWEN3_NEXT,
    "gemma": _GEMMA,
    "gemma2": _GEMMA2,
    "gemma3_text": _GEMMA3_TEXT,
    "gpt_oss": _GPT_OSS,
    "phi3": _PHI3,
    "phimoe": _MIXTRAL,
    "falcon": _FALCON,
    "RefinedWeb": _FALCON,
    "RefinedWebModel": _FALCON,
    "deepseek_v2": _DEEPSEEK_V2,
    "deepseek_v3": _DEEPSEEK_V3,
    # Not in transformers: the configuration_deepseek.py that ships with the model is V3's.
    "kimi_k2": _DEEPSEEK_V3,
    "cohere": Family(defaults={**_KV_AS_Q, "max_position_embeddings": 8192}),
    "cohere2": _COHERE2,
    "granite": _GRANITE,
    "granitemoe": _GRANITE,
    "olmo2": _LLAMA,
    "starcoder2": _STARCODER2,
}

NESTED_TYPES: Mapping[str, str] = {
    "gemma3": "gemma3_text",
    "llama4": "llama4_text",
    "mistral3": "mistral",
    "qwen2_vl": "qwen2_vl_text",
    "qwen2_5_vl": "qwen2_5_vl_text",
}
"""The type of a text config that does not name its own, by the type around it."""


def family_of(model_type: str) -> Family:
    """The record of a `model_type`; an empty one where there is none."""
    return FAMILIES.get(model_type, UNRECORDED)
