"""Backends that vLLM's options name, and troubles that befall one of them. Found through entry
points, in every process of an engine, as a real plug-in is.
"""

from __future__ import annotations

import os
import signal
from typing import Any

from kernels_bench.spec import AttentionSpec, Device, Pages, Phase, Stack, Support, Variant


class Named:
    """A candidate that no one runs here: an engine loads what its option names."""

    def __init__(self, name: str, option: str) -> None:
        self.name = name
        self._variant = Variant(
            "plain", (), (Pages(16),), engine_options={"vllm": {"attention_backend": option}}
        )

    def variants(self, device: Device, spec: AttentionSpec, stack: Stack) -> tuple[Variant, ...]:
        return (self._variant,)

    def supports(
        self, variant: Variant, device: Device, spec: AttentionSpec, phase: Phase, stack: Stack
    ) -> Support:
        return Support()

    def prepare(self, variant: Variant, spec: AttentionSpec, batch: object) -> Any:
        raise NotImplementedError("only engines load it")


SWIFT = Named("swift", "TRITON_ATTN")
"""On a CPU vLLM takes note of the option, and loads its own kernel."""
FUTURE = Named("future", "FROM_THE_FUTURE")


def trouble() -> None:
    """An engine that dies where TRITON_ATTN was chosen."""
    match os.environ.get("ENGINE_TROUBLE"):
        case "constructor":
            from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackendImpl

            _break(CPUAttentionBackendImpl, "__init__", "no such head size in the constructor")
        case "capture":
            from vllm.v1.worker.cpu_worker import CPUWorker

            _break(CPUWorker, "compile_or_warm_up_model", "illegal access at graph capture")
        case "kill":
            from vllm.v1.engine.core_client import EngineCoreClient

            # As by an orchestrator that has waited for long enough: no word, no clean-up.
            EngineCoreClient.make_client = _kill


def _kill(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _break(owner: Any, name: str, message: str) -> None:
    original = getattr(owner, name)

    def broken(self: Any, *args: Any, **kwargs: Any) -> Any:
        from vllm.config import get_current_vllm_config_or_none

        config = getattr(self, "vllm_config", None) or get_current_vllm_config_or_none()
        if getattr(config.attention_config.backend, "name", "") == "TRITON_ATTN":
            raise RuntimeError(message)
        return original(self, *args, **kwargs)

    setattr(owner, name, broken)
