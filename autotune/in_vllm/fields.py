"""The fields of vLLM's attention config that we set, all of them public."""

from __future__ import annotations

from typing import Any

from autotune.in_vllm.messages import Option


def unknown_to(config: Any, option: Option) -> str:
    """Why this vLLM does not have the option; empty where it does."""
    try:
        for name in (option.backend, *option.per_kind.values()):
            type(config).validate_backend_before(name)
    except ValueError as error:
        return str(error)
    if option.per_kind and not hasattr(config, "backend_per_kind"):
        return "this vLLM takes no backend a kind of layer"
    return ""


def put(config: Any, option: Option | None) -> None:
    """Set them, or clear them: nobody else had set one."""
    read = type(config).validate_backend_before
    config.backend = None if option is None else read(option.backend)
    config.flash_attn_version = None if option is None else option.flash_attn_version
    if hasattr(config, "backend_per_kind"):
        per_kind = {} if option is None else option.per_kind
        config.backend_per_kind = {kind: read(name) for kind, name in per_kind.items()}
