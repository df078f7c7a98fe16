"""vLLM starts with the measured backend: the plug-in that its entry point names.

vLLM calls `register` in each of its processes, some of them twice.
"""

from __future__ import annotations

import logging
import os

NAME = "vllm.attn_autotune"
"""Below vLLM's own logger, which alone has a handler in its processes."""


def register() -> None:
    """Wrap vLLM's patch points; raises nothing, since vLLM would not start."""
    if os.environ.get("AUTOTUNE_MODE", "").strip().lower() == "off":
        return
    try:
        # Imported late: a process of vLLM that is told to leave us out pays for nothing.
        from autotune.in_vllm.patches import install

        install()
    except Exception as error:
        logging.getLogger(NAME).warning(
            "attn-autotune: not in use, vLLM starts as it would without it: %s: %s",
            type(error).__name__,
            error,
        )
