"""One device in the measuring process: its clock, its memory, its peaks, and who watches it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic

from kernels_bench.arena import page_sets
from kernels_bench.clock import Clock, TimerT
from kernels_bench.cuda_clock import CudaClock
from kernels_bench.errors import NoRoomError
from kernels_bench.floor import Peaks, best_of, measure_peaks
from kernels_bench.grid import kv_bytes, scratch_bytes
from kernels_bench.health import Neighbour, Watch
from kernels_bench.host_clock import HostClock
from kernels_bench.limits import bound_memory
from kernels_bench.memory import Memory
from kernels_bench.method import SEED
from kernels_bench.spec import AttentionSpec, Device, Failed
from kernels_bench.watches import watch_device

if TYPE_CHECKING:
    import torch

    from kernels_bench.messages import Task

_WORKSPACE_BYTES = 2 << 30
"""The reference's logits, a few times 256 MiB, and the workspaces of candidates."""


def set_up(device: Device, torch_device: str) -> Workbench[Any]:
    """Take the device into use; on a GPU this makes the process's only context."""
    watch = watch_device(torch_device, device.kind, os.environ)
    neighbours = watch.others()  # before the context: in a container it has a foreign pid
    import torch

    torch.set_grad_enabled(False)
    if device.kind == "cpu":  # torch counts the machine's cores, not this process's
        torch.set_num_threads(device.multiprocessors)
        bound_memory(device.memory_bytes)
        return Workbench(device, torch.device("cpu"), HostClock(), watch, neighbours)
    torch.cuda.set_device(torch_device)
    clock = CudaClock(device.last_level_cache_bytes)
    return Workbench(device, torch.device(torch_device), clock, watch, neighbours)


class Workbench(Generic[TimerT]):
    """What the requests about one device share."""

    def __init__(
        self,
        device: Device,
        torch_device: torch.device,
        clock: Clock[TimerT],
        watch: Watch,
        neighbours: tuple[Neighbour, ...],
    ) -> None:
        self.torch_device, self.clock = torch_device, clock
        self.watch, self.neighbours = watch, neighbours
        self.memory = Memory(torch_device)
        self.is_warm = False
        """Whether candidates have run for long enough to bring the clocks up."""
        self._device = device
        self._peaks: dict[str, Peaks] = {}

    def peaks(self, dtype: str) -> Peaks:
        """Measured once a dtype."""
        if dtype not in self._peaks:
            self._peaks[dtype] = self._measure_peaks(dtype)
        return self._peaks[dtype]

    def peaks_again(self, dtype: str) -> Peaks:
        """The best of all measurements so far and of another one."""
        self.memory.give_back()
        self._peaks[dtype] = best_of(self.peaks(dtype), self._measure_peaks(dtype))
        return self._peaks[dtype]

    def _measure_peaks(self, dtype: str) -> Peaks:
        import torch

        read_bytes = min(4 * self._device.last_level_cache_bytes, scratch_bytes(self._device))
        torch_dtype = getattr(torch, dtype)
        return measure_peaks(self.torch_device, torch_dtype, read_bytes, self.clock.best_us)

    def make_room(self, task: Task) -> None:
        """Free what earlier tasks left; raises NoRoomError where the workload does not fit."""
        if self.torch_device.type == "cpu":
            return
        needed_bytes = room_bytes(task)
        free_bytes = self.memory.make_room(needed_bytes)
        if needed_bytes > free_bytes:
            raise NoRoomError(
                f"needs about {needed_bytes >> 20} MiB of memory, {free_bytes >> 20} MiB are free"
                f" on {task.torch_device} ({self._device.name})"
            )

    def outlive(self, failed: Failed, blame: Callable[[], None]) -> None:
        """End this process where a failure left the device unusable: `blame` tells the parent whose
        it was, and it goes on in another. Who took all of the memory leaves it to the others.
        """
        if not self.memory.survives():
            blame()
            print(failed.message, file=sys.stderr, flush=True)  # noqa: T201 - its last words
            os._exit(1)
        if failed.kind == "memory":
            self.memory.give_back()


def room_bytes(task: Task) -> int:
    """Page sets, the values that they are filled from once flat and once paged, the outputs that
    are compared, and the fp32 keys and values of the longest request.
    """
    spec, requests = task.spec, task.workload.requests(SEED)
    paged = (page_sets(task) + 2) * kv_bytes(spec, task.workload)
    tokens = sum(request.new_tokens for request in requests)
    longest = max(request.total_tokens for request in requests)
    in_fp32 = _fp32_bytes(spec, 2 * longest) + _fp32_bytes(spec, 3 * tokens)
    return paged + in_fp32 + _WORKSPACE_BYTES


def _fp32_bytes(spec: AttentionSpec, tokens: int) -> int:
    return 4 * tokens * spec.num_q_heads * (spec.head_dim + spec.value_dim)
