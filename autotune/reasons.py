"""Why a decision is as it is, in a sentence for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from autotune.incumbents import rank
from kernels_bench.spec import Failed, Timed, Wrong
from kernels_bench.standings import PROMOTION_MARGIN, REPLACE_MARGIN

if TYPE_CHECKING:
    from autotune.policy import Candidate, Evidence, Ranked, Scale

_TOLD = 3
"""Workloads that a reason names; it counts the rest."""


def over(evidence: Sequence[Evidence]) -> str:
    """How many workloads a decision stands on."""
    count = len({item.workload for item in evidence})
    return f"over {count} workload{'s' if count != 1 else ''}"


def explain(winner: Ranked, others: Sequence[Ranked], incumbent: Candidate, over: str) -> str:
    """Why the winner won, where nobody had won before or who had is out."""
    label = winner.candidate.label
    if not others:
        return f"{label} is the only candidate that was right and timed {over}"
    if winner.candidate != incumbent:
        less = _compared(winner.score, winner.bound)
        return f"{label} costs {less} than the default {incumbent.label} {over}"
    best = others[0]
    if best.score >= 1:
        return f"the default {label} is the fastest {over}; next is {best.candidate.label}"
    needs = f"promotion needs {PROMOTION_MARGIN:.0%} and a clear 99 % bound"
    less = _compared(best.score, best.bound)
    return f"the default {label} is kept: {best.candidate.label} costs {less} {over}, {needs}"


def explain_kept(held: Ranked, picked: Ranked, scale: Scale, over: str) -> str:
    """`picked` would have won, had nobody won before."""
    stored = f"kept: {held.candidate.label}, the stored winner"
    label = picked.candidate.label
    if picked.candidate == scale.incumbent:
        less = _compared(held.score, held.bound)
        needs = "a stored winner yields to the default at a clear 99 % bound"
        return f"{stored}, costs {less} than the default {label} {over}, {needs}"
    bound = scale.bound(picked.candidate, held.candidate)
    less = _compared(picked.score / held.score, bound / held.score)
    needs = f"replacing it needs {REPLACE_MARGIN:.0%} and a clear 99 % bound"
    return f"{stored}; {label} costs {less} {over}, {needs}"


def _compared(ratio: float, bound: float) -> str:
    return f"{abs(1 - ratio):.1%} (±{bound:.1%}) {'less' if ratio <= 1 else 'more'}"


def waiting(evidence: Sequence[Evidence], concerned: tuple[Candidate, ...]) -> str:
    """Whose plan waits for the device: the queue that it drains is another in every engine."""
    waiting = {
        item.candidate
        for item in evidence
        if isinstance(item.outcome, Timed) and item.outcome.plan_waits
    }
    labels = [who.label for who in dict.fromkeys(concerned) if who in waiting]
    if not labels:
        return ""
    return f"; planning {' and '.join(labels)} waits for the device, what that drains is in no cost"


def passed_over(evidence: Sequence[Evidence], incumbent: Candidate, order: tuple[str, ...]) -> str:
    """What the first of the default's order did, where it is not the incumbent: an engine that is
    left alone runs it.
    """
    first = min(evidence, key=lambda item: rank(order, item.candidate.backend)).candidate
    if first == incumbent:
        return ""
    who = f"; {first.label}, otherwise the default,"
    own = [item for item in evidence if item.candidate == first]
    for outcome, did in ((Wrong, "was wrong"), (Failed, "failed")):
        spoiled = [*dict.fromkeys(i.workload for i in own if isinstance(i.outcome, outcome))]
        if spoiled:
            more = f" and {len(spoiled) - _TOLD} more" if len(spoiled) > _TOLD else ""
            return f"{who} {did} on {', '.join(spoiled[:_TOLD])}{more}"
    return f"{who} was not measured everywhere"
