"""Stored evidence decided again under other rules: what would change? Measures nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from autotune import records
from autotune._store import StoredDecision
from autotune.criteria import Criteria
from autotune.decision import Decision
from autotune.policy import NoVerdict
from autotune.profiles import Profile
from autotune.replay import Rules, record_of, redecide
from autotune.settings import RocmFlags
from autotune.stored_profile import profile_of


@dataclass(frozen=True)
class Scenario:
    """Other rules than those that a decision was made by."""

    criteria: Criteria
    profiles: tuple[Profile, ...] = ()
    """Empty: the one of each decision."""
    disabled: frozenset[str] = frozenset()
    rocm: RocmFlags = field(default_factory=RocmFlags)


@dataclass(frozen=True)
class Replayed:
    """A stored decision, and what it would have been."""

    stored: StoredDecision
    before: Decision
    profile: str
    after: Decision | NoVerdict

    @property
    def is_changed(self) -> bool:
        """Whether an engine would load something else."""
        if isinstance(self.after, NoVerdict):
            return True
        return (self.before.winner, self.before.per_kind) != (
            self.after.winner,
            self.after.per_kind,
        )


def simulate(stored: Iterable[StoredDecision], scenario: Scenario) -> Iterator[Replayed]:
    """Each decision once a profile; a damaged one is left out. As if nobody had won before."""
    for each in stored:
        before, record = records.decision_of(each), record_of(each)
        if before is None or record is None:
            continue
        for profile in scenario.profiles or _own(each, before):
            rules = Rules(
                each.decision.engine,
                profile,
                scenario.disabled,
                scenario.criteria,
                rocm=scenario.rocm,
            )
            yield Replayed(each, before, profile.name, redecide(record, rules))


def _own(stored: StoredDecision, decision: Decision) -> Sequence[Profile]:
    profile = profile_of(stored.decision.profile, decision)
    return () if profile is None else (profile,)
