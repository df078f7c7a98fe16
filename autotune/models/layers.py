"""Which tokens each layer lets a query see: one mask a layer, from the first to the last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from autotune.models.family import Family
    from autotune.models.fields import Fields

MOST_LAYERS = 10_000
"""Ten times the deepest model known; a larger number is a typing error that would fill memory."""


@dataclass(frozen=True)
class Full:
    """Every token up to the query's own."""


@dataclass(frozen=True)
class Window:
    """The last tokens alone."""

    tokens: int
    """The query's own included, as `AttentionSpec.sliding_window` counts.

    `sliding_window` of a config.json counts the same: transformers 4.57.1 keeps a key where
    kv_idx > q_idx - sliding_window (masking_utils.py), and vLLM hands FlashAttention
    sliding_window - 1 tokens to the left (v1/attention/backends/flash_attn.py).
    """


@dataclass(frozen=True)
class Chunk:
    """The tokens of the query's own chunk alone: Llama 4."""

    tokens: int


@dataclass(frozen=True)
class Unexpressed:
    """A layer that is no softmax attention, or of a type that is not known here."""

    layer_type: str


Mask: TypeAlias = Full | Window | Chunk | Unexpressed


def layer_masks(fields: Fields, family: Family, model_len: int) -> tuple[Mask, ...]:
    """The mask of every layer of a model whose longest context is `model_len` tokens."""
    count = fields.integer("num_hidden_layers", most=MOST_LAYERS)
    listed = fields.per_layer("layer_types", str, count)
    types = _derived_types(fields, family, count) if listed is None else listed
    masks = {name: _mask(str(name), fields, model_len) for name in dict.fromkeys(types)}
    return tuple(masks[name] for name in types)


def _mask(layer_type: str, fields: Fields, model_len: int) -> Mask:
    match layer_type:
        case "full_attention":
            return Full()
        case "sliding_attention":
            return _window(fields, model_len)
        case "chunked_attention":
            chunk = fields.integer("attention_chunk_size")
            return Chunk(chunk) if chunk < model_len else Full()
        case _:
            return Unexpressed(layer_type)


def _window(fields: Fields, model_len: int) -> Mask:
    # Qwen writes a window and switches it off beside. vLLM heeds the switch in any model,
    # transformers in Qwen's alone; the engine is what runs.
    if not fields.flag("use_sliding_window"):
        return Full()
    # A window not smaller than the longest context hides nothing: Phi-3.5 writes 262144 for
    # 131072 positions.
    window = fields.integer("sliding_window")
    return Window(window) if window < model_len else Full()


def _derived_types(fields: Fields, family: Family, count: int) -> list[object]:
    """What transformers would write into `layer_types`, for a file that lacks it."""
    flags = fields.per_layer("attn_type_list", int, count)
    if flags is not None:
        # MiniMax: 1 is softmax attention, 0 is lightning attention.
        return ["full_attention" if flag == 1 else "linear_attention" for flag in flags]
    interval = fields.integer_or_none("full_attention_interval")
    if interval is not None:
        return _every(interval, "full_attention", "linear_attention", count)
    if "attention_chunk_size" in family.reads:
        return _chunked_types(fields, count)
    if fields.integer_or_none("sliding_window") is None or not fields.flag("use_sliding_window"):
        return ["full_attention"] * count
    return _windowed_types(fields, family, count)


def _chunked_types(fields: Fields, count: int) -> list[object]:
    if fields.integer_or_none("attention_chunk_size") is None:
        return ["full_attention"] * count
    has_rope = fields.per_layer("no_rope_layers", int, count)
    if has_rope is None:
        interval = fields.integer("no_rope_layer_interval")
        return _every(interval, "full_attention", "chunked_attention", count)
    # In spite of its name, 1 marks a layer with rope: configuration_llama4.py.
    return ["chunked_attention" if flag else "full_attention" for flag in has_rope]


def _windowed_types(fields: Fields, family: Family, count: int) -> list[object]:
    pattern = fields.integer_or_none("sliding_window_pattern")
    if family.window_layers == "pattern" and pattern is not None:
        return _every(pattern, "full_attention", "sliding_attention", count)
    if family.window_layers == "from max_window_layers":
        first = fields.integer("max_window_layers", least=0)
        return [
            "sliding_attention" if layer >= first else "full_attention" for layer in range(count)
        ]
    return ["sliding_attention"] * count


def _every(interval: int, last: str, others: str, count: int) -> list[object]:
    # Gemma 3's 6 is five windows, then one full layer.
    return [others if (layer + 1) % interval else last for layer in range(count)]
