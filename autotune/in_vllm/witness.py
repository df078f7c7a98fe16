"""Speaks from inside a worker of vLLM, which it extends (`worker_extension_cls`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_SHARP = 2.0
"""Of the queries' and keys' weights: so that a query looks at some tokens more than at others."""


class Witness:
    """What the worker loaded, what it takes, and weights that a computation can be seen by."""

    model_runner: Any
    vllm_config: Any

    def attention_backends(self) -> list[str]:
        """Classes."""
        groups = (group for groups in self.model_runner.attn_groups for group in groups)
        return sorted({group.backend.__name__ for group in groups})

    def config_hash(self) -> str:
        """Of what was compiled."""
        text: str = self.vllm_config.compute_hash()
        return text

    def peak_bytes(self) -> int:
        """Of memory that torch reserved; 0 on a CPU."""
        import torch

        return torch.cuda.max_memory_reserved() if torch.cuda.is_available() else 0

    def draw_weights(self, seed: int) -> None:
        """Replace vLLM's dummy weights, whose activations are next to zero: those draw less power
        and compare equal whatever the backend does. Uniform, of variance 1 / inputs; norms of 1.
        """
        import torch

        torch.manual_seed(seed)
        with torch.no_grad():
            for name, module in self.model_runner.model.named_modules():
                for own, weight in module.named_parameters(recurse=False):
                    _draw(f"{name}.{own}", type(module).__name__, weight)


def _draw(name: str, module: str, weight: torch.Tensor) -> None:
    if weight.dim() < 2:
        # GemmaRMSNorm multiplies by 1 + weight.
        is_scale = name.endswith("weight") and not module.startswith("Gemma")
        weight.fill_(1.0 if is_scale else 0.0)
        return
    bound = (3.0 / weight.shape[-1]) ** 0.5 * (_SHARP if "qkv" in name else 1.0)
    weight.uniform_(-bound, bound)
