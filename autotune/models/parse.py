"""A config.json, already read, made into a `ModelConfig`. Pure: no file, no installed package."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from autotune.errors import ModelRequestError
from autotune.models.config import ModelConfig, ModelRequest
from autotune.models.dtypes import cache_dtype, compute_dtype
from autotune.models.families import NESTED_TYPES, family_of
from autotune.models.family import ABSENT, Family
from autotune.models.fields import Fields
from autotune.models.heads import read_heads
from autotune.models.layers import Chunk, Full, Mask, Window, layer_masks
from autotune.models.refusals import field_reasons, layer_reasons, type_reasons
from kernels_bench.spec import AttentionSpec

_TEXT_CONFIGS = ("text_config", "llm_config", "language_config")

LENGTH_WHERE_NONE_IS_SAID = 2048
"""vLLM's own guess for such a model (_get_and_verify_max_len); reached by refused models alone."""


@dataclass(frozen=True)
class _TextModel:
    """The part of a config.json that describes the layers an engine serves."""

    model_type: str
    family: Family
    fields: Fields
    outer: Fields
    """The whole file: the same object, unless the text model is nested in it."""


def parse_config(
    config: Mapping[str, object], request: ModelRequest, *, name: str, where: str = "config.json"
) -> ModelConfig:
    """What attention sees of the model; `where` names the file in errors."""
    _check_request(request)
    text = _text_model(config, where)
    refused = type_reasons(text.model_type, text.fields)
    if refused:
        length = _refused_length(text.fields, request)
        return ModelConfig(name, text.model_type, (), request.tensor_parallel, length, refused)
    model_len = _model_len(text.fields)
    masks = layer_masks(text.fields, text.family, model_len)
    reasons = [
        *field_reasons(text.fields, text.family),
        *layer_reasons(masks, text.fields, text.family, text.model_type),
    ]
    if text.outer is not text.fields:
        reasons += field_reasons(text.outer, text.family)
    return ModelConfig(
        name=name,
        model_type=text.model_type,
        specs=_specs(text, masks, request),
        tensor_parallel=request.tensor_parallel,
        max_model_len=_served_len(model_len, request, where),
        unsupported=tuple(reasons),
    )


def _check_request(request: ModelRequest) -> None:
    for option, value in (
        ("--tp", request.tensor_parallel),
        ("--page-size", request.page_size),
        ("--max-model-len", request.max_model_len),
    ):
        if value is not None and value < 1:
            raise ModelRequestError(f"{option} {value}: expected a whole number of at least 1")


def _text_model(config: Mapping[str, object], where: str) -> _TextModel:
    outer = Fields(where, config, ABSENT)
    for key in _TEXT_CONFIGS:
        nested = outer.object_or_none(key)
        if nested is not None:
            model_type = _nested_type(nested, outer)
            fields, family = _with_defaults(nested, model_type)
            return _TextModel(model_type, family, fields, outer)
    model_type = _model_type(outer)
    fields, family = _with_defaults(outer, model_type)
    return _TextModel(model_type, family, fields, fields)


def _with_defaults(fields: Fields, model_type: str) -> tuple[Fields, Family]:
    family = family_of(model_type)
    renamed = {
        ours: fields.values[theirs]
        for ours, theirs in family.aliases.items()
        if theirs in fields.values
    }
    defaults = {**ABSENT, **family.defaults}
    return Fields(fields.where, {**renamed, **fields.values}, defaults), family


def _nested_type(nested: Fields, outer: Fields) -> str:
    if nested.values.get("model_type") is not None:
        return _model_type(nested)
    around = _model_type(outer)
    return NESTED_TYPES.get(around, around)


def _model_type(fields: Fields) -> str:
    model_type = fields.text_or_none("model_type")
    if model_type is None:
        raise fields.wrong("model_type", "a text")
    return model_type


def _model_len(fields: Fields) -> int:
    """The longest context that the model was made for, in tokens.

    YaRN stretches a stated original length, and files differ in whether max_position_embeddings
    says so too; the other kinds of rope scaling are already in max_position_embeddings, or their
    files (Llama 3, longrope) say the stretched length there.
    """
    for name in ("rope_scaling", "rope_parameters"):
        rope = fields.object_or_none(name)
        if rope is None or "yarn" not in (rope.values.get("rope_type"), rope.values.get("type")):
            continue
        if rope.has("original_max_position_embeddings") and rope.has("factor"):
            original = rope.integer("original_max_position_embeddings")
            factor = rope.number_or_none("factor")
            return max(1, math.floor(original * (factor or 1.0)))
    return fields.integer("max_position_embeddings")


def _served_len(model_len: int, request: ModelRequest, where: str) -> int:
    if request.max_model_len is None:
        return model_len
    if request.max_model_len > model_len:
        raise ModelRequestError(
            f"--max-model-len {request.max_model_len}: {where} is made for "
            f"{model_len} tokens at most"
        )
    return request.max_model_len


def _refused_length(fields: Fields, request: ModelRequest) -> int:
    if request.max_model_len is not None:
        return request.max_model_len
    if fields.has("max_position_embeddings"):
        return fields.integer("max_position_embeddings")
    return LENGTH_WHERE_NONE_IS_SAID


def _specs(
    text: _TextModel, masks: tuple[Mask, ...], request: ModelRequest
) -> tuple[AttentionSpec, ...]:
    fields = text.fields
    heads = read_heads(fields).per_rank(request.tensor_parallel)
    dtype = compute_dtype(request.dtype, fields, text.outer)
    kv_dtype = cache_dtype(request.kv_dtype)
    softcap = fields.number_or_none("attn_logit_softcapping")
    has_alibi = fields.flag("alibi")
    # A Counter keeps the order of first appearance.
    layers = Counter(mask for mask in masks if isinstance(mask, Full | Window | Chunk))
    windows = {mask.tokens if isinstance(mask, Window) else None for mask in layers}
    return tuple(
        AttentionSpec(
            num_q_heads=heads.num_q,
            num_kv_heads=heads.num_kv,
            head_dim=heads.dim,
            dtype=dtype,
            num_layers=count,
            head_dim_v=heads.dim_v,
            kv_dtype=kv_dtype,
            softmax_scale=heads.scale,
            sliding_window=mask.tokens if isinstance(mask, Window) else None,
            attention_chunk=mask.tokens if isinstance(mask, Chunk) else None,
            logit_softcap=softcap,
            has_sinks=text.family.has_sinks,
            has_alibi=has_alibi,
            mla=heads.mla,
            page_size=request.page_size,
            has_mixed_windows=len(windows) > 1,
        )
        for mask, count in layers.items()
    )
