"""What disks, copies and hands do to a file of pages."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

PAGE_BYTES = 4096


def damaged(content: bytes, chance: Random) -> bytes:
    """One kind of damage, at a place that chance gives."""
    data = bytearray(content)
    kind: Callable[[bytearray, Random], None] = chance.choice(
        [flip_a_bit, flip_bits, cut, fill_with_zeros, fill_with_noise, swap_pages]
    )
    kind(data, chance)
    return bytes(data)


def flip_a_bit(data: bytearray, chance: Random) -> None:
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def flip_bits(data: bytearray, chance: Random) -> None:
    for _ in range(chance.randrange(2, 60)):
        flip_a_bit(data, chance)


def cut(data: bytearray, chance: Random) -> None:
    del data[chance.randrange(len(data)) :]


def fill_with_zeros(data: bytearray, chance: Random) -> None:
    first, end = _stretch(data, chance)
    data[first:end] = bytes(end - first)


def fill_with_noise(data: bytearray, chance: Random) -> None:
    first, end = _stretch(data, chance)
    data[first:end] = chance.randbytes(end - first)


def swap_pages(data: bytearray, chance: Random) -> None:
    one, other = (chance.randrange(len(data) // PAGE_BYTES) * PAGE_BYTES for _ in range(2))
    first, second = data[one : one + PAGE_BYTES], data[other : other + PAGE_BYTES]
    data[one : one + PAGE_BYTES], data[other : other + PAGE_BYTES] = second, first


def _stretch(data: bytearray, chance: Random) -> tuple[int, int]:
    first = chance.randrange(len(data))
    return first, min(len(data), first + chance.randrange(1, 5000))
