"""From a verdict to the decision that is remembered. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from autotune.costs import Evidence
from autotune.decision import (
    Assessment,
    Decision,
    SplitDecision,
    backends_of,
    one_backend_everywhere,
)
from autotune.policy import Verdict
from autotune.profiles import Profile
from autotune.splits import Split


@dataclass(frozen=True)
class Setting:
    """Under what a verdict was reached."""

    versions: Mapping[str, str | None]
    method: int
    power_limit_w: int
    measured_at: str
    profile: Profile
    uncovered: Mapping[str, float]


def decision_of_verdict(
    verdict: Verdict, evidence: Iterable[Evidence], setting: Setting
) -> Decision:
    """All of it that a start or a person may ask for later."""
    places = tuple(evidence)
    winner = verdict.winner
    split = None if verdict.split is None else _split(verdict.split)
    phases = sorted({item.phase for item in places})
    kinds = dict.fromkeys(item.kind for item in places)
    return Decision(
        winner=winner.candidate,
        default=verdict.spoiled or verdict.incumbent.label,
        per_kind=(
            one_backend_everywhere(winner.candidate.backend, kinds, phases)
            if split is None
            else backends_of(split.seats)
        ),
        # What is wrong is not timed, and no cost is told over somebody else's.
        speedup_vs_default=None if verdict.spoiled else verdict.speedup_vs_default,
        tie=verdict.tie,
        why=verdict.why,
        runners_up=verdict.ranking[1:],
        versions=setting.versions,
        method=setting.method,
        power_limit_w=setting.power_limit_w,
        measured_at=setting.measured_at,
        split=split,
        assessment=Assessment(
            bound=winner.bound,
            regret=verdict.regret,
            ground=verdict.ground,
            crossovers=verdict.crossovers,
            profile_weights=setting.profile.weights,
            uncovered=setting.uncovered,
        ),
    )


def _split(split: Split) -> SplitDecision:
    return SplitDecision(split.by_kind, split.score, split.gain, split.bound, split.regret)
