"""Prints what one or two runs of `autotune warm` measured, as markdown.

    python benchmarks/warm_table.py --model llama-3.1-8b --device cpu --effort full
    python benchmarks/warm_table.py first.db second.db.xz

The first form tunes twice from an empty cache; the second reads the files that two runs left, with
whatever they hold, packed or not. Two runs, because one says nothing about how far its numbers can
be trusted.
"""

from __future__ import annotations

import json
import lzma
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from autotune.keys import spec_keys_of

CLEAR_GAP = 0.03
"""Where the second is this far behind, two runs must agree on the fastest."""

TWINS = {
    "decode": ("flashinfer vllm", "flashinfer decode-tc"),
    "prefill": ("flashinfer vllm", "flashinfer fa3"),
    "extend": ("flashinfer vllm", "flashinfer fa3"),
}
"""Phase -> two names of one kernel, called alike: what lies between their times is error."""

Where = tuple[str, str]
"""Kind of layer and workload."""
Row = dict[str, sqlite3.Row]
"""Candidate -> its measurement."""


@dataclass
class Run:
    """One model in one file."""

    model: str
    why: str = "no decision: the run ended before its last workload"
    rows: dict[Where, Row] = field(default_factory=dict)


def main() -> None:
    arguments = sys.argv[1:]
    given = [Path(each) for each in arguments]
    with tempfile.TemporaryDirectory() as folder:
        if given and all(file.is_file() for file in given):
            print_files([unpacked(file, Path(folder)) for file in given])
            return
        print(f"`python benchmarks/warm_table.py {' '.join(arguments)}`\n")
        files = [Path(folder) / f"run{number}.db" for number in (1, 2)]
        for file in files:
            warm = [sys.executable, "-m", "autotune", "warm", *arguments, "--cache", str(file)]
            subprocess.run(warm, stdout=subprocess.DEVNULL, check=True)
        print_files(files)


def unpacked(file: Path, folder: Path) -> Path:
    if file.suffix != ".xz":
        return file
    database = folder / file.stem
    database.write_bytes(lzma.decompress(file.read_bytes()))
    return database


def print_files(files: list[Path]) -> None:
    runs = [load(file) for file in files]
    first, *others = runs
    print_conditions(files[0])
    print_twins([row for models in runs for run in models.values() for row in run.rows.values()])
    for model, run in first.items():
        again = next((other[model] for other in others if model in other), None)
        print_run(run, again)


def load(file: Path) -> dict[str, Run]:
    """The models of a file, in the order in which they were tuned."""
    runs: dict[str, Run] = {}
    with closing(opened(file)) as database:
        for model in database.execute("SELECT * FROM models ORDER BY id"):
            ranks = f", a rank of {model['tensor_parallel']}"
            name = model["name"] + (ranks if model["tensor_parallel"] > 1 else "")
            run = runs[name] = Run(name)
            decisions = "SELECT why FROM decisions WHERE model_fingerprint = ? ORDER BY id"
            for (why,) in database.execute(decisions, [model["fingerprint"]]):
                run.why = why
            for where, candidate, row in measured(database, model["fingerprint"]):
                run.rows.setdefault(where, {})[candidate] = row
    return runs


def opened(file: Path) -> sqlite3.Connection:
    database = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    database.row_factory = sqlite3.Row
    return database


def measured(
    database: sqlite3.Connection, fingerprint: str
) -> Iterator[tuple[Where, str, sqlite3.Row]]:
    for key in spec_keys_of(fingerprint):
        spec = json.loads(key)
        kind = next((k for k in ("sliding_window", "attention_chunk") if k in spec), "full")
        rows = "SELECT * FROM measurements WHERE spec_key = ? AND workload NOTNULL ORDER BY id"
        for row in database.execute(rows, [key]):
            yield (kind, row["workload"]), f"{row['backend']} {row['variant']}", row


def print_conditions(file: Path) -> None:
    with closing(opened(file)) as database:
        (device,) = database.execute("SELECT * FROM devices")
        rows = database.execute("SELECT * FROM measurements WHERE workload NOTNULL").fetchall()
    versions = {
        name: version
        for row in rows
        for name, version in json.loads(row["versions"]).items()
        if version is not None
    }
    told = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    units = f"{device['multiprocessors']} cores or multiprocessors"
    days = sorted({row["created_at"][:10] for row in rows})
    print(f"{device['name']}, {device['arch']}, {units}; {told}.")
    print(f"{', '.join(days)}, method {rows[0]['method']}.")


