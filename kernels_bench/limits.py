"""What a candidate may do to the machine that measures it."""

from __future__ import annotations

import math
import resource
import sys
from contextlib import suppress
from pathlib import Path

_LEFT_TO_OTHERS = 0.25
"""Of the memory that is available when the process starts."""


def bound_memory(allowed_bytes: int) -> None:
    """A candidate that allocates without end is refused, instead of the machine being driven into
    the out-of-memory killer; should that come all the same, this process goes first.

    `allowed_bytes` is what this process may use at all. For a CPU alone: a GPU's driver reserves
    addresses by the terabyte. Linux counts all private writable memory against this limit
    (setrlimit(2), RLIMIT_DATA, since 4.7).
    """
    if sys.platform != "linux":
        return
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = int(min(allowed_bytes, _available_bytes()) * (1 - _LEFT_TO_OTHERS))
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def _available_bytes() -> float:
    """Infinity where the kernel does not say."""
    with suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    return math.inf
