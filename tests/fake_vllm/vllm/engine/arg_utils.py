from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field
from pathlib import Path

from vllm.config import (
    AttentionConfig,
    CacheConfig,
    DeviceConfig,
    HfConfig,
    KVTransferConfig,
    ModelConfig,
    ParallelConfig,
    VllmConfig,
)


@dataclass
class EngineArgs:
    model: str
    attention_backend: object = None
    attention_config: AttentionConfig = field(default_factory=AttentionConfig)
    parallel: ParallelConfig = field(default_factory=ParallelConfig)
    cache: CacheConfig = field(default_factory=CacheConfig)
    device: str = "cpu"
    transfer: KVTransferConfig | None = None
    model_fields: dict[str, object] = field(default_factory=dict)
    of_the_model: AttentionConfig | None = None
    """What the model's own code makes of it."""

    def create_engine_config(
        self, usage_context: object = None, headless: bool = False
    ) -> VllmConfig:
        attention = copy.deepcopy(self.of_the_model or self.attention_config)
        if self.attention_backend is not None:
            attention.backend = AttentionConfig.validate_backend_before(self.attention_backend)
        file = Path(self.model) / "config.json"
        values = json.loads(file.read_text()) if file.is_file() else {}
        model = ModelConfig(self.model, HfConfig(values))
        for name, value in self.model_fields.items():
            setattr(model, name, value)
        return VllmConfig(
            model,
            attention,
            self.cache,
            self.parallel,
            DeviceConfig(self.device),
            self.transfer,
        )
