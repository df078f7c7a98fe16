"""How many query rows and keys a program takes at once, and whether that fits the hardware."""

from __future__ import annotations

import math
from dataclasses import dataclass

from kernels_bench.spec import AttentionSpec

_LEAST_DIM = 16
"""A matrix unit contracts over at least so many numbers: narrower heads are padded."""
_NARROW_DIM = 128
_MOST_STAGES = 3
"""More buffers than that only cost occupancy where every page is looked up first."""


@dataclass(frozen=True)
class Tile:
    """What one program holds. Its rows are tokens times query heads that share a KV head."""

    rows: int
    keys: int
    """Keys a step of the loop."""
    warps: int

    @property
    def name(self) -> str:
        """As variants are called: "tile64x32w4"."""
        return f"tile{self.rows}x{self.keys}w{self.warps}"

    def heads(self, group_size: int) -> int:
        """Query heads of one KV head that a program takes; a group wider than the tile is cut."""
        return min(group_size, self.rows)

    def tokens(self, group_size: int) -> int:
        """Tokens that a program takes; rows that no whole token fills stay idle."""
        return self.rows // self.heads(group_size)

    def head_tiles(self, group_size: int) -> int:
        """Programs that a group takes."""
        return math.ceil(group_size / self.heads(group_size))


def padded_dim(head_dim: int) -> int:
    """Triton's tensors have sides of a power of two; the rest is masked."""
    return max(_LEAST_DIM, 1 << (head_dim - 1).bit_length())


def keys_at(spec: AttentionSpec) -> int:
    """Keys a step: wide heads fill the LDS of an AMD GPU, 64 KiB, with fewer."""
    return 64 if padded_dim(max(spec.head_dim, spec.value_dim)) <= _NARROW_DIM else 32


def shared_kib(arch: str) -> int | None:
    """What one block may take: CUDA C++ Programming Guide, table of compute capabilities; LDS in
    AMD's ISA guides. None for a part that is not known.
    """
    if arch.startswith("gfx"):
        return 160 if arch == "gfx950" else 64
    match arch:
        case "sm_80" | "sm_87":
            return 163
        case "sm_86" | "sm_89" | "sm_120" | "sm_121":
            return 99
        case "sm_90" | "sm_100" | "sm_103" | "sm_110":
            return 227
        case _:
            return None


def least_shared_kib(tile: Tile, spec: AttentionSpec, arch: str) -> int:
    """What a program takes with one buffer, as the compiler lays it out (Triton 3.6 and 3.7,
    `tests/test_triton_compiles.py`): on NVIDIA's parts queries, a step's keys or values, and the
    weights; on AMD's the larger of queries and keys.
    """
    dim = padded_dim(max(spec.head_dim, spec.value_dim))
    if arch.startswith("gfx"):
        numbers = max(tile.rows, tile.keys) * dim
    else:
        numbers = (tile.rows + tile.keys) * dim + tile.rows * tile.keys
    return math.ceil(numbers * spec.kv_element_bytes / 1024)


def num_stages(tile: Tile, spec: AttentionSpec, shared_bytes: int) -> int:
    """Buffers for keys and values that fit beside queries and weights, at least 1.

    The compiler's own count differs between architectures; `tests/test_triton_compiles.py` holds
    its demand against what there is.
    """
    dim, value_dim = padded_dim(spec.head_dim), padded_dim(spec.value_dim)
    keys_and_values = tile.keys * (dim + value_dim) * spec.kv_element_bytes
    queries_and_weights = tile.rows * (dim + tile.keys) * spec.kv_element_bytes
    return max(1, min(_MOST_STAGES, (shared_bytes - queries_and_weights) // keys_and_values))
