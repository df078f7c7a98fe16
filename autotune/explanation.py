"""Why this backend, and why not that one: everything that is stored about a choice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from autotune._store import CacheError, Layers, StoredDecision, Which, read_layers
from autotune.decision import Choice
from autotune.elsewhere import stack_under
from autotune.in_engine import confirmations_of, winner_line
from autotune.keys import device_key
from autotune.loadable import Loads
from autotune.nearest import Near
from autotune.outcome_columns import outcome_of
from autotune.ranking import Candidate, Ranked
from autotune.replay import Record, Rules, candidate_of, case_of, record_of
from autotune.scale import Scale
from autotune.stored_json import read_versions
from autotune.today import Asked
from autotune.unmeasured import near_misses
from kernels_bench.spec import Outcome, Rejected, Stack, Timed

_EVERYWHERE = "all"


@dataclass(frozen=True)
class Rival:
    """A candidate that was legal, and what it costs."""

    ranked: Ranked
    compile_s: float
    workspace_bytes: int | None
    plan_waits: bool


@dataclass(frozen=True)
class Loser:
    """A candidate that is not legal, and what it did."""

    label: str
    where: tuple[str, ...]
    """Workloads; phases where it refused; all of it where the engine cannot load it."""
    outcome: Outcome


@dataclass(frozen=True)
class Weighed:
    """A workload, its share of the weight, and what its attention costs a step."""

    workload: str
    share: float
    winner_us: float
    default_us: float
    best_us: float
    """Every layer run by whoever is best at it."""


@dataclass(frozen=True)
class Stale:
    """A candidate whose measurements are of other versions."""

    label: str
    changes: tuple[str, ...]
    """A package each, with both versions."""
    count: int
    """Measurements."""


@dataclass(frozen=True)
class Explanation:
    """A choice and what is stored about it."""

    choice: Choice
    rivals: tuple[Rival, ...] = ()
    losers: tuple[Loser, ...] = ()
    workloads: tuple[Weighed, ...] = ()
    stale: tuple[Stale, ...] = ()
    near: tuple[Near, ...] = ()
    """Where no measurement answered."""
    confirmation: str = ""
    """What a run of the engine said of the winner, and why; empty where there was none."""


def explain(asked: Asked, choice: Choice, layers: Layers, rules: Rules) -> Explanation:
    """Gather it; the measurements are weighed again under the rules."""
    near = () if choice.is_measured else _near(asked, layers)
    stored = _stored(asked, layers)
    confirmation = _confirmation(asked, stored)
    record = None if stored is None else record_of(stored, asked.question.text)
    if record is None:
        return Explanation(choice, near=near, confirmation=confirmation)
    case = case_of(record, rules)
    scale = case.scale
    return Explanation(
        choice=choice,
        rivals=() if scale is None else _rivals(choice, scale),
        losers=tuple(_losers(record, case.terms.order, Loads(record.site, rules.wishes))),
        workloads=() if scale is None else tuple(_weighed(choice, scale)),
        stale=_stale(record, stack_under(asked.found)),
        near=near,
        confirmation=confirmation,
    )


def _near(asked: Asked, layers: Layers) -> tuple[Near, ...]:
    """Without what is stored for this very question, and yet not taken: the choice says why."""
    return tuple(each for each in near_misses(asked, layers) if each.differences)


def _confirmation(asked: Asked, stored: StoredDecision | None) -> str:
    if stored is None or stored.decision.question != asked.question.text:
        return ""
    try:
        return winner_line(stored, confirmations_of(stored))
    except CacheError:  # the choice says so
        return ""


def _stored(asked: Asked, layers: Layers) -> StoredDecision | None:
    """The newest for this part: of this question, or else of another about the same layers."""
    key = device_key(asked.found.device)
    same_layers = Which(device_keys=(key,), fingerprints=(asked.question.model.fingerprint,))
    found = read_layers(layers, same_layers).stored
    answers = [each for each in found if each.decision.question == asked.question.text]
    return next(iter((*answers, *found)), None)


def _rivals(choice: Choice, scale: Scale) -> tuple[Rival, ...]:
    """Everyone legal, the best first; the choice itself is among them."""
    ranked = sorted(map(scale.ranked, scale.costs.everywhere), key=lambda each: each.score)
    starts = scale.costs.starts
    return tuple(
        Rival(
            each,
            starts[each.candidate].compile_s,
            starts[each.candidate].workspace_bytes,
            starts[each.candidate].plan_waits,
        )
        for each in sorted(ranked, key=lambda each: each.candidate != choice.candidate)
    )


def _weighed(choice: Choice, scale: Scale) -> Iterable[Weighed]:
    """The heaviest first."""
    legal = choice.candidate in scale.costs.everywhere
    winner = choice.candidate if legal and choice.candidate is not None else scale.incumbent
    own = scale.costs.by_one(winner)
    for workload, share in sorted(scale.shares.items(), key=lambda item: (-item[1], item[0])):
        yield Weighed(
            workload,
            share,
            own[workload].us,
            scale.base[workload].us,
            scale.costs.best_us[workload],
        )


def _losers(record: Record, order: tuple[str, ...], loads: Loads) -> Iterable[Loser]:
    """Who refused, failed or was wrong somewhere, or cannot be loaded; places with the same answer
    share a row.
    """
    places: dict[tuple[Candidate, Outcome], list[str]] = {}
    for row in record.current():
        who, outcome = candidate_of(row), outcome_of(row)
        refusals = loads.refusals(who)
        if refusals:
            places[who, Rejected(refusals)] = [_EVERYWHERE]
        elif outcome is not None and not isinstance(outcome, Timed):
            places.setdefault((who, outcome), []).append(row.workload or row.phase)
    for who, outcome in sorted(places, key=lambda key: _place(order, key[0])):
        where = tuple(dict.fromkeys(places[who, outcome]))
        yield Loser(who.label, where, outcome)


def _place(order: tuple[str, ...], who: Candidate) -> tuple[int, str]:
    return (order.index(who.label) if who.label in order else len(order), who.label)


def _stale(record: Record, stack: Stack) -> tuple[Stale, ...]:
    """Whose packages have another version today."""
    found: dict[tuple[str, tuple[str, ...]], int] = {}
    current: set[str] = set()
    for row in record.rows:
        if row.outcome == Rejected.__name__.lower() or row.workload is None:
            continue
        label = candidate_of(row).label
        changes = _changes(row.versions, stack)
        if changes:
            found[label, changes] = found.get((label, changes), 0) + 1
        else:
            current.add(label)
    return tuple(
        Stale(label, changes, count)
        for (label, changes), count in sorted(found.items())
        if label not in current
    )


def _changes(text: str, stack: Stack) -> tuple[str, ...]:
    try:
        versions: Mapping[str, str | None] = read_versions(text)
    except ValueError:
        return ("its versions cannot be read",)
    return tuple(
        f"{name} was {then or 'absent'} and is {now or 'absent'}"
        for name, then in sorted(versions.items())
        if (now := stack.get(name)) != then
    )
