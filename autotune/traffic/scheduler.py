"""A small model of vLLM V1's continuous batching, not a measurement.

A closed loop: so many requests are in flight, and whoever is done makes room for the next. In each
step every running request decodes one token, and what is left of the step's budget goes to prompts
in the order they came, in chunks; a prompt's last chunk gives its first output token. Left out:
preemption, the size of the KV cache, speculation, and the time between two steps.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import cycle, islice

from autotune.traffic.batch import Batch, Chunk
from autotune.traffic.lengths import Lengths

# vLLM 0.33's defaults for an API server on a GPU of 70 GB or more: engine/arg_utils.py.
MAX_NUM_BATCHED_TOKENS = 8192
MAX_NUM_SEQS = 1024
MOST_BATCHES = 50_000
"""A long log ends early, after seconds; its requests are in random order."""
_LEAST_ROUNDS = 8
"""All begin at once; a loop of fewer turns would show little else than that."""
_GROWTH = 8
"""Decodes alone count as alike until they have grown by one part in so many."""


def simulate(requests: Sequence[Lengths], in_flight: int) -> Iterator[Batch]:
    """What the engine runs, in order, while all of that many places are taken.

    Few requests are asked again, in the same order.
    """
    places = max(1, min(in_flight, MAX_NUM_SEQS, len(requests)))
    asked = max(len(requests), _LEAST_ROUNDS * places)
    return islice(_Engine(islice(cycle(requests), asked), places).run(), MOST_BATCHES)


class _Engine:
    """A decode's length grows by one a step, so its length less the step's number stays: sums of
    that, and a heap of who ends when, stand for all that run.
    """

    def __init__(self, requests: Iterator[Lengths], places: int) -> None:
        self._unasked = requests
        self._waiting: deque[tuple[Lengths, int]] = deque()
        """Each with the tokens of its prompt that are cached."""
        self._ending: list[tuple[int, int]] = []
        """(the step before which it is over, length less step) of each decode."""
        self._offsets = 0
        self._step = 0
        self._admit(places)

    def run(self) -> Iterator[Batch]:
        """Until a place stays empty."""
        is_full = True
        while is_full:
            chunks, freed, started = self._chunks()
            decodes, steps = len(self._ending), self._steps(bool(chunks))
            tokens = self._mean_tokens() + (steps - 1) / 2 if decodes else 0.0
            yield Batch(decodes, tokens, chunks, steps)
            self._step += steps
            freed += self._end()
            for request in started:
                self._begin(request)
            is_full = self._admit(freed)

    def _admit(self, count: int) -> bool:
        """Whether there were so many."""
        new = list(islice(self._unasked, count))
        self._waiting.extend((request, request.cached_tokens) for request in new)
        return len(new) == count

    def _chunks(self) -> tuple[tuple[Chunk, ...], int, list[Lengths]]:
        """Of the prompts; how many requests end with theirs, and those that go on to decode."""
        left = MAX_NUM_BATCHED_TOKENS - len(self._ending)
        chunks: list[Chunk] = []
        ended, started = 0, []
        while self._waiting and left > 0:
            request, cached = self._waiting.popleft()
            new = min(left, request.prompt_tokens - cached)
            chunks.append(Chunk(new, cached))
            left -= new
            if cached + new < request.prompt_tokens:
                self._waiting.appendleft((request, cached + new))
            elif request.output_tokens > 1:
                started.append(request)
            else:
                ended += 1
        return tuple(chunks), ended, started

    def _steps(self, has_prompts: bool) -> int:
        if has_prompts:
            return 1
        return max(1, min(self._ending[0][0] - self._step, int(self._mean_tokens()) // _GROWTH))

    def _mean_tokens(self) -> float:
        return self._step + self._offsets / len(self._ending)

    def _begin(self, request: Lengths) -> None:
        """Decode from the coming step on."""
        offset = request.prompt_tokens + 1 - self._step
        self._offsets += offset
        heapq.heappush(self._ending, (self._step + request.output_tokens - 1, offset))

    def _end(self) -> int:
        """How many are over."""
        count = 0
        while self._ending and self._ending[0][0] <= self._step:
            self._offsets -= heapq.heappop(self._ending)[1]
            count += 1
        return count
