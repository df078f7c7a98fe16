"""What of a cache is old, superseded or of versions that are gone. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from autotune._store import EvidenceGroup, StoredDecision
from autotune.keys import spec_keys_of
from autotune.stored_json import read_versions
from kernels_bench.spec import Stack


@dataclass(frozen=True)
class Rules:
    """What is to go. A rule that is not set dooms nothing."""

    before: str | None = None
    """A time as rows have it: what was made earlier goes."""
    keep: int | None = None
    """Of the answers to one question on one device, so many of the newest."""
    today: Mapping[str, Stack] = field(default_factory=dict)
    """Key of a device that is here -> what is installed: of other versions goes what no start here
    takes any more."""
    method: int = 0
    """Today's, for `today`."""


@dataclass(frozen=True)
class Doomed:
    """What goes, and why."""

    decisions: Mapping[int, str] = field(default_factory=dict)
    """Id -> why."""
    evidence: tuple[EvidenceGroup, ...] = ()
    """Whole groups of measurements, on which no decision that stays rests."""


def doomed(
    stored: Sequence[StoredDecision], evidence: Iterable[EvidenceGroup], rules: Rules
) -> Doomed:
    """Decisions stand newest first. Measurements go with the last decision that rests on them, or
    where none does for being old or of other versions themselves.
    """
    reasons = {each.id: why for each, why in _decisions(stored, rules)}
    stay = [each for each in stored if each.id not in reasons]
    gone = [each for each in stored if each.id in reasons]
    groups = tuple(
        group
        for group in evidence
        if not any(_rests_on(each, group) for each in stay)
        and (_is_evidence_doomed(group, rules) or any(_rests_on(each, group) for each in gone))
    )
    return Doomed(reasons, groups)


def _decisions(
    stored: Sequence[StoredDecision], rules: Rules
) -> Iterator[tuple[StoredDecision, str]]:
    places: dict[tuple[str, str], list[StoredDecision]] = {}
    for each in stored:
        places.setdefault((each.decision.device_key, each.decision.question), []).append(each)
    for group in places.values():
        has_current = any(_is_current(each, rules) for each in group)
        for number, each in enumerate(group, 1):
            why = _why(each, number, has_current, rules)
            if why:
                yield each, why


def _why(each: StoredDecision, number: int, has_current: bool, rules: Rules) -> str:
    if rules.before is not None and each.decision.provenance.created_at < rules.before:
        return f"decided before {rules.before}"
    if rules.keep is not None and number > rules.keep:
        return f"{rules.keep} newer ones stay"
    is_here = each.decision.device_key in rules.today
    if is_here and has_current and not _is_current(each, rules):
        return "another was decided for what is installed today"
    return ""


def _is_current(each: StoredDecision, rules: Rules) -> bool:
    row = each.decision
    return row.method == rules.method and _fits(row.versions, rules.today.get(row.device_key))


def _is_evidence_doomed(group: EvidenceGroup, rules: Rules) -> bool:
    if rules.before is not None and group.newest_at < rules.before:
        return True
    stack = rules.today.get(group.device_key)
    if stack is None:
        return False
    return group.method != rules.method or not _fits(group.versions, stack)


def _fits(versions: str, stack: Stack | None) -> bool:
    """Whether every version is the installed one."""
    if stack is None:
        return False
    try:
        found = read_versions(versions)
    except ValueError:
        return False
    return all(stack.get(name) == version for name, version in found.items())


def _rests_on(each: StoredDecision, group: EvidenceGroup) -> bool:
    row = each.decision
    if (row.device_key, row.method) != (group.device_key, group.method):
        return False
    try:
        specs = spec_keys_of(row.model_fingerprint)
        mine, theirs = read_versions(row.versions), read_versions(group.versions)
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
    return group.spec_key in specs and theirs.items() <= mine.items()
