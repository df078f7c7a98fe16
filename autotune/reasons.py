"""Why a decision is as it is, in a sentence for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autotune.costs import Costs, Evidence
from autotune.ranking import Candidate, Ground, Ranked
from autotune.scale import Scale, place_in
from kernels_bench.spec import Failed, Wrong

_TOLD = 3
"""Workloads that a reason names; it counts the rest."""


@dataclass(frozen=True)
class Case:
    """A decision that was made, and what it was made from."""

    winner: Ranked
    others: tuple[Ranked, ...]
    """By score."""
    picked: Ranked
    """Who would have won, had nobody won before."""
    ground: Ground
    scale: Scale


def explain(case: Case) -> str:
    """What decided."""
    label, extent = case.winner.candidate.label, _over(case.scale.costs)
    default = case.scale.incumbent.label
    match case.ground:
        case "only_candidate":
            return f"{label} is the only candidate that was right and timed {extent}"
        case "stored_winner_kept":
            return _kept(case, extent)
        case "margin":
            less = _compared(case.winner.score, case.winner.bound)
            return f"{label} costs {less} than the default {default} {extent}"
        case "tie_broken":
            less = _compared(case.winner.score, case.winner.bound)
            return f"{label} costs {less} than the default {default} {extent}; {_tie(case)}"
        case "default_is_fastest":
            after = case.others[0].candidate.label
            return f"the default {label} is the fastest {extent}; next is {after}"
        case "margin_not_met":
            return f"the default {label} is kept: {_short(case, extent)}"
        case "regression":
            return f"the default {label} is kept: {_regressing(case, extent)}"


def _over(costs: Costs) -> str:
    """How many workloads a decision stands on."""
    count = len(costs.workloads)
    return f"over {count} workload{'s' if count != 1 else ''}"


def _tie(case: Case) -> str:
    """Who is as fast, and why it was not taken."""
    criteria, starts = case.scale.criteria, case.scale.costs.starts
    rival = next(r for r in case.others if not r.regresses(criteria))
    own, other = starts[case.winner.candidate], starts[rival.candidate]
    label = rival.candidate.label
    if other.is_slow and not own.is_slow:
        return f"a tie with {label}, which takes {other.compile_s:.0f} s to compile"
    if other.is_large and not own.is_large and other.workspace_bytes is not None:
        size = f"{other.workspace_bytes / 2**20:.0f} MiB"
        return f"a tie with {label}, which takes {size} beside the KV cache"
    return f"a tie with {label}, which comes later in the default's order"


def _short(case: Case, extent: str) -> str:
    """The best challenger, and what it lacks."""
    best, scale = case.others[0], case.scale
    less = _compared(best.score, best.bound)
    if not scale.is_telling:
        enough = f"{1 - scale.criteria.unmeasured:.0%} is needed"
        few = f"only {1 - scale.unmeasured:.0%} of the profile's weight was measured, {enough}"
        return f"{few}; {best.candidate.label} costs {less} there"
    needs = f"promotion needs {scale.criteria.promotion:.0%} and a clear 99 % bound"
    return f"{best.candidate.label} costs {less} {extent}, {needs}"


def _regressing(case: Case, extent: str) -> str:
    """Who is better overall, and where it is much worse."""
    criteria = case.scale.criteria
    best = next(r for r in case.others if r.is_clear_of_default(criteria))
    less = _compared(best.score, best.bound)
    where = ""
    if best.worst is not None:
        where = f", but {best.worst.ratio:.2f}x the default's on {best.worst.workload}"
    return f"{best.candidate.label} costs {less} {extent}{where}; {criteria.regression}x is allowed"


def _kept(case: Case, extent: str) -> str:
    """The stored winner stays, though somebody else would have been picked."""
    held, picked, scale = case.winner, case.picked, case.scale
    stored = f"kept: {held.candidate.label}, the stored winner"
    label = picked.candidate.label
    if picked.candidate == scale.incumbent:
        less = _compared(held.score, held.bound)
        needs = "a stored winner yields to the default at a clear 99 % bound"
        return f"{stored}, costs {less} than the default {label} {extent}, {needs}"
    bound = scale.bound(picked.candidate, held.candidate)
    less = _compared(picked.score / held.score, bound / held.score)
    needs = f"replacing it needs {scale.criteria.replace:.0%} and a clear 99 % bound"
    return f"{stored}; {label} costs {less} {extent}, {needs}"


def _compared(ratio: float, bound: float) -> str:
    return f"{abs(1 - ratio):.1%} (±{bound:.1%}) {'less' if ratio <= 1 else 'more'}"


def waiting(costs: Costs, concerned: tuple[Candidate, ...]) -> str:
    """Whose plan waits for the device: the queue that it drains is another in every engine."""
    labels = [who.label for who in dict.fromkeys(concerned) if costs.starts[who].plan_waits]
    if not labels:
        return ""
    return f"; planning {' and '.join(labels)} waits for the device, what that drains is in no cost"


@dataclass(frozen=True)
class PassedOver:
    """The first of the default's order, where it is not the incumbent: an engine that is left alone
    runs it.
    """

    label: str
    did: str
    is_defective: bool = False
    """Its backend knows it to compute wrong numbers. What a measurement alone finds wrong may be
    the measurement's fault, and an engine's default is left for no doubt."""

    @property
    def text(self) -> str:
        """At the end of a reason."""
        return f"; {self.label}, otherwise the default, {self.did}"


def passed_over(
    evidence: Sequence[Evidence],
    incumbent: Candidate,
    order: tuple[str, ...],
    defective: frozenset[str] = frozenset(),
) -> PassedOver | None:
    """Who, and what it did; None where the incumbent is the first."""
    first = min((item.candidate for item in evidence), key=lambda who: place_in(order, who))
    if first == incumbent:
        return None
    own = [item for item in evidence if item.candidate == first]
    for outcome, did in ((Wrong, "was wrong"), (Failed, "failed")):
        spoiled = sorted({i.workload for i in own if isinstance(i.outcome, outcome)})
        if spoiled:
            more = f" and {len(spoiled) - _TOLD} more" if len(spoiled) > _TOLD else ""
            told = f"{did} on {', '.join(spoiled[:_TOLD])}{more}"
            return PassedOver(first.label, told, first.label in defective)
    if first.label in defective:
        return PassedOver(first.label, "is known to be wrong here (autotune backends)", True)
    return PassedOver(first.label, "was not measured everywhere")
