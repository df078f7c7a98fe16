from __future__ import annotations

from typing import Any


class AsyncLLM:
    dies_of: BaseException | None = None

    def __init__(
        self, vllm_config: Any, executor_class: Any = None, log_stats: bool = True
    ) -> None:
        self.vllm_config = vllm_config
        if self.dies_of is not None:
            raise self.dies_of
