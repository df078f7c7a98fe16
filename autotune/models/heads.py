"""The heads of one layer: how many a model has, how wide, and how many of them one rank gets."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autotune.errors import ConfigError, ModelRequestError
from kernels_bench.spec import Mla

if TYPE_CHECKING:
    from autotune.models.fields import Fields


@dataclass(frozen=True)
class Heads:
    """The heads of one layer."""

    num_q: int
    num_kv: int
    dim: int
    dim_v: int | None
    """None: `dim`."""
    scale: float | None
    """None: dim ** -0.5."""
    mla: Mla | None = None

    def per_rank(self, tensor_parallel: int) -> Heads:
        """What one of so many ranks holds; kv heads are replicated where the ranks exceed them."""
        if self.num_q % tensor_parallel:
            raise ModelRequestError(
                f"--tp {tensor_parallel} does not divide {self.num_q} query heads"
            )
        num_kv = self.num_kv
        # The latent of MLA is one for all heads, and every rank keeps it whole.
        if self.mla is None:
            if num_kv % tensor_parallel and tensor_parallel % num_kv:
                raise ModelRequestError(
                    f"--tp {tensor_parallel} neither divides {num_kv} kv heads "
                    "nor is a multiple of them"
                )
            num_kv = max(1, num_kv // tensor_parallel)
        return Heads(
            self.num_q // tensor_parallel, num_kv, self.dim, self.dim_v, self.scale, self.mla
        )


def read_heads(fields: Fields) -> Heads:
    """The heads of the whole model."""
    num_q = fields.integer("num_attention_heads")
    if fields.integer_or_none("kv_lora_rank") is not None:
        return _latent_heads(fields, num_q)
    num_kv = _num_kv_heads(fields, num_q)
    if num_q % num_kv:
        raise ConfigError(
            f"{fields.where}: expected num_attention_heads to be a multiple of the kv heads, "
            f"found {num_q} query and {num_kv} kv heads"
        )
    dim = fields.integer_or_none("head_dim")
    if dim is None:
        dim = _even_share(fields, num_q)
    dim_v = fields.integer_or_none("v_head_dim")
    return Heads(num_q, num_kv, dim, None if dim_v == dim else dim_v, _scale(fields, dim))


def _num_kv_heads(fields: Fields, num_q: int) -> int:
    if "new_decoder_architecture" not in fields.defaults:
        return fields.integer_or_none("num_key_value_heads") or num_q
    # Falcon: the 40B and 180B say how many, the 7B has one, the 1B as many as query heads.
    if fields.flag("new_decoder_architecture"):
        return fields.integer_or_none("num_kv_heads") or num_q
    return 1 if fields.flag("multi_query") else num_q


def _even_share(fields: Fields, num_q: int) -> int:
    hidden = fields.integer("hidden_size")
    if hidden % num_q:
        raise ConfigError(
            f"{fields.where}: field 'head_dim' is missing, and hidden_size {hidden} "
            f"is no multiple of num_attention_heads {num_q}"
        )
    return hidden // num_q


def _scale(fields: Fields, dim: int) -> float | None:
    # Gemma 2 and 3 take the root of a field of their own; Granite writes the factor itself.
    scalar = fields.number_or_none("query_pre_attn_scalar")
    if scalar is not None:
        return _unless_usual(scalar**-0.5, dim)
    multiplier = fields.number_or_none("attention_multiplier")
    return None if multiplier is None else _unless_usual(multiplier, dim)


def _unless_usual(scale: float, dim: int) -> float | None:
    return None if math.isclose(scale, dim**-0.5, rel_tol=1e-6) else scale


def _latent_heads(fields: Fields, num_q: int) -> Heads:
    mla = Mla(
        kv_lora_rank=fields.integer("kv_lora_rank"),
        qk_rope_head_dim=fields.integer("qk_rope_head_dim"),
        qk_nope_head_dim=fields.integer("qk_nope_head_dim"),
        v_head_dim=fields.integer("v_head_dim"),
    )
    dim = mla.qk_nope_head_dim + mla.qk_rope_head_dim
    dim_v = None if mla.v_head_dim == dim else mla.v_head_dim
    return Heads(num_q, 1, dim, dim_v, _yarn_scale(fields, dim), mla)


def _yarn_scale(fields: Fields, dim: int) -> float | None:
    """DeepSeek sharpens the softmax of a stretched context.

    As transformers 4.57.1 does in modeling_deepseek_v3.py, and vLLM for V2 as well.
    """
    for name in ("rope_scaling", "rope_parameters"):
        rope = fields.object_or_none(name)
        if rope is not None and rope.values.get("mscale_all_dim"):
            factor = rope.number_or_none("factor") or 1.0
            weight = rope.number_or_none("mscale_all_dim") or 0.0
            sharper = 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0
            return _unless_usual(dim**-0.5 * sharper**2, dim)
    return None
