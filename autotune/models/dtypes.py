"""The names of number formats: as config files and users write them, and as specs keep them."""

from __future__ import annotations

from collections.abc import Mapping

from autotune.errors import ConfigError, ModelRequestError
from autotune.models.fields import Fields

_REQUESTED: Mapping[str, str] = {
    "bfloat16": "bfloat16",
    "bf16": "bfloat16",
    "float16": "float16",
    "fp16": "float16",
    "half": "float16",
}

# vLLM's `--dtype auto` serves a float32 checkpoint in 16 bits, in bfloat16 wherever the device has
# it (_resolve_auto_dtype in vllm/config/model.py); float32 attention kernels are not what it runs.
_IN_FILES: Mapping[str, str] = {**_REQUESTED, "float32": "bfloat16", "float": "bfloat16"}

WHERE_NONE_IS_SAID = "bfloat16"
"""transformers takes such a checkpoint as float32, which is served as above. gpt-oss is one."""

# vLLM and SGLang both take "fp8" for e4m3.
_KV_REQUESTED: Mapping[str, str] = {
    "fp8": "fp8_e4m3",
    "fp8_e4m3": "fp8_e4m3",
    "fp8_e5m2": "fp8_e5m2",
}


def compute_dtype(requested: str | None, *places: Fields) -> str:
    """The dtype of queries and outputs: the user's, or that of the first place that names one."""
    if requested is not None and requested != "auto":
        return _choose("dtype", requested, _REQUESTED)
    for fields in places:
        # transformers 5 writes `dtype`, earlier versions `torch_dtype`.
        for name in ("dtype", "torch_dtype"):
            written = fields.text_or_none(name)
            if written is not None:
                return _from_file(fields, name, written)
    return WHERE_NONE_IS_SAID


def cache_dtype(requested: str | None) -> str | None:
    """The dtype of the KV cache; None where it is the model's own."""
    if requested is None or requested == "auto":
        return None
    return _choose("kv dtype", requested, _KV_REQUESTED)


def _from_file(fields: Fields, name: str, written: str) -> str:
    known = written.removeprefix("torch.")
    if known not in _IN_FILES:
        raise ConfigError(
            f"{fields.where}: field '{name}': expected bfloat16, float16 or float32, "
            f"found '{written}'; give the dtype to serve in with --dtype"
        )
    return _IN_FILES[known]


def _choose(what: str, requested: str, choices: Mapping[str, str]) -> str:
    if requested not in choices:
        raise ModelRequestError(
            f"{what} '{requested}' is not known: choose from auto, {', '.join(choices)}"
        )
    return choices[requested]
