"""What of a cache is old, superseded or of versions that are gone. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from autotune._store import EvidenceGroup, StoredDecision, StoredMiss, moment
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
    misses: tuple[StoredMiss, ...] = ()


def doomed(
    stored: Sequence[StoredDecision],
    evidence: Iterable[EvidenceGroup],
    rules: Rules,
    missed: Iterable[StoredMiss] = (),
) -> Doomed:
    """Decisions stand newest first. Measurements go where no decision that stays rests on them, and
    they are old or of other versions themselves, or one went with which they go. Misses go by their
    age alone.
    """
    by_age = {each.id: why for each in stored if (why := _age_reason(each, rules))}
    reasons = {**by_age, **_other_reasons(stored, by_age, rules)}
    stay = [each for each in stored if each.id not in reasons]
    gone = [each for each in stored if each.id in reasons]
    groups = tuple(
        group
        for group in evidence
        if not any(_rests_on(each, group) for each in stay)
        and (_is_evidence_doomed(group, rules) or any(_rests_on(each, group) for each in gone))
    )
    old = tuple(each for each in missed if _is_before(each.miss.last_seen, rules))
    return Doomed(reasons, groups, old)


def _age_reason(each: StoredDecision, rules: Rules) -> str:
    is_old = _is_before(each.decision.provenance.created_at, rules)
    return f"decided before {rules.before}" if is_old else ""


def _other_reasons(
    stored: Sequence[StoredDecision], by_age: Mapping[int, str], rules: Rules
) -> Mapping[int, str]:
    """Of those that age spares; who goes for being one too many is no reason for another to go."""
    found: dict[int, str] = {}
    places: dict[tuple[str, str], list[StoredDecision]] = {}
    for each in stored:
        if each.id not in by_age:
            place = each.decision.device_key, each.decision.question
            places.setdefault(place, []).append(each)
    for group in places.values():
        kept = group[: rules.keep]
        found |= {each.id: f"{rules.keep} newer ones stay" for each in group[len(kept) :]}
        if any(_is_current(each, rules) for each in kept):
            found |= {
                each.id: "another was decided for what is installed today"
                for each in kept
                if each.decision.device_key in rules.today and not _is_current(each, rules)
            }
    return found


def _is_before(text: str, rules: Rules) -> bool:
    """By the moment, whatever offset it is told in; a time that cannot be read is no reason."""
    if rules.before is None:
        return False
    try:
        return moment(text) < moment(rules.before)
    except ValueError:
        return False


def _is_current(each: StoredDecision, rules: Rules) -> bool:
    row = each.decision
    return row.method == rules.method and fits(row.versions, rules.today.get(row.device_key))


def _is_evidence_doomed(group: EvidenceGroup, rules: Rules) -> bool:
    if _is_before(group.newest_at, rules):
        return True
    stack = rules.today.get(group.device_key)
    if stack is None:
        return False
    return group.method != rules.method or not fits(group.versions, stack)


def fits(versions: str, stack: Stack | None) -> bool:
    """Whether every version of a row is the installed one."""
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
