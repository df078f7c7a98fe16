"""What a `model_type` can teach about its config.json, and what holds for every model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

WindowLayers: TypeAlias = Literal["all", "from max_window_layers", "pattern", "unrecorded"]
"""Which layers `sliding_window` holds for, in a file without `layer_types`.

"unrecorded" also where transformers ignores the field (Llama) while vLLM gives it to every layer.
"""


@dataclass(frozen=True)
class Family:
    """How to read the config.json of one `model_type`."""

    window_layers: WindowLayers = "unrecorded"
    defaults: Mapping[str, object] = field(default_factory=dict)
    reads: frozenset[str] = frozenset()
    """Attention fields that mean something in this family only."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Our name of a field -> the name in the file."""
    has_sinks: bool = False


ABSENT: Mapping[str, object] = {
    "layer_types": None,
    "attn_type_list": None,
    "full_attention_interval": None,
    "head_dim": None,
    "v_head_dim": None,
    "kv_lora_rank": None,
    "sliding_window": None,
    "use_sliding_window": True,
    "sliding_window_pattern": None,
    "attention_chunk_size": None,
    "no_rope_layers": None,
    "attn_logit_softcapping": None,
    "query_pre_attn_scalar": None,
    "attention_multiplier": None,
    "alibi": False,
    "is_encoder_decoder": False,
    "torch_dtype": None,
    "dtype": None,
}
"""Features that a model without the key does not have, whatever its `model_type`."""

UNRECORDED = Family()
"""A `model_type` that is not in the table: it must say everything itself."""
