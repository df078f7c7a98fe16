from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class AttentionBackendEnum(Enum):
    FLASH_ATTN = "1"
    FLASHINFER = "2"
    TRITON_ATTN = "3"
    CPU_ATTN = "4"


@dataclass
class AttentionConfig:
    backend: AttentionBackendEnum | None = None
    flash_attn_version: int | None = None
    use_non_causal: bool = False

    @classmethod
    def validate_backend_before(cls, value: Any) -> Any:
        if isinstance(value, str):
            if value.lower() == "auto":
                return None
            try:
                return AttentionBackendEnum[value.upper()]
            except KeyError:
                raise ValueError(f"Unknown attention backend: '{value}'") from None
        return value

    def compute_hash(self) -> str:
        return hashlib.sha256(repr(dataclasses.astuple(self)).encode()).hexdigest()


@dataclass
class HfConfig:
    values: dict[str, object]

    def to_json_string(self, use_diff: bool = True) -> str:
        import json

        return json.dumps(self.values)


@dataclass
class ModelConfig:
    model: str
    hf_config: HfConfig
    dtype: str = "torch.bfloat16"
    max_model_len: int = 256
    revision: str | None = None
    runner_type: str = "generate"
    is_encoder_decoder: bool = False
    hf_overrides: dict[str, object] = field(default_factory=dict)
    heads: tuple[int, int, int] = (2, 1, 32)

    def get_num_attention_heads(self, parallel_config: ParallelConfig) -> int:
        return self.heads[0] // parallel_config.tensor_parallel_size

    def get_num_kv_heads(self, parallel_config: ParallelConfig) -> int:
        return max(1, self.heads[1] // parallel_config.tensor_parallel_size)

    def get_head_size(self) -> int:
        return self.heads[2]


@dataclass
class CacheConfig:
    cache_dtype: str = "auto"
    block_size: int | None = None
    user_specified_block_size: bool = False


@dataclass
class ParallelConfig:
    tensor_parallel_size: int = 1
    nnodes: int = 1
    data_parallel_size: int = 1
    data_parallel_size_local: int = 1
    data_parallel_external_lb: bool = False
    data_parallel_hybrid_lb: bool = False
    data_parallel_backend: str = "mp"
    distributed_executor_backend: str | None = None
    decode_context_parallel_size: int = 1
    prefill_context_parallel_size: int = 1
    _api_process_count: int = 1
    _api_process_rank: int = 0


@dataclass
class KVTransferConfig:
    kv_connector: str = "NixlConnector"


@dataclass
class DeviceConfig:
    device_type: str = "cpu"


@dataclass
class VllmConfig:
    model_config: ModelConfig
    attention_config: AttentionConfig
    cache_config: CacheConfig = field(default_factory=CacheConfig)
    parallel_config: ParallelConfig = field(default_factory=ParallelConfig)
    device_config: DeviceConfig = field(default_factory=DeviceConfig)
    kv_transfer_config: KVTransferConfig | None = None

    def __str__(self) -> str:
        return f"model={self.model_config.model!r}"

    def compute_hash(self) -> str:
        return self.attention_config.compute_hash()


current: list[VllmConfig] = []


def get_current_vllm_config() -> VllmConfig:
    return current[-1]
