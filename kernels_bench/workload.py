"""A workload is one batch, written in the grammar of vLLM's attention benchmark.

`8q1s1k` is 8 requests of 1 new token and 1024 tokens in total; `q2k` is one request of 2048 new
tokens and nothing cached; `_` joins segments; `v80` draws a segment's lengths with a coefficient
of variation of 80 %. vLLM: benchmarks/attention_benchmarks/batch_spec.py; `v` is our addition,
because real batches are uneven (CV 0.4 to 1.1) and equal lengths rank schedulers wrongly.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import NormalDist

from kernels_bench.errors import WorkloadError
from kernels_bench.spec import Phase

VERIFY_MAX_NEW_TOKENS = 16
LONGEST_OVER_MEAN = 4
"""A drawn length is at most this many means: traces show 1.6 to 4.7, and the text alone must
bound the longest request, so that a workload fits a model by its text."""

_SEGMENT = re.compile(
    r"(?P<count>\d{1,9})?q(?P<new>\d{1,9})(?P<new_k>k)?"
    r"(?:s(?P<total>\d{1,9})(?P<total_k>k)?)?(?:v(?P<spread>\d{1,3}))?",
    re.ASCII,
)
_GRAMMAR = "expected segments like 8q1s1k, q2k or 32q1s1228v80, joined by _"


@dataclass(frozen=True)
class Request:
    """One sequence of a batch, in tokens."""

    new_tokens: int
    total_tokens: int
    """Cached and new."""


def first_tokens(requests: Sequence[Request]) -> list[int]:
    """Where each request's new tokens begin in a batch, and where the last one's end."""
    return [0, *accumulate(request.new_tokens for request in requests)]


@dataclass(frozen=True)
class Segment:
    """Requests that are alike."""

    count: int
    new_tokens: int
    total_tokens: int
    """Cached and new; the mean, where lengths are drawn."""
    variation_pct: int = 0
    """Coefficient of variation of the drawn lengths."""

    def __post_init__(self) -> None:
        if self.count < 1 or self.new_tokens < 1 or self.total_tokens < self.new_tokens:
            raise WorkloadError(
                f"{self.count} requests, {self.new_tokens} new and"
                f" {self.total_tokens} total tokens: needs at least 1 request, 1 new token, and no"
                " more new tokens than total"
            )

    @property
    def phase(self) -> Phase:
        """Prefill, extend, decode or verify, by the lengths alone."""
        if self.new_tokens == 1:
            return Phase.DECODE
        if self.new_tokens == self.total_tokens:
            return Phase.PREFILL
        return Phase.VERIFY if self.new_tokens <= VERIFY_MAX_NEW_TOKENS else Phase.EXTEND

    @property
    def longest_tokens(self) -> int:
        """No request of the segment is longer than this."""
        return self.total_tokens * (LONGEST_OVER_MEAN if self.variation_pct else 1)

    @property
    def text(self) -> str:
        """The canonical spelling."""
        count = "" if self.count == 1 else str(self.count)
        total = "" if self.total_tokens == self.new_tokens else f"s{_tokens(self.total_tokens)}"
        spread = f"v{self.variation_pct}" if self.variation_pct else ""
        return f"{count}q{_tokens(self.new_tokens)}{total}{spread}"

    def requests(self, seed: int) -> tuple[Request, ...]:
        """Prefills vary in new tokens; everything else in what is cached."""
        if not self.variation_pct or self.count == 1 or self.total_tokens == 1:
            return (Request(self.new_tokens, self.total_tokens),) * self.count
        cached_tokens = self.total_tokens - self.new_tokens
        lengths = _spread(cached_tokens or self.new_tokens, self.variation_pct / 100, self.count)
        random.Random(seed).shuffle(lengths)
        if not cached_tokens:
            return tuple(Request(length, length) for length in lengths)
        return tuple(Request(self.new_tokens, self.new_tokens + length) for length in lengths)


@dataclass(frozen=True)
class Workload:
    """One batch."""

    segments: tuple[Segment, ...]

    @property
    def phase(self) -> Phase:
        """The phase that all segments share, or mixed."""
        phases = {segment.phase for segment in self.segments}
        return phases.pop() if len(phases) == 1 else Phase.MIXED

    @property
    def text(self) -> str:
        """The canonical spelling; `parse_workload` reads it back."""
        return "_".join(segment.text for segment in self.segments)

    @property
    def num_requests(self) -> int:
        """Requests of all segments."""
        return sum(segment.count for segment in self.segments)

    @property
    def longest_tokens(self) -> int:
        """No request is longer than this."""
        return max(segment.longest_tokens for segment in self.segments)

    def requests(self, seed: int) -> tuple[Request, ...]:
        """Every request in order; the same for a seed on every machine."""
        return tuple(
            request
            for index, segment in enumerate(self.segments)
            for request in segment.requests(seed + index)
        )


def parse_workload(text: str) -> Workload:
    """Read a workload; raises WorkloadError that names the segment."""
    return Workload(tuple(_parse_segment(part, text) for part in text.strip().lower().split("_")))


def _parse_segment(part: str, text: str) -> Segment:
    match = _SEGMENT.fullmatch(part)
    if match is None:
        raise WorkloadError(f"workload {text!r}: cannot read {part!r}; {_GRAMMAR}")
    new_tokens = int(match["new"]) * (1024 if match["new_k"] else 1)
    total_tokens = (
        int(match["total"]) * (1024 if match["total_k"] else 1) if match["total"] else new_tokens
    )
    try:
        return Segment(
            int(match["count"] or 1), new_tokens, total_tokens, int(match["spread"] or 0)
        )
    except WorkloadError as error:
        raise WorkloadError(f"workload {text!r}: {part!r}: {error}") from error


def _tokens(number: int) -> str:
    return f"{number // 1024}k" if number % 1024 == 0 else str(number)


def _spread(mean: int, variation: float, count: int) -> list[int]:
    """Log-normal lengths whose mean is `mean`: the quantiles themselves, so that a batch of 8 is
    as uneven as one of 256, and no random generator's version decides what is measured.
    """
    sigma = math.sqrt(math.log1p(variation**2))
    normal = NormalDist()
    raw = [math.exp(sigma * normal.inv_cdf((i + 0.5) / count)) for i in range(count)]
    longest, capped = mean * LONGEST_OVER_MEAN, 0
    scale = mean * count / sum(raw)
    while raw[count - capped - 1] * scale > longest:  # the others take what the cap cuts off
        capped += 1
        scale = (mean * count - longest * capped) / sum(raw[: count - capped])
    return [min(max(1, round(value * scale)), longest) for value in raw]
