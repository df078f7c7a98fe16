"""What a file says about somebody's traffic, and requests made into that."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autotune.traffic.laying import average, lay_on_own, weigh_shapes
from autotune.traffic.lengths import Lengths
from autotune.traffic.scheduler import simulate

KV_TOKENS = 430_000
"""What an H100's 80 GB hold of Llama 3.1 8B's cache at 90 % use: (72 GB - 16 GB) / 128 KiB."""
SEED = 20_261_122
_MODEL = (
    "weights are shares of attention time in a model of vLLM's scheduler (Llama 3.1 8B, an H100's"
    " peaks), no measurement"
)


@dataclass(frozen=True)
class Weighed:
    """Canonical workload text -> weight, and what the reader of the file should know."""

    weights: Mapping[str, float]
    notes: tuple[str, ...] = ()


def weigh_requests(requests: Sequence[Lengths], loads: Sequence[int]) -> Weighed:
    """Replay at each load (requests in flight, no more than there are or than a KV cache holds);
    loads weigh the same.
    """
    shuffled = list(requests)
    random.Random(SEED).shuffle(shuffled)
    mean = sum(each.prompt_tokens + each.output_tokens / 2 for each in shuffled) / len(shuffled)
    most = max(1, min(len(shuffled), int(KV_TOKENS / mean)))
    capped = tuple(dict.fromkeys(min(load, most) for load in loads))
    shapes = average(weigh_shapes(simulate(shuffled, load)) for load in capped)
    weights = {text: 100 * share for text, share in lay_on_own(shapes).items()}
    return Weighed(weights, (_MODEL, f"{' and '.join(map(str, capped))} requests in flight"))
