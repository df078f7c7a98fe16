"""What the GPU under a tensor has, as far as launches depend on it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Resources:
    """Of one device."""

    multiprocessors: int
    """SMs or CUs."""
    shared_bytes: int
    """Shared memory, or LDS, that one program may take."""


INTERPRETED = Resources(multiprocessors=16, shared_bytes=64 << 10)
"""On a CPU only Triton's interpreter runs the kernels; it has no limits, so these are a small
GPU's."""


@lru_cache(maxsize=8)
def resources_of(device: torch.device) -> Resources:
    """As Triton reads them: on NVIDIA with the opt-in above 48 KiB."""
    if device.type == "cpu":
        return INTERPRETED
    from triton.runtime import driver

    index = 0 if device.index is None else device.index
    properties = driver.active.utils.get_device_properties(index)
    return Resources(properties["multiprocessor_count"], properties["max_shared_mem"])


@lru_cache(maxsize=4)
def workspace(device: torch.device, numel: int) -> Tensor:
    """Scratch in fp32 that launches of one size share: they run one after the other."""
    import torch

    return torch.empty(numel, dtype=torch.float32, device=device)