def print_twins(rows: list[Row]) -> None:
    apart = sorted(gap for row in rows if (gap := twins_apart(row)) is not None)
    if apart:
        clear = sum(gap > CLEAR_GAP for gap in apart)
        print(
            f"\nOne kernel under two names, {len(apart)} times in all runs: {median(apart):.1%}"
            f" apart (median), above {CLEAR_GAP:.0%} in {clear}, at most {apart[-1]:.1%}."
        )


def twins_apart(row: Row) -> float | None:
    """How far the slower twin is behind; None where not both were timed."""
    times, phase = timed(row), next(iter(row.values()))["phase"]
    pair = [times[name] for name in TWINS.get(phase, ()) if name in times]
    return max(pair) / min(pair) - 1 if len(pair) == 2 else None


def print_run(first: Run, second: Run | None) -> None:
    print(f"\n## {first.model}\n")
    for number, run in enumerate(filter(None, (first, second)), 1):
        print(f"Run {number}: {run.why}.  ")
    if second is not None:
        print(f"\n{agreement(first, second)}")
    print("\nMicroseconds of one layer in run 1, ± the robust spread of paired ratios.\n")
    print_times(first, second)
    for where, row in first.rows.items():
        for name, found in row.items():
            if found["outcome"] != "timed":
                said = found["message"] or f"{found['failed_check']} {found['error']}"
                print(f"\n{' '.join(where)}, {name}: {found['outcome']}: {said}")


def timed(row: Row) -> dict[str, float]:
    """Candidate -> microseconds, the fastest first."""
    times = {name: found["gpu_us"] for name, found in row.items() if found["outcome"] == "timed"}
    return dict(sorted(times.items(), key=lambda item: item[1]))


def agreement(first: Run, second: Run) -> str:
    both = [where for where in first.rows if where in second.rows]
    same = clear = same_clear = 0
    for where in both:
        times, again = timed(first.rows[where]), timed(second.rows[where])
        (best, best_us), *others = times.items()
        is_same = next(iter(again), None) == best
        is_clear = bool(others) and others[0][1] > (1 + CLEAR_GAP) * best_us
        same += is_same
        clear += is_clear
        same_clear += is_same and is_clear
    return (
        f"Of {len(first.rows)} places run 2 measured {len(both)}; in {same} of them the fastest is"
        f" the same. Where run 1's gap to the second is above {CLEAR_GAP:.0%}: {same_clear} of"
        f" {clear}."
    )


def print_times(first: Run, second: Run | None) -> None:
    """The fastest of run 1 in bold; behind it what run 2 says of it, and who is fastest there."""
    candidates = list(dict.fromkeys(name for row in first.rows.values() for name in row))
    print(f"| layers | workload | {' | '.join(candidates)} | floor | run 2 |")
    print(f"|---|---|{'---|' * len(candidates)}---|---|")
    for where, row in first.rows.items():
        best = next(iter(timed(row)), None)
        cells = [cell(row.get(name), is_best=name == best) for name in candidates]
        floor = f"{row[best]['floor_fraction']:.0%}" if best else ""
        again = timed(second.rows.get(where, {})) if second is not None else {}
        fastest = next((f"{name} {us_text(us)}" for name, us in again.items()), "")
        print(f"| {where[0]} | `{where[1]}` | {' | '.join(cells)} | {floor} | {fastest} |")


def cell(row: sqlite3.Row | None, *, is_best: bool) -> str:
    if row is None:
        return ""
    if row["outcome"] != "timed":
        return str(row["failure"] or row["outcome"])
    text = f"{us_text(row['gpu_us'])} ±{row['noise']:.1%}"
    return f"**{text}**" if is_best else text


def us_text(microseconds: float) -> str:
    return f"{microseconds:.1f}" if microseconds < 100 else f"{microseconds:,.0f}"


if __name__ == "__main__":
    main()
