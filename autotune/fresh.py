"""An answer that nobody stored: what was measured for another question, decided for this one."""

from __future__ import annotations

from dataclasses import dataclass, replace

from autotune import records
from autotune._store import (
    CacheError,
    Layers,
    StoredDecision,
    Which,
    read_layers,
    read_measurements,
)
from autotune.decision import Decision
from autotune.errors import ProfileError
from autotune.keys import device_key, spec_keys_of
from autotune.profiles import Profile, find_profile
from autotune.remembered import Answer
from autotune.replay import Record, Rules, record_with, redecide
from autotune.today import Asked


@dataclass(frozen=True)
class Fresh:
    """What was decided now, and where the measurements of others cannot be believed."""

    answers: tuple[Answer, ...] = ()
    notes: tuple[str, ...] = ()


def decided_now(asked: Asked, layers: Layers) -> Fresh:
    """Measurements that answered another profile or engine answer this one too."""
    profile = _profile(asked)
    if profile is None or not asked.question.model.specs:
        return Fresh()
    disabled = asked.settings.disabled | asked.denied
    rules = Rules(asked.question.engine, profile, disabled, rocm=asked.settings.rocm)
    same_layers = Which(
        device_keys=(device_key(asked.found.device),),
        fingerprints=(asked.question.model.fingerprint,),
    )
    found: dict[str, Answer] = {}
    notes: dict[str, None] = {}
    for each in read_layers(layers, same_layers).stored:
        if each.decision.versions in found or not _is_sibling(asked, each):
            continue
        record = _whole_record(each, asked.question.text)
        if isinstance(record, str):
            notes[record] = None
            continue
        decision = None if record is None else redecide(record, rules)
        if isinstance(decision, Decision):
            found[each.decision.versions] = Answer(decision, "evidence", file=each.file)
    return Fresh(tuple(found.values()), tuple(notes))


def _whole_record(stored: StoredDecision, question: str) -> Record | str | None:
    """Its measurements, or why they are not believed: some that are damaged may be the best."""
    decision = records.decision_of(stored)
    if decision is None:
        return None
    specs = spec_keys_of(stored.model.fingerprint)
    try:
        found = read_measurements(stored.file, stored.device.key, specs, is_ours=stored.is_ours)
    except CacheError as error:
        return str(error)
    if found.damaged:
        return f"cache {stored.file}: {found.damaged[0]}; `autotune cache doctor` tells more"
    record = record_with(stored, decision, found.rows, question)
    count = 0 if record is None else len(record.current())
    if 0 < count < (stored.decision.evidence or 0):
        return (
            f"cache {stored.file}: decision {stored.id} rests on {stored.decision.evidence}"
            f" measurements, of which {count} are there; autotune warm measures the others"
        )
    return record


def _is_sibling(asked: Asked, stored: StoredDecision) -> bool:
    """Whether its measurements hold everyone whom this question is about."""
    row = stored.decision
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
