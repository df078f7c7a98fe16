from __future__ import annotations

from typing import Any

REFUSED: set[str] = set()
"""Backends that the platform's own check turns down."""


class Platform:
    @classmethod
    def get_attn_backend_cls(
        cls, selected_backend: Any, attn_selector_config: Any, num_heads: int | None = None
    ) -> str:
        if selected_backend is None:
            return "path.of.FLASH_ATTN"
        if selected_backend.name in REFUSED:
            raise ValueError(f"Selected backend {selected_backend} is not valid")
        return f"path.of.{selected_backend.name}"


class CudaPlatform(Platform):
    pass


current_platform = CudaPlatform()
