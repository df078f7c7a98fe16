"""A process that writes decisions into a cache, one after the other, until it is killed.

python tests/writer.py FILE MODEL WINNER DEFAULT DEVICE
"""

from __future__ import annotations

import sys
from itertools import count, product
from pathlib import Path

from planting import Planted, plant

from autotune.keys import Question
from autotune.models import ModelRequest, load_model
from kernels_bench.devices import find_device

RANKS, PROFILES = (1, 2), ("chat", "code", "balanced")


def main() -> None:
    file, model, winner, default, device = sys.argv[1:]
    found, planted = find_device(device), Planted(winner, default)
    models = [load_model(ModelRequest(model, tensor_parallel=ranks)) for ranks in RANKS]
    for round_ in count(1):
        for shared, profile in product(models, PROFILES):
            plant(Path(file), Question(shared, "vllm", profile), found, planted)
        print(round_ * len(models) * len(PROFILES), flush=True)  # noqa: T201 - for who looks on


if __name__ == "__main__":
    main()
