"""The reasons why no backend may run a model: what its config.json says beyond an `AttentionSpec`.

A field that looks like attention and is not understood is a reason, with its value. Taking it for
full attention would measure, and recommend for, another model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from autotune.models.family import Family
from autotune.models.fields import Fields, shown
from autotune.models.layers import Mask, Unexpressed
from kernels_bench.spec import Reason


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_NO_SOFTMAX = _words("""
    bamba falcon_h1 falcon_mamba granitemoehybrid jamba kimi_linear lfm2 lfm2_moe mamba mamba2
    minimax_text_01 nemotron_h plamo2 recurrent_gemma rwkv rwkv5 rwkv6 rwkv7 xlstm zamba zamba2
""")
_ENCODERS = _words("""
    albert bert camembert clip deberta deberta-v2 distilbert electra ernie esm modernbert mpnet
    nomic_bert roberta siglip vit xlm-roberta
""")
_ENCODER_DECODERS = _words("""
    bart led longt5 m2m_100 marian mbart mt5 pegasus t5 t5gemma umt5 whisper
""")

_REFUSED_TYPES: Mapping[str, str] = {
    **dict.fromkeys(_NO_SOFTMAX, "has layers that are no softmax attention"),
    **dict.fromkeys(_ENCODERS, "is an encoder: it keeps no KV cache"),
    **dict.fromkeys(_ENCODER_DECODERS, "is an encoder-decoder: it has cross attention"),
}

_LOOKS_LIKE_ATTENTION = re.compile(
    r"attn|attention|window|head|sink|alibi|softcap|(^|_)kv(_|$)|swa(_|$)|sparse|dilat|multi_query"
    r"|mamba|ssm|rwkv|recurrent|retention|linear_|conv_|chunk|mixer|causal|bidirectional"
    r"|layer_types|layers_block_type|pattern|hybrid|block_configs|^index_|lora_rank"
)

# Towers beside the text model see other tokens; only their output reaches it. Weight formats and
# the multi-token-prediction head change no kernel of the layers.
_BESIDE_THE_LAYERS = re.compile(
    r"vision|image|video|audio|projector|^mm_|lm_head|quantization|mtp|auto_map|id2label|label2id"
)

_UNDERSTOOD = _words("""
    num_attention_heads num_key_value_heads head_dim layer_types attn_type_list
    full_attention_interval sliding_window use_sliding_window max_window_layers
    kv_lora_rank q_lora_rank qk_head_dim qk_nope_head_dim qk_rope_head_dim v_head_dim
""")

# What happens before or after the kernel (biases, norms, gates, the cap on the model's output), in
# training alone (dropout), or in the choice of an implementation.
_HARMLESS = _words("""
    attention_bias attention_out_bias attention_dropout attention_dropout_prob
    attention_probs_dropout_prob attn_dropout attn_pdrop attention_in_fp32
    attention_softmax_in_fp32 scale_attention_softmax_in_fp32
    attn_implementation _attn_implementation _attn_implementation_autoset
    _attn_implementation_internal _flash_attn_2_enabled use_flash_attn use_flash_attention
    flash_attn output_attentions attn_output_gate attention_output_gate chunk_size_feed_forward
    decoder_sparse_step final_logit_softcapping parallel_attn _sliding_window_pattern
""")

# Fields whose usual value is not the empty one.
_HARMLESS_AT: Mapping[str, object] = {
    "is_causal": True,
    "scale_attn_weights": True,
    "full_attn_mod": 1,
}

# Written for a feature that is switched off.
_INERT_VALUES: tuple[object, ...] = (None, False, 0, "", [], {})


def type_reasons(model_type: str, fields: Fields) -> tuple[Reason, ...]:
    """Why the whole model is out, before a layer is looked at."""
    found = []
    if model_type in _REFUSED_TYPES:
        text = f"model_type '{model_type}' {_REFUSED_TYPES[model_type]}"
        found.append(Reason("model_type", text))
    elif fields.flag("is_encoder_decoder"):
        text = "is_encoder_decoder true: cross attention is not expressed"
        found.append(Reason("is_encoder_decoder", text))
    return tuple(found)


def field_reasons(fields: Fields, family: Family) -> tuple[Reason, ...]:
    """One reason for each field that looks like attention and is not understood."""
    return tuple(
        Reason(name, f"{name} {shown(value)}: not understood, it may change attention")
        for name, value in fields.values.items()
        if _matters(name, value) and not _understood(name, fields, family)
    )


def layer_reasons(
    masks: tuple[Mask, ...], fields: Fields, family: Family, model_type: str
) -> Iterator[Reason]:
    """One reason for each type of layer that no spec expresses."""
    for mask in dict.fromkeys(masks):
        if isinstance(mask, Unexpressed):
            count = f"{masks.count(mask)} of {len(masks)} layers"
            text = f"layer type '{mask.layer_type}' in {count}: no backend here runs it"
            yield Reason("layer_types", text)
    window = fields.integer_or_none("sliding_window")
    listed = fields.values.get("layer_types")
    switched_on = fields.flag("use_sliding_window")
    if family.window_layers == "unrecorded" and window and switched_on and not listed:
        which = f"which layers of model_type '{model_type}' use it is not recorded"
        yield Reason("sliding_window", f"sliding_window {window}: {which}")


def _matters(name: str, value: object) -> bool:
    if _BESIDE_THE_LAYERS.search(name) or not _LOOKS_LIKE_ATTENTION.search(name):
        return False
    if name in _HARMLESS_AT:
        return value not in (None, _HARMLESS_AT[name])
    return value not in _INERT_VALUES


def _understood(name: str, fields: Fields, family: Family) -> bool:
    if name in _UNDERSTOOD or name in _HARMLESS or name in family.reads:
        return True
    if name == "sliding_window_pattern":
        return family.window_layers == "pattern"
    if name == "sliding_window_size":
        # Gemma 2 writes its window under both names.
        return fields.values[name] == fields.values.get("sliding_window")
    return False
