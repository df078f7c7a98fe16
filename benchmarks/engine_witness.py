"""Says, from inside a worker of vLLM, which classes of attention backends it has loaded."""

from __future__ import annotations

from typing import Any


class Witness:
    """For vLLM's `worker_extension_cls`."""

    model_runner: Any
    vllm_config: Any

    def attention_backends(self) -> list[str]:
        groups = (group for groups in self.model_runner.attn_groups for group in groups)
        return sorted({group.backend.__name__ for group in groups})

    def config_hash(self) -> str:
        text: str = self.vllm_config.compute_hash()
        return text
