"""The best two backends where no single one is best: a side of the phases each, or a kind of layer.

They share one KV cache and one graph mode, so only those make a legal split that were measured on
the same pages and that can be captured alike. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations

from autotune.costs import Cell, Costs
from autotune.engines import Engine
from autotune.ranking import Candidate, Ranked, Worst
from autotune.scale import Scale, place_in
from kernels_bench.capture import UNIFORM_PHASES
from kernels_bench.spec import Phase


@dataclass(frozen=True)
class Part:
    """What one of an engine's backends serves."""

    cells: tuple[Cell, ...]

    @property
    def phases(self) -> frozenset[Phase]:
        """All of them, of whatever kind of layer."""
        return frozenset(cell.phase for cell in self.cells)


@dataclass(frozen=True)
class Split:
    """Several backends, one a part, and what they are worth."""

    assignment: Mapping[Cell, Candidate]
    score: float
    """Of the incumbent's cost."""
    gain: float
    """What it costs less than the best single backend: 0.05 is 5 %."""
    bound: float
    """Half width of the 99 % interval around the gain."""
    regret: float
    worst: Worst | None

    @property
    def by_kind(self) -> dict[str, dict[str, Candidate]]:
        """Kind of layer -> phase -> who serves it."""
        found: dict[str, dict[str, Candidate]] = {}
        for cell, candidate in self.assignment.items():
            found.setdefault(cell.kind, {})[cell.phase.value] = candidate
        return found


def parts_of(engine: Engine, cells: Sequence[Cell]) -> tuple[Part, ...]:
    """The cells by the backend that would serve them in an engine."""
    kinds = sorted({cell.kind for cell in cells})
    groups = [(kind,) for kind in kinds] if engine.takes_kinds else [tuple(kinds)]
    sides = engine.sides(frozenset(cell.phase for cell in cells))
    parts = (
        Part(tuple(cell for cell in cells if cell.kind in group and cell.phase in side))
        for group in groups
        for side in sides
    )
    return tuple(part for part in parts if part.cells)


def best_split(
    scale: Scale,
    engine: Engine,
    order: tuple[str, ...],
    single: Ranked,
    standing: Mapping[str, Mapping[str, Candidate]] | None = None,
) -> Split | None:
    """The best legal split, where it beats the best single backend by the margin and beyond the
    noise. One that was stored stays while it is legal and better than a single one, unless another
    beats it as a challenger beats a stored winner.
    """
    parts = parts_of(engine, scale.costs.cells)
    held = _held(scale, parts, standing, single)
    if not scale.is_telling:
        return held
    splits = [_split(scale, each, single) for each in _assignments(scale, parts, order, single)]
    splits = [each for each in splits if not _regresses(each, scale)]
    best = min(splits, key=lambda each: each.score, default=None)
    if held is not None and (best is None or not _replaces(best, held, scale)):
        return held
    criteria = scale.criteria
    if best is None or best.gain < criteria.split or best.gain <= best.bound:
        return None
    return best if best.score <= 1 - criteria.promotion else None


def _split(scale: Scale, assignment: Mapping[Cell, Candidate], single: Ranked) -> Split:
    step = scale.costs.step(assignment)
    alone = scale.costs.by_one(single.candidate)
    score = scale.score(step)
    moved = {cell.workload for cell, who in assignment.items() if who != single.candidate}
    same = {workload for workload in scale.costs.workloads if workload not in moved}
    return Split(
        assignment=assignment,
        score=score,
        gain=1 - score / single.score,
        bound=scale.bound_of(step, alone, same) / single.score,
        regret=scale.regret(step),
        worst=scale.worst(step),
    )


def _regresses(split: Split, scale: Scale) -> bool:
    return split.worst is not None and split.worst.ratio > scale.criteria.regression


