"""One device in the measuring process: its clock, its peaks, its memory."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any, Generic

from kernels_bench.arena import page_sets
from kernels_bench.cuda_clock import CudaClock
from kernels_bench.errors import NoRoomError
from kernels_bench.floor import Peaks, measure_peaks
from kernels_bench.grid import kv_bytes, scratch_bytes
from kernels_bench.host_clock import HostClock
from kernels_bench.method import SEED
from kernels_bench.race import Clock, TimerT
from kernels_bench.spec import AttentionSpec, Device

if TYPE_CHECKING:
    import torch

    from kernels_bench.messages import Task

_WORKSPACE_BYTES = 2 << 30
"""The reference's logits, a few times 256 MiB, and the workspaces of candidates."""


def set_up(device: Device, torch_device: str) -> Workbench[Any]:
    """Take the device into use; on a GPU this makes the process's only context."""
    import torch

    torch.set_grad_enabled(False)
    if device.kind == "cpu":  # torch counts the machine's cores, not this process's
        torch.set_num_threads(device.multiprocessors)
        return Workbench(device, torch.device("cpu"), HostClock())
    torch.cuda.set_device(torch_device)
    clock = CudaClock(device.last_level_cache_bytes)
    return Workbench(device, torch.device(torch_device), clock)


class Workbench(Generic[TimerT]):
    """What the tasks on one device share."""

    def __init__(self, device: Device, torch_device: torch.device, clock: Clock[TimerT]) -> None:
        self.torch_device, self.clock = torch_device, clock
        self._device = device
        self._peaks: dict[str, Peaks] = {}

    def peaks(self, dtype: str) -> Peaks:
        """Measured once a dtype."""
        import torch

        if dtype not in self._peaks:
            read_bytes = min(4 * self._device.last_level_cache_bytes, scratch_bytes(self._device))
            self._peaks[dtype] = measure_peaks(
                self.torch_device, getattr(torch, dtype), read_bytes, self.clock.best_us
            )
        return self._peaks[dtype]

    def make_room(self, task: Task) -> None:
        """Free what earlier tasks left; raises NoRoomError where the workload does not fit."""
        import torch

        if self.torch_device.type == "cpu":
            return
        gc.collect()
        torch.cuda.empty_cache()
        free_bytes, _ = torch.cuda.mem_get_info(self.torch_device)
        needed_bytes = room_bytes(task)
        if needed_bytes > free_bytes:
            raise NoRoomError(
                f"needs about {needed_bytes >> 20} MiB of memory, {free_bytes >> 20} MiB are free"
                f" on {task.torch_device} ({self._device.name})"
            )

    def survives(self) -> bool:
        """Whether the device still answers; after an illegal access its context never does."""
        import torch

        if self.torch_device.type == "cpu":
            return True
        try:
            torch.cuda.synchronize(self.torch_device)
        except RuntimeError:
            return False
        return True


def room_bytes(task: Task) -> int:
    """Page sets, the values that they are filled from, the outputs that are compared, and the
    fp32 keys and values of the longest request.
    """
    spec, requests = task.spec, task.workload.requests(SEED)
    paged = (page_sets(task) + 1) * kv_bytes(spec, task.workload)
    tokens = sum(request.new_tokens for request in requests)
    longest = max(request.total_tokens for request in requests)
    in_fp32 = _fp32_bytes(spec, 2 * longest) + _fp32_bytes(spec, 3 * tokens)
    return paged + in_fp32 + _WORKSPACE_BYTES


def _fp32_bytes(spec: AttentionSpec, tokens: int) -> int:
    return 4 * tokens * spec.num_q_heads * (spec.head_dim + spec.value_dim)
