"""What only those know of a cache who decide: rows that say nothing, and whom the others fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from autotune import records
from autotune._store import Finding, StoredDecision, StoredMiss
from autotune.pruning import fits
from kernels_bench.method import METHOD
from kernels_bench.spec import Stack


def about_decisions(
    stored: Iterable[StoredDecision], today: Mapping[str, Stack]
) -> Iterator[Finding]:
    """`today` has what is installed for each device of this machine, by its key."""
    states: Counter[str] = Counter()
    revoked = 0
    for each in stored:
        if records.decision_of(each) is None:
            what = f"decision {each.id} ({each.model.name}) holds JSON that cannot be read"
            yield Finding("error", what, f"autotune cache rm {each.id}, then autotune warm")
            continue
        states[_state(each, today)] += 1
        revoked += bool(each.revoked)
    if states:
        told = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        yield Finding("note", f"decisions: {told}")
    if stale := states[_STALE]:
        what = f"{stale} decisions are for other versions than those installed"
        yield Finding("note", what, "autotune warm measures what changed")
    if revoked:
        what = f"{revoked} decisions are revoked: starts keep the engine's default"
        yield Finding("note", what, "autotune confirm runs them again")


def about_misses(missed: Iterable[StoredMiss]) -> Iterator[Finding]:
    """What waits for `autotune warm --missed`."""
    counts = [each.miss.times_seen for each in missed]
    if counts:
        what = f"{sum(counts)} starts found nothing for {len(counts)} questions"
        yield Finding("note", what, "autotune warm --missed tunes for them")


_STALE = "for this machine with other versions"


def _state(each: StoredDecision, today: Mapping[str, Stack]) -> str:
    stack = today.get(each.decision.device_key)
    if stack is None:
        return "for devices elsewhere"
    row = each.decision
    is_current = row.method == METHOD and fits(row.versions, stack)
    return "for this machine as it is" if is_current else _STALE
