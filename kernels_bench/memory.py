"""What candidates take of a device's memory, as torch's allocator counts it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_POISON = 0xFF
"""Every float of such bytes is NaN, every integer of them -1."""
_POISONED_BYTES = (1 << 19, 1 << 19, 1 << 24, 1 << 29)
"""Small, medium and large workspaces come out of these."""


@dataclass
class Used:
    """Filled when the use is over."""

    bytes: int | None = None
    """At the most, beside what was there before; what the backend keeps from earlier counts too.
    None: nobody counts."""


class Memory:
    """One device's; on a CPU torch counts nothing."""

    def __init__(self, torch_device: torch.device) -> None:
        self._device = torch_device
        self._held: dict[str, int] = {}

    @property
    def _is_gpu(self) -> bool:
        return self._device.type != "cpu"

    def held_bytes(self, backend: str) -> int | None:
        """What a backend keeps between its launches: a workspace that they share."""
        return self._held.get(backend, 0) if self._is_gpu else None

    @contextmanager
    def of(self, backend: str) -> Iterator[Used]:
        """Count what a backend takes inside; its launches must be gone at the end."""
        import torch

        used = Used()
        if not self._is_gpu:
            yield used
            return
        held = self._held.get(backend, 0)
        before = torch.cuda.memory_allocated(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        yield used
        used.bytes = held + torch.cuda.max_memory_allocated(self._device) - before
        kept = torch.cuda.memory_allocated(self._device) - before
        self._held[backend] = held + max(0, kept)

    def wait(self) -> None:
        """Until the device has done everything; raises what went wrong meanwhile."""
        import torch

        if self._is_gpu:
            torch.cuda.synchronize(self._device)

    def survives(self) -> bool:
        """Whether the device still answers; after an illegal access its context never does."""
        try:
            self.wait()
        except RuntimeError:
            return False
        return True

    def poison(self) -> None:
        """Leave rubbish where a candidate's next workspaces will lie: what it takes for zero, an
        engine's allocator would not give it.
        """
        import torch

        if self._is_gpu:  # the C library hands large blocks out zeroed by the kernel
            blocks = [
                torch.full((size,), _POISON, dtype=torch.uint8, device=self._device)
                for size in _POISONED_BYTES
            ]
            del blocks

    def make_room(self, needed_bytes: int) -> int:
        """Free bytes, after what nobody uses was given back where they would not suffice."""
        free_bytes = self._free_bytes()
        if needed_bytes > free_bytes:
            self.give_back()
            free_bytes = self._free_bytes()
        return free_bytes

    def give_back(self) -> None:
        """What torch keeps for later, and nobody uses: of it the driver cannot load a kernel, nor a
        library that knows no torch take its workspace.
        """
        import torch

        if self._is_gpu:
            gc.collect()
            torch.cuda.empty_cache()

    def _free_bytes(self) -> int:
        """What the driver has, and what torch keeps for itself but does not use."""
        import torch

        free_bytes, _ = torch.cuda.mem_get_info(self._device)
        reserved = torch.cuda.memory_reserved(self._device)
        return free_bytes + reserved - torch.cuda.memory_allocated(self._device)
