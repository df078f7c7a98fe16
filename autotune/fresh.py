"""An answer that nobody stored: what was measured for another question, decided for this one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from autotune._store import StoredDecision, list_decisions
from autotune.decision import Decision
from autotune.errors import ProfileError
from autotune.keys import device_key
from autotune.profiles import Profile, find_profile
from autotune.remembered import Answer
from autotune.replay import Rules, record_of, redecide
from autotune.today import Asked


def decided_now(asked: Asked, cache_file: Path) -> list[Answer]:
    """Measurements that answered another profile or engine answer this one too."""
    profile = _profile(asked)
    if profile is None or not asked.question.model.specs:
        return []
    rules = Rules(asked.question.engine, profile, asked.settings.disabled | asked.denied)
    found: dict[str, Answer] = {}
    for each in list_decisions(cache_file):
        if each.decision.versions in found or not _is_sibling(asked, each):
            continue
        record = record_of(cache_file, each, asked.question.text)
        decision = None if record is None else redecide(record, rules)
        if isinstance(decision, Decision):
            found[each.decision.versions] = Answer(decision, "evidence")
    return [*found.values()]


def _is_sibling(asked: Asked, stored: StoredDecision) -> bool:
    """Whether its measurements hold everyone whom this question is about."""
    row = stored.decision
    if row.device_key != device_key(asked.found.device):
        return False
    if row.engine not in ("any", asked.question.engine):
        return False
    same = replace(asked.question, engine=row.engine, profile=row.profile)
    return same.text == row.question


def _profile(asked: Asked) -> Profile | None:
    """The profile of the question, where it is one that can be found."""
    for name in (asked.question.profile, asked.settings.profile):
        try:
            profile = find_profile(name)
        except ProfileError:
            continue
        if profile.key == asked.question.profile:
            return profile
    return None
