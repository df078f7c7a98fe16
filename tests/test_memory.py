"""What candidates take of a device's memory, counted by an allocator that only counts."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch

from kernels_bench.memory import Memory

MIB = 1 << 20


@dataclass
class FakeCuda:
    """torch.cuda, as far as memory goes."""

    total_bytes: int = 100 * MIB
    used_bytes: int = 10 * MIB
    """By torch's tensors."""
    cached_bytes: int = 0
    """By torch for later; given back by `empty_cache`."""
    others_bytes: int = 0
    peak_bytes: int = 0
    error: str = ""
    calls: list[str] = field(default_factory=list)

    def take(self, size_bytes: int) -> None:
        self.used_bytes += size_bytes
        self.peak_bytes = max(self.peak_bytes, self.used_bytes)

    def memory_allocated(self, _: object) -> int:
        return self.used_bytes

    def max_memory_allocated(self, _: object) -> int:
        return self.peak_bytes

    def memory_reserved(self, _: object) -> int:
        return self.used_bytes + self.cached_bytes

    def reset_peak_memory_stats(self, _: object) -> None:
        self.peak_bytes = self.used_bytes

    def mem_get_info(self, _: object) -> tuple[int, int]:
        taken = self.used_bytes + self.cached_bytes + self.others_bytes
        return self.total_bytes - taken, self.total_bytes

    def empty_cache(self) -> None:
        self.calls.append("empty_cache")
        self.cached_bytes = 0

    def synchronize(self, _: object) -> None:
        if self.error:
            raise RuntimeError(self.error)


NAMES = (
    "memory_allocated", "max_memory_allocated", "memory_reserved", "reset_peak_memory_stats",
    "mem_get_info", "empty_cache", "synchronize",
)  # fmt: skip


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    fake = FakeCuda()
    for name in NAMES:
        monkeypatch.setattr(torch.cuda, name, getattr(fake, name))
    return fake


@pytest.fixture
def memory() -> Memory:
    return Memory(torch.device("cuda:0"))


def test_the_most_that_was_taken_counts(cuda: FakeCuda, memory: Memory) -> None:
    with memory.of("swift") as used:
        cuda.take(30 * MIB)
        cuda.take(-30 * MIB)
        cuda.take(20 * MIB)
        cuda.take(-20 * MIB)
    assert used.bytes == 30 * MIB
    assert memory.held_bytes("swift") == 0


def test_a_workspace_that_is_kept_counts_for_all_launches_of_its_backend(
    cuda: FakeCuda, memory: Memory
) -> None:
    with memory.of("swift") as first:
        cuda.take(16 * MIB)
    with memory.of("swift") as second:
        cuda.take(4 * MIB)
        cuda.take(-4 * MIB)
    with memory.of("other") as other:
        cuda.take(1 * MIB)
        cuda.take(-1 * MIB)
    assert (first.bytes, second.bytes, other.bytes) == (16 * MIB, 20 * MIB, 1 * MIB)
    assert (memory.held_bytes("swift"), memory.held_bytes("other")) == (16 * MIB, 0)


def test_what_is_given_back_is_no_gift(cuda: FakeCuda, memory: Memory) -> None:
    with memory.of("swift") as used:
        cuda.take(-5 * MIB)
    assert used.bytes == 0
    assert memory.held_bytes("swift") == 0


def test_on_a_cpu_nobody_counts() -> None:
    memory = Memory(torch.device("cpu"))
    with memory.of("swift") as used:
        pass
    assert used.bytes is None
    assert memory.held_bytes("swift") is None
    assert memory.survives()
    memory.poison()  # takes nothing
    memory.give_back()


def test_a_device_whose_context_is_lost_does_not_survive(cuda: FakeCuda, memory: Memory) -> None:
    assert memory.survives()
    cuda.error = "CUDA error: an illegal memory access was encountered"
    assert not memory.survives()
    with pytest.raises(RuntimeError, match="illegal memory access"):
        memory.wait()


def test_what_torch_keeps_for_later_is_free(cuda: FakeCuda, memory: Memory) -> None:
    cuda.cached_bytes, cuda.others_bytes = 50 * MIB, 30 * MIB
    assert memory.make_room(40 * MIB) == 60 * MIB
    assert cuda.calls == []


def test_it_is_given_back_where_too_little_is_free(cuda: FakeCuda, memory: Memory) -> None:
    cuda.cached_bytes, cuda.others_bytes = 50 * MIB, 30 * MIB
    assert memory.make_room(80 * MIB) == 60 * MIB
    assert cuda.calls == ["empty_cache"]
