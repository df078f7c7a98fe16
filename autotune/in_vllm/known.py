"""Which releases of vLLM the plug-in knows, and whether an installed one looks as they do."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass

FIRST, LAST = (0, 13), (0, 33)
"""AttentionConfig came with 0.13. The patch points were read in the wheels of 0.13, 0.14, 0.16,
0.19, 0.24, 0.26, 0.28, 0.30, 0.32 and 0.33, and run with 0.24 (CUDA) and 0.32 (CPU)."""


@dataclass(frozen=True)
class PatchPoint:
    """A function of vLLM that is wrapped."""

    module: str
    owner: str
    """A class, or a module's object whose class it is."""
    function: str
    first_parameters: tuple[str, ...]
    """After self or cls; what follows is passed on as it comes."""

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.module}.{self.owner}.{self.function}"


CONFIG = PatchPoint(
    "vllm.engine.arg_utils",
    "EngineArgs",
    "create_engine_config",
    ("usage_context", "headless"),
)
"""The one decision, in process 0."""
SELECT = PatchPoint(
    "vllm.platforms",
    "current_platform",
    "get_attn_backend_cls",
    ("selected_backend",),
)
"""vLLM's own check of our winner; the runner-up, then vLLM's default, where it refuses."""
ASYNC_ENGINE = PatchPoint(
    "vllm.v1.engine.async_llm",
    "AsyncLLM",
    "__init__",
    ("vllm_config",),
)
"""The mark of a start: left before, cleared after."""
SYNC_ENGINE = PatchPoint(
    "vllm.v1.engine.llm_engine",
    "LLMEngine",
    "__init__",
    ("vllm_config",),
)
"""The same for the class LLM."""
DUMP = PatchPoint(
    "vllm.config",
    "VllmConfig",
    "__str__",
    (),
)
"""Names us in the config that the engine prints."""
POINTS = (CONFIG, SELECT, ASYNC_ENGINE, SYNC_ENGINE, DUMP)


def refuse_version(version: str) -> str:
    """Why this release is left alone; empty where it is known."""
    match = re.match(r"(\d+)\.(\d+)", version)
    if match is None or not FIRST <= (int(match[1]), int(match[2])) <= LAST:
        span = ".".join(map(str, FIRST)), ".".join(map(str, LAST))
        return f"vLLM {version} is not known to this release (it knows {span[0]} to {span[1]})"
    return ""


def refuse_function(point: PatchPoint, function: Callable[..., object]) -> str:
    """Why it cannot be wrapped; empty where it looks as it always did."""
    parameters = list(inspect.signature(function).parameters)
    own = parameters[1:] if parameters[:1] in (["self"], ["cls"]) else parameters
    wanted = list(point.first_parameters)
    if own[: len(wanted)] != wanted:
        return f"{point.name} takes ({', '.join(own)}), expected ({', '.join(wanted)}, ...)"
    return ""
