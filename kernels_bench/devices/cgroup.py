"""The share of a host that a container leaves to its processes (cgroup v1 and v2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernels_bench.devices.files import text_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def cpu_limit(root: Path) -> float | None:
    """CPUs' worth of time that this process may take; None: no limit."""
    quotas = [quota for group in _groups(root) if (quota := _cpu_quota(group)) is not None]
    return min(quotas, default=None)


def memory_limit_bytes(root: Path) -> int | None:
    """What this process may fill; None: no limit."""
    limits = [limit for group in _groups(root) if (limit := _memory_limit(group)) is not None]
    return min(limits, default=None)


def _groups(root: Path) -> Iterator[Path]:
    """Every folder whose limits hold: the process's own group and those above it.

    In a container /proc/self/cgroup may name a path that only the host has; the files are then at
    the top of the mount. So missing folders are passed over, and the top is always looked at.
    """
    mount = root / "sys/fs/cgroup"
    for line in text_of(root / "proc/self/cgroup").splitlines():
        controllers, _, path = line.partition(":")[2].partition(":")
        parts = [part for part in path.split("/") if part]
        for controller in controllers.split(","):  # empty in version 2
            for depth in range(len(parts), -1, -1):
                yield mount.joinpath(controller, *parts[:depth])


def _cpu_quota(group: Path) -> float | None:
    fields = text_of(group / "cpu.max").split() or [
        *text_of(group / "cpu.cfs_quota_us").split(),
        *text_of(group / "cpu.cfs_period_us").split(),
    ]
    match fields:
        case [quota_us, period_us] if quota_us.isdigit() and int(quota_us) and period_us.isdigit():
            return int(quota_us) / int(period_us)
        case _:  # "max", -1, or no file
            return None


def _memory_limit(group: Path) -> int | None:
    """Version 1 writes a number near 2**63 for "no limit", above the memory of any host."""
    limit = text_of(group / "memory.max") or text_of(group / "memory.limit_in_bytes")
    return int(limit) if limit.strip().isdigit() else None