def _held(
    scale: Scale,
    parts: Sequence[Part],
    standing: Mapping[str, Mapping[str, Candidate]] | None,
    single: Ranked,
) -> Split | None:
    """The stored split, if it can still be taken and is still worth two backends."""
    if standing is None:
        return None
    assignment: dict[Cell, Candidate] = {}
    for part in parts:
        named = {standing.get(cell.kind, {}).get(cell.phase.value) for cell in part.cells}
        if len(named) != 1 or None in named:
            return None
        assignment |= {cell: who for cell in part.cells for who in named if who is not None}
    if len(set(assignment.values())) < 2 or not is_legal(scale.costs, assignment, parts):
        return None
    held = _split(scale, assignment, single)
    return held if held.gain > scale.criteria.tie and not _regresses(held, scale) else None


def _replaces(best: Split, held: Split, scale: Scale) -> bool:
    step, before = scale.costs.step(best.assignment), scale.costs.step(held.assignment)
    return (
        best.score <= held.score * (1 - scale.criteria.replace)
        and best.score + scale.bound_of(step, before) < held.score
    )


def is_legal(costs: Costs, assignment: Mapping[Cell, Candidate], parts: Sequence[Part]) -> bool:
    """Whether everyone was right and timed where it would serve, on the same pages, and was timed
    in a graph only where all of them can be captured.
    """
    members = set(assignment.values())
    if len({who.pages for who in members}) > 1:
        return False
    if any(cell not in costs.of.get(who, {}) for cell, who in assignment.items()):
        return False
    common = frozenset.intersection(*(costs.captured[who] for who in members))
    return all(costs.captured[assignment[part.cells[0]]] & part.phases <= common for part in parts)


def _assignments(
    scale: Scale, parts: Sequence[Part], order: tuple[str, ...], single: Ranked
) -> Iterator[Mapping[Cell, Candidate]]:
    """For each way to lay out the cache and each graph mode, the best of every part: parts add up,
    so that no better split of that layout and mode exists.
    """
    costs = scale.costs
    everyone = sorted(costs.of, key=lambda who: (who != single.candidate, place_in(order, who)))
    for pages in dict.fromkeys(who.pages for who in everyone):
        for mode in _graph_modes():
            able = [who for who in everyone if who.pages == pages and mode <= costs.captured[who]]
            chosen = [(part, _best_of(scale, part, able, mode)) for part in parts]
            assignment = {
                cell: who for part, who in chosen if who is not None for cell in part.cells
            }
            if len(assignment) == len(costs.cells) and len(set(assignment.values())) > 1:
                yield assignment


def _graph_modes() -> Iterator[frozenset[Phase]]:
    """Sets of phases that an engine may capture. One backend that cannot be captured in a phase
    keeps all of them out of graphs there: vLLM takes the least of what its backends support.
    """
    phases = sorted(UNIFORM_PHASES)
    sizes = (combinations(phases, size) for size in range(len(phases) + 1))
    return map(frozenset, chain.from_iterable(sizes))


def _best_of(
    scale: Scale, part: Part, able: Sequence[Candidate], mode: frozenset[Phase]
) -> Candidate | None:
    """Among equals the best single backend, then the default's order: as `able` stands."""
    costs, totals = scale.costs, dict[Candidate, float]()
    for who in able:
        own = costs.of[who]
        if any(cell not in own for cell in part.cells):
            continue
        if costs.captured[who] & part.phases <= mode and not _is_far_behind(scale, part, who):
            totals[who] = sum(
                scale.shares[cell.workload] * own[cell].us / scale.base[cell.workload].us
                for cell in part.cells
            )
    if not totals:
        return None
    best = min(totals.values())
    return next(who for who, total in totals.items() if total <= best * (1 + scale.criteria.tie))


def _is_far_behind(scale: Scale, part: Part, candidate: Candidate) -> bool:
    """Whether it would cost a weighty workload too much, whoever ran its other layers."""
    costs, base = scale.costs, scale.costs.of[scale.incumbent]
    for workload in {cell.workload for cell in part.cells}:
        if scale.shares[workload] < scale.criteria.weighty:
            continue
        cells = [cell for cell in part.cells if cell.workload == workload]
        own_us = sum(costs.of[candidate][cell].us for cell in cells)
        if own_us > scale.criteria.regression * sum(base[cell].us for cell in cells):
            return True
    return False
