"""Devices that may borrow each other's answers where there is none of their own. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from kernels_bench.spec import Device

Aliases = Sequence[tuple[str, str]]
"""Pairs of names."""

DECLARED: Aliases = (
    # vllm#28709: the tables of the one are those of the other; the same chip with more memory.
    ("AMD Instinct MI300X", "AMD Instinct MI325X"),
    # vllm 0.24.0, platforms/rocm.py, `_ROCM_DEVICE_ID_NAME_MAP`: a whole GPU that is passed through
    # to a virtual host is that GPU.
    ("AMD Instinct MI300X", "AMD Instinct MI300X VF"),
    ("AMD Instinct MI325X", "AMD Instinct MI325X VF"),
)

_MEMORY = re.compile(r"[\s-]*\b\d+\s?GB\b|[\s-]*\bHBM\d?e?\b", re.IGNORECASE)


def kinship(asked: Device, measured: Device, aliases: Aliases = ()) -> tuple[str, ...]:
    """What sets two kin apart, a line each; empty where they are no kin.

    Kin are the devices of a declared alias, and those of one part with another memory size or
    partition. Multiprocessors differ with the partition alone: a part that was cut down is another.
    """
    if asked.kind != measured.kind or not _are_kin(asked, measured, (*DECLARED, *aliases)):
        return ()
    pairs = (
        ("name", asked.name, measured.name),
        ("memory", f"{asked.memory_bytes >> 30} GiB", f"{measured.memory_bytes >> 30} GiB"),
        ("partition", asked.partition or "none", measured.partition or "none"),
        ("multiprocessors", str(asked.multiprocessors), str(measured.multiprocessors)),
        ("arch", asked.arch, measured.arch),
    )
    return tuple(
        f"{field} {theirs} where it was measured, {ours} here"
        for field, ours, theirs in pairs
        if ours != theirs
    )


def _are_kin(one: Device, other: Device, aliases: Aliases) -> bool:
    names = {_plain(one.name), _plain(other.name)}
    if any(names == {_plain(first), _plain(second)} for first, second in aliases):
        return True
    same_size = one.multiprocessors == other.multiprocessors or one.partition != other.partition
    return len(names) == 1 and one.arch == other.arch and same_size


def _plain(name: str) -> str:
    """Without its memory, which is a field of its own."""
    return _MEMORY.sub("", name).strip().lower()
