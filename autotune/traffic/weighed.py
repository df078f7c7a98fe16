"""What a file says about somebody's traffic, and requests made into that."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autotune.traffic.laying import average, lay_on_own, weigh_shapes
from autotune.traffic.lengths import Lengths
from autotune.traffic.scheduler import simulate

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
    """Replay at each load (requests in flight, no more than there are); loads weigh the same."""
    shuffled = list(requests)
    random.Random(SEED).shuffle(shuffled)
    capped = tuple(dict.fromkeys(min(load, len(shuffled)) for load in loads))
    shapes = average(weigh_shapes(simulate(shuffled, load)) for load in capped)
    weights = {text: 100 * share for text, share in lay_on_own(shapes).items()}
    return Weighed(weights, (_MODEL, f"{' and '.join(map(str, capped))} requests in flight"))
