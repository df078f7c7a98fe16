"""Where one backend overtakes another: data for engines that can dispatch by batch. Pure.

At most one crossover an axis. A table with more of them fits noise: the winner of a single workload
changes from run to run, that of a range does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from autotune.costs import Cell
from autotune.ranking import Axis, Candidate, Crossover
from autotune.scale import Scale, place_in
from autotune.splits import Part, is_legal
from kernels_bench.spec import Phase
from kernels_bench.workload import parse_workload


def find_crossovers(scale: Scale, order: tuple[str, ...]) -> tuple[Crossover, ...]:
    """One an axis, or none: where each side wins by the margin of a split, and both together beat
    every single candidate by it.
    """
    axes: tuple[tuple[Axis, frozenset[Phase]], ...] = (
        ("batch", frozenset({Phase.DECODE})),
        ("new_tokens", frozenset({Phase.PREFILL, Phase.EXTEND})),
    )
    found = (_crossover(scale, order, axis, phases) for axis, phases in axes)
    return tuple(each for each in found if each is not None)


def _crossover(
    scale: Scale, order: tuple[str, ...], axis: Axis, phases: frozenset[Phase]
) -> Crossover | None:
    cells = [cell for cell in scale.costs.cells if cell.phase in phases]
    values = {cell: _value(axis, cell.workload) for cell in cells}
    able = [who for who, own in scale.costs.of.items() if all(cell in own for cell in cells)]
    able.sort(key=lambda who: place_in(order, who))
    alone = min((_sum(scale, who, cells) for who in able), default=0.0)
    best, best_total = None, alone * (1 - scale.criteria.split)
    for border in sorted(set(values.values()))[1:]:
        low = [cell for cell in cells if values[cell] < border]
        high = [cell for cell in cells if values[cell] >= border]
        for total, pair in _pairs(scale, able, low, high):
            if total < best_total and _share(scale, pair, low, high):
                last = max(values[cell] for cell in low)
                best = Crossover(axis, *pair, last, border, 1 - total / alone)
                best_total = total
    return best


def _value(axis: Axis, workload: str) -> int:
    segments = parse_workload(workload).segments
    if axis == "batch":
        return sum(segment.count for segment in segments)
    return sum(segment.count * segment.new_tokens for segment in segments)


def _pairs(
    scale: Scale, able: Sequence[Candidate], low: Sequence[Cell], high: Sequence[Cell]
) -> Iterator[tuple[float, tuple[Candidate, Candidate]]]:
    """Those of which each wins its side by the margin, and what they cost together."""
    sums = {who: (_sum(scale, who, low), _sum(scale, who, high)) for who in able}
    margin = 1 - scale.criteria.split
    for first in able:
        for second in able:
            (own_low, own_high), (other_low, other_high) = sums[first], sums[second]
            if own_low < other_low * margin and other_high < own_high * margin:
                yield own_low + other_high, (first, second)


def _sum(scale: Scale, candidate: Candidate, cells: Sequence[Cell]) -> float:
    own = scale.costs.of[candidate]
    return sum(
        scale.shares[cell.workload] * own[cell].us / scale.base[cell.workload].us for cell in cells
    )


def _share(
    scale: Scale,
    pair: tuple[Candidate, Candidate],
    low: Sequence[Cell],
    high: Sequence[Cell],
) -> bool:
    """Whether one cache and one graph mode serve both."""
    first, second = pair
    assignment = {**dict.fromkeys(low, first), **dict.fromkeys(high, second)}
    return is_legal(scale.costs, assignment, (Part(tuple(low)), Part(tuple(high))))
