"""Runs of engines that nobody ran."""

from __future__ import annotations

from autotune.confirmation import Side
from autotune.engine_loads import Load
from autotune.engine_messages import EngineRun, Sample, Scores, Started

LOAD = Load(4, 64, 16)


def scores(shift: float = 0.0, last: int = 3) -> Scores:
    """Two prompts of three tokens, a first answer of two, a second that may part at its end."""
    return Scores(
        prompt=((-1.0, -2.0 + shift), (-3.0, -4.0)),
        tops=((1, 2), (3, 4)),
        answers=((1, 2), (1, last)),
        answer_scores=((-0.5, -0.5), (-0.5, -0.5 + 9 * (last != 3))),
    )


def run(
    *rates: float, told: Scores | None = None, start_s: float = 10.0, failure: str = ""
) -> EngineRun:
    """With these output tokens a second, a repeat each."""
    samples = tuple(Sample(LOAD.text, 64 / rate, 64, 5.0, 1.0) for rate in rates)
    started = Started(start_s, ("Some",), "hash", 1600, "0.24.0")
    return EngineRun(1.0, started, told or scores(), samples, 2**30, failure)


def side(label: str, *runs: EngineRun, is_first_cold: bool = False) -> Side:
    return Side(label, runs, is_first_cold)
