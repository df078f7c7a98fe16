"""What vLLM is about to serve, read from the config that it made. Public fields only."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from autotune.in_vllm.messages import Request, is_setting

# vLLM is no requirement of ours, and its fields come and go with its releases.
VllmConfig: TypeAlias = Any
EngineArgs: TypeAlias = Any

_CHOICES = ("backend", "flash_attn_version", "backend_per_kind")


def own_choice(args: EngineArgs, config: VllmConfig) -> str:
    """Who chose a backend before us, the user or the model's code; empty where nobody did."""
    flag = args.attention_backend
    is_given = flag is not None and str(flag).lower() != "auto"
    given = [f"--attention-backend {getattr(flag, 'name', flag)}"] if is_given else []
    said = args.attention_config
    given += [f"--attention-config.{name}" for name in _CHOICES if getattr(said, name, None)]
    if given:
        return f"{', '.join(given)} was given"
    for name in _CHOICES:
        if value := getattr(config.attention_config, name, None):
            return f"this model's code asks for {name} {getattr(value, 'name', value)}"
    return ""


def outside_of(config: VllmConfig) -> str:
    """What no measurement covers; empty where all is well."""
    model, parallel = config.model_config, config.parallel_config
    if getattr(model, "runner_type", "generate") != "generate":
        return f"a {model.runner_type} model is not measured"
    if getattr(model, "is_encoder_decoder", False):
        return "an encoder-decoder model is not measured"
    if getattr(config.attention_config, "use_non_causal", False):
        return "non-causal attention is not measured"
    for name in ("decode_context_parallel_size", "prefill_context_parallel_size"):
        if getattr(parallel, name, 1) > 1:
            return f"{name} {getattr(parallel, name)} is not measured"
    return ""


def request_of(config: VllmConfig, *, headless: bool) -> Request:
    """All that a decision depends on."""
    model, cache, parallel = config.model_config, config.cache_config, config.parallel_config
    dtype = str(model.dtype).removeprefix("torch.")
    return Request(
        source=str(model.model),
        revision=getattr(model, "revision", None),
        config=_config_json(model),
        tensor_parallel=parallel.tensor_parallel_size,
        dtype=dtype,
        kv_dtype=None if cache.cache_dtype in ("auto", dtype) else str(cache.cache_dtype),
        page_size=cache.block_size if getattr(cache, "user_specified_block_size", False) else None,
        max_model_len=model.max_model_len,
        heads=(
            model.get_num_attention_heads(parallel),
            model.get_num_kv_heads(parallel),
            model.get_head_size(),
        ),
        device=config.device_config.device_type,
        agreement=", ".join(_agreements(config, headless)),
        is_front_end=getattr(parallel, "_api_process_count", 1) > 1
        and getattr(parallel, "_api_process_rank", 0) >= 0,
        environ={name: value for name, value in os.environ.items() if is_setting(name)},
    )


def _agreements(config: VllmConfig, headless: bool) -> Iterator[str]:
    parallel, transfer = config.parallel_config, config.kv_transfer_config
    if transfer is not None:
        yield f"KV connector {transfer.kv_connector}"
    if (nodes := getattr(parallel, "nnodes", 1)) > 1:
        yield f"{nodes} nodes"
    if headless:
        yield "headless"
    size = parallel.data_parallel_size
    is_balanced_outside = any(
        getattr(parallel, f"data_parallel_{name}_lb", False) for name in ("external", "hybrid")
    )
    if size > 1 and (is_balanced_outside or parallel.data_parallel_size_local < size):
        yield f"data parallel over several instances ({size})"
    for name in ("distributed_executor_backend", "data_parallel_backend"):
        # Ray's workers may be on any node.
        if getattr(parallel, name, None) == "ray":
            yield f"{name} ray"


def _config_json(model: Any) -> Mapping[str, object] | None:
    """What vLLM made of the model's config, where that is not what its file says."""
    source = str(model.model)
    is_file = Path(source).is_file()  # GGUF: the config is in there
    is_folder_without = Path(source).is_dir() and not (Path(source) / "config.json").is_file()
    if not (getattr(model, "hf_overrides", None) or is_file or is_folder_without):
        return None
    fields: object = json.loads(model.hf_config.to_json_string(use_diff=False))
    return fields if isinstance(fields, dict) else None
