"""Decides recorded measurements again for every built-in profile, and prints what an engine would
load, as markdown. Needs no GPU.

    python benchmarks/decisions_table.py benchmarks/results/h100-method3-run3.db.xz
"""

from __future__ import annotations

import lzma
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from autotune._store import StoredDecision, list_decisions
from autotune.criteria import Criteria
from autotune.decision import Decision
from autotune.policy import NoVerdict
from autotune.profiles import find_profile
from autotune.ranking import Crossover
from autotune.replay import Record, Rules, record_of, redecide
from autotune.text import device_text

PROFILES = ("balanced", "chat", "code", "long-context", "decode-heavy")
ENGINES = ("any", "vllm")


def main() -> None:
    for packed in map(Path, sys.argv[1:]):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "cache.db"
            content = packed.read_bytes()
            path.write_bytes(lzma.decompress(content) if packed.suffix == ".xz" else content)
            for stored in _each_model_once(list_decisions(path)):
                if record := record_of(stored):
                    _print(stored, record, packed.name)


def _each_model_once(stored: tuple[StoredDecision, ...]) -> Iterator[StoredDecision]:
    seen: set[tuple[str, str]] = set()
    for each in stored:
        place = each.decision.device_key, each.decision.model_fingerprint
        if each.decision.engine == "any" and place not in seen:
            seen.add(place)
            yield each


def _print(stored: StoredDecision, record: Record, name: str) -> None:
    versions = ", ".join(f"{name} {text}" for name, text in sorted(record.stack.items()))
    print(f"\n## {stored.model.name}, tp {stored.model.tensor_parallel} ({name})\n")
    print(f"{device_text(record.device)}; {versions}; method {record.method}.\n")
    columns = "winner | costs of default | next | regret | best split | crossover"
    print(f"| engine | profile | {columns} |")
    print("|---|---|---|---|---|---|---|---|")
    for engine in ENGINES:
        for profile in PROFILES:
            print(f"| {engine} | {profile} | {' | '.join(_cells(record, engine, profile))} |")


def _cells(record: Record, engine: str, profile: str) -> tuple[str, ...]:
    found = redecide(record, Rules(engine, find_profile(profile)))
    # The best of all splits, be it worth two backends or not.
    free = Rules(engine, find_profile(profile), criteria=Criteria(split=0.0))
    tried = redecide(record, free)
    if isinstance(found, NoVerdict) or isinstance(tried, NoVerdict):
        return ("nobody", "", "", "", "", "")
    assessment, speedup = found.assessment, found.speedup_vs_default
    assert assessment is not None
    assert speedup is not None
    after = found.runners_up[0] if found.runners_up else None
    label = found.winner.label
    return (
        label if label == found.default else f"**{label}**",
        f"{1 / speedup:.1%} ±{assessment.bound:.1%}",
        "" if after is None else f"{after.candidate.label} {after.score:.1%}",
        f"{assessment.regret:.1%}",
        _split(tried, found.split is not None),
        "; ".join(_crossover(each) for each in assessment.crossovers),
    )


def _split(decision: Decision, is_taken: bool) -> str:
    split = decision.split
    if split is None:
        return ""
    parts: dict[str, list[str]] = {}
    for kind, phases in split.seats.items():
        for phase, who in phases.items():
            parts.setdefault(who.label, []).append(phase if kind == "full" else f"{kind} {phase}")
    who = ", ".join(f"{label} for {' '.join(names)}" for label, names in parts.items())
    said = "" if is_taken else ", not taken"
    return f"{who}: {split.gain:.1%} ±{split.bound:.1%} less, regret {split.regret:.1%}{said}"


def _crossover(found: Crossover) -> str:
    return (
        f"{found.axis}: {found.low.label} to {found.last_low}, {found.high.label} from"
        f" {found.first_high}: {found.gain:.1%} less"
    )


if __name__ == "__main__":
    main()
