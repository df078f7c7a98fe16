"""The weights of the built-in profiles, from the published statistics of public traces.

    python benchmarks/profile_weights.py > benchmarks/results/profile-weights.md

`autotune/profiles.py` holds the numbers; a test holds it to them.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from autotune.profiles import find_profile
from autotune.traffic.laying import average, lay_on_standard, weigh_shapes
from autotune.traffic.lengths import Lengths
from autotune.traffic.roofline import H100_PEAKS
from autotune.traffic.scheduler import MAX_NUM_BATCHED_TOKENS, simulate
from kernels_bench.grid import GPU_FULL
from kernels_bench.spec import Phase
from kernels_bench.workload import parse_workload

SEED = 20_261_123
REQUESTS = 2000


@dataclass(frozen=True)
class Percentiles:
    """Tokens at the 50th, 90th and 99th percentile."""

    p50: float
    p90: float
    p99: float

    def at(self, share: float) -> float:
        """The quantile: straight lines on a log scale, from a 16th of p50 to twice p99."""
        known = ((0.0, self.p50 / 16), (0.5, self.p50), (0.9, self.p90), (0.99, self.p99),
                 (1.0, 2 * self.p99))  # fmt: skip
        for (low, below), (high, above) in pairwise(known):
            if share <= high:
                part = (share - low) / (high - low)
                return math.exp((1 - part) * math.log(below) + part * math.log(above))
        raise ValueError(f"share {share}: at most 1")


@dataclass(frozen=True)
class Trace:
    """What is published of one."""

    name: str
    prompt: Percentiles
    output: Percentiles
    cached: float = 0.0
    """Share of prompt tokens that an infinite prefix cache would hold."""

    def requests(self) -> tuple[Lengths, ...]:
        """Prompts and answers drawn apart: what ties them together is not published."""
        shares = [(i + 0.5) / REQUESTS for i in range(REQUESTS)]
        answers = [*shares]
        chance = random.Random(SEED)
        chance.shuffle(shares)
        chance.shuffle(answers)
        return tuple(
            Lengths(prompt, max(1, round(self.output.at(b))), int(self.cached * prompt))
            for a, b in zip(shares, answers, strict=True)
            if (prompt := max(1, round(self.prompt.at(a))))
        )


CONVERSATION = Trace(
    "Azure 2023 conversation (Splitwise), 19,366 requests",
    Percentiles(1020, 2734, 4142),
    Percentiles(129, 424, 601),
)
CODE = Trace(
    "Azure 2023 code (Splitwise), 8,819 requests",
    Percentiles(1469, 5188, 7436),
    Percentiles(13, 55, 251),
)
MOONCAKE = Trace(
    "Mooncake FAST'25 conversation, 12,031 requests",
    Percentiles(6909, 27367, 85400),
    Percentiles(350, 597, 1119),
    cached=0.37,
)
SYNTHETIC = Trace(
    "Mooncake FAST'25 synthetic, 3,993 requests",
    Percentiles(11587, 38611, 66456),
    Percentiles(69, 389, 768),
    cached=0.65,
)
GENERATION = Trace(
    "none: 64 tokens in, 512 out, as in generation of data",
    Percentiles(64, 128, 256),
    Percentiles(512, 768, 1024),
)


@dataclass(frozen=True)
class Derived:
    """A profile: traces, and how many requests are in flight at its loads."""

    name: str
    traces: tuple[Trace, ...]
    loads: tuple[int, ...]

    def weights(self) -> Mapping[str, int]:
        """Whole percents of attention time, the traces counting alike; in the grid's order."""
        shapes = average(
            weigh_shapes(simulate(trace.requests(), load))
            for trace in self.traces
            for load in self.loads
        )
        laid = lay_on_standard(shapes)
        percents = {text: round(100 * laid.get(text, 0.0)) for text in GPU_FULL}
        return {text: percent for text, percent in percents.items() if percent}


# The decode batches at a low and at a saturating load that a replay of the same traces through a
# scheduler with an H100's roofline shows: 32 and 279, 2 and 95, 4 and 25.
DERIVED = (
    Derived("chat", (CONVERSATION,), (32, 256)),
    Derived("code", (CODE,), (4, 96)),
    Derived("long-context", (MOONCAKE, SYNTHETIC), (4, 25)),
    Derived("decode-heavy", (GENERATION,), (64, 128, 256)),
)


_HEAD = f"""\
Shares of attention time in percent, by `benchmarks/profile_weights.py`. Lengths are drawn from the published percentiles
(straight lines between them on a log scale, from a 16th of p50 to twice p99; prompts and answers apart) and served by the
scheduler model of `autotune/traffic/`: a closed loop, {MAX_NUM_BATCHED_TOKENS} tokens a step, so many requests in flight, all loads
and traces of a profile counting alike. Each step weighs what its attention takes at least in a Llama-3.1-8B layer at
{H100_PEAKS.bytes_per_s / 1e12:.2f} TB/s and {H100_PEAKS.flops_per_s / 1e12:.0f} TF/s, and is laid on the nearest standard workload of its phase. Decodes that take less
than a tenth of what the prompts beside them take are left out of its shape; so are such prompts, where no standard workload
is within a factor of 2.5 of the whole. A prior, and no measurement of anybody's traffic. `balanced` is older: six scenarios of the same traces, at least 1 each.
"""  # noqa: E501


def main() -> None:
    print("# Weights of the built-in profiles\n")
    print(_HEAD)
    print("\n".join(_traces()))
    print()
    print("\n".join(_table()))
    print()
    print("\n".join(_phases()))


def _traces() -> Iterator[str]:
    yield "| profile | trace | prompt p50/p90/p99 | answer p50/p90/p99 | cached | in flight |"
    yield "|---|---|---|---|---|---|"
    for each in DERIVED:
        for trace in each.traces:
            sizes = [f"{x.p50:g}/{x.p90:g}/{x.p99:g}" for x in (trace.prompt, trace.output)]
            loads = ", ".join(map(str, each.loads))
            cells = [each.name, trace.name, *sizes, f"{trace.cached:.0%}", loads]
            yield f"| {' | '.join(cells)} |"


def _names() -> Sequence[str]:
    return ("balanced", *(each.name for each in DERIVED))


def _table() -> Iterator[str]:
    columns = [find_profile("balanced").weights, *(each.weights() for each in DERIVED)]
    yield f"| workload | {' | '.join(_names())} |"
    yield "|---" * (len(columns) + 1) + "|"
    for text in GPU_FULL:
        cells = [f"{column[text]:g}" if text in column else "" for column in columns]
        yield f"| `{text}` | {' | '.join(cells)} |"


def _phases() -> Iterator[str]:
    columns = [find_profile("balanced").weights, *(each.weights() for each in DERIVED)]
    yield f"| phase | {' | '.join(_names())} |"
    yield "|---" * (len(columns) + 1) + "|"
    for phase in Phase:
        sums = []
        for column in columns:
            own = sum(w for text, w in column.items() if parse_workload(text).phase is phase)
            sums.append(f"{own / sum(column.values()):.0%}")
        yield f"| {phase.value} | {' | '.join(sums)} |"


if __name__ == "__main__":
    main()
