"""Matrix products before a block, on a real GPU."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.gpu

LASTS = """
import sys
import torch
from kernels_bench.heat import Heat

tokens = int(sys.argv[1])
heat = Heat(last_level_cache_bytes=50 << 20)
heat.enqueue(tokens, 1.0)  # makes the graph
start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
start.record()
heat.enqueue(tokens, 20_000.0)
end.record()
torch.cuda.synchronize()
print(start.elapsed_time(end))
"""


@pytest.mark.parametrize("tokens", [1, 256, 100_000])
def test_products_keep_the_device_busy_for_as_long_as_is_asked(tokens: int) -> None:
    # In a process of its own: another test holds that this one has no context.
    done = subprocess.run(
        [sys.executable, "-c", LASTS, str(tokens)], stdout=subprocess.PIPE, text=True, check=True
    )
    # A clock that has risen since the graph was timed shortens it.
    assert 10.0 < float(done.stdout) < 40.0
