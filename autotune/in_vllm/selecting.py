"""vLLM's own check of the winner, where vLLM makes it: as a worker loads the backend of a layer.

There it sees the true layer, and costs nothing extra: the same check in process 0 would import the
kernel packages, which takes seconds and, with FlashInfer, opens a GPU context that forces vLLM to
spawn its workers. Every rank has the same config and the same packages, hence the same answer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from autotune.in_vllm import NAME
from autotune.in_vllm.fields import put
from autotune.in_vllm.messages import Option
from autotune.in_vllm.stamp import stamp_of
from kernels_bench.errors import one_line

_log = logging.getLogger(NAME)

Select = Callable[[Any], str]
"""The class path of a backend, for a member of AttentionBackendEnum or None."""


def select(original: Select, selected: Any) -> str:
    """As vLLM would; where it refuses our winner, the runner-up, then vLLM's default."""
    config = _stamped_config(selected)
    if config is None:
        return original(selected)
    try:
        return original(selected)
    except (ValueError, ImportError) as error:
        return _next(original, config, one_line(error))


def _next(original: Select, config: Any, refusal: str) -> str:
    stamp = stamp_of(config)
    options: tuple[Option | None, ...] = (None,) if stamp is None else (*stamp.runners_up, None)
    for option in options:
        # Set first: FlashAttention's version is read from here, and so is the hash of the graphs.
        put(config, option)
        instead = "vLLM's default" if option is None else option.label
        _log.warning("attn-autotune: vLLM refuses its config, %s instead: %s", instead, refusal)
        try:
            return original(config.backend)
        except (ValueError, ImportError) as error:
            if option is None:
                raise
            refusal = one_line(error)
    raise AssertionError("the default is the last option")


def _stamped_config(selected: Any) -> Any:
    """The attention config that names this backend by our doing, or None."""
    if selected is None:
        return None
    try:
        from vllm.config import get_current_vllm_config

        config = get_current_vllm_config().attention_config
        stamp = stamp_of(config)
    except Exception as error:  # whoever asks outside of an engine has no config of ours
        _log.debug("attn-autotune: no config to look at: %s", error)
        return None
    if stamp is None:
        return None
    names = (stamp.taken.backend, *stamp.taken.per_kind.values())
    return config if selected.name in names else None
