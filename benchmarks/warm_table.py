"""Prints two independent runs of `autotune warm` side by side, as markdown.

    python benchmarks/warm_table.py --model llama-3.1-8b --device cpu --effort full
    python benchmarks/warm_table.py first.db second.db

The first form tunes twice from an empty cache; the second reads what two runs left, every decision
in turn. Two runs, because one says nothing about how far its numbers can be trusted.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CLEAR_GAP = 0.03
"""Where the second is this far behind, two runs must agree on the fastest."""

Where = tuple[str, str]
"""Kind of layer and workload."""
Rows = dict[Where, dict[str, dict[str, Any]]]
"""Candidate -> its measurement, by place."""


@dataclass(frozen=True)
class Run:
    decision: dict[str, Any]
    rows: Rows


def main() -> None:
    arguments = sys.argv[1:]
    if len(arguments) == 2 and all(Path(each).is_file() for each in arguments):
        print_files([Path(each) for each in arguments])
        return
    print(f"`python benchmarks/warm_table.py {' '.join(arguments)}`\n")
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"run{number}.db" for number in (1, 2)]
        for file in files:
            autotune("warm", *arguments, "--cache", str(file))
        print_files(files)


def autotune(*arguments: str) -> Any:
    command = [sys.executable, "-m", "autotune", *arguments, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def print_files(files: list[Path]) -> None:
    first, second = (load(file) for file in files)
    device = next(iter(first.values())).decision["device"]
    units = f"{device['multiprocessors']} cores or multiprocessors"
    print(f"{device['name']}, {device['arch']}, {units}.")
    for question, run in first.items():
        print_decision(run, second[question])


def load(file: Path) -> dict[str, Run]:
    runs = {}
    for listed in reversed(autotune("cache", "ls", "--cache", str(file))["decisions"]):
        shown = autotune("cache", "show", str(listed["id"]), "--cache", str(file))
        rows: Rows = {}
        for row in shown["measurements"]:
            if "workload" in row:
                where = (kind(row["spec_key"]), row["workload"])
                rows.setdefault(where, {})[f"{row['backend']} {row['variant']}"] = row
        runs[shown["model"]] = Run(shown, rows)
    return runs


def kind(spec_key: str) -> str:
    spec = json.loads(spec_key)
    return next((name for name in ("sliding_window", "attention_chunk") if name in spec), "full")


def print_decision(first: Run, second: Run) -> None:
    shown = first.decision
    versions = ", ".join(
        f"{name} {version}" for name, version in shown["versions"].items() if version
    )
    print(f"\n## {shown['model']}\n")
    print(f"{shown['measured_at'][:10]}, method {shown['method']}; {versions}.\n")
    for number, run in enumerate((first, second), 1):
        print(f"Run {number}: {run.decision['why']}.  ")
    print(f"\n{agreement(first.rows, second.rows)}\n")
    print_times(first.rows, second.rows)
    print_others(first.rows)


def timed(row: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Candidate -> microseconds, the fastest first."""
    times = {name: cell["gpu_us"] for name, cell in row.items() if cell["outcome"] == "timed"}
    return dict(sorted(times.items(), key=lambda item: item[1]))


def agreement(first: Rows, second: Rows) -> str:
    same = clear = same_clear = 0
    for where, row in first.items():
        times, again = timed(row), timed(second.get(where, {}))
        (best, best_us), *others = times.items()
        is_same = next(iter(again), None) == best
        is_clear = bool(others) and others[0][1] > (1 + CLEAR_GAP) * best_us
        same += is_same
        clear += is_clear
        same_clear += is_same and is_clear
    return (
        f"The fastest is the same in both runs in {same} of {len(first)} places; where the first"
        f" run's gap to the second is above {CLEAR_GAP:.0%}, in {same_clear} of {clear}."
    )


def print_times(first: Rows, second: Rows) -> None:
    """Run 1, the fastest in bold; behind it run 2's fastest."""
    candidates = list(dict.fromkeys(name for row in first.values() for name in row))
    print(
        "Microseconds of one layer in run 1 (± the robust spread of the ratios to the default).\n"
    )
    print(f"| layers | workload | {' | '.join(candidates)} | floor | run 2 |")
    print(f"|---|---|{'---|' * len(candidates)}---|---|")
    for where, row in first.items():
        best = next(iter(timed(row)), None)
        cells = [cell(row.get(name), is_best=name == best) for name in candidates]
        floor = f"{row[best]['floor_fraction']:.0%}" if best else ""
        again = timed(second.get(where, {}))
        fastest = next((f"{name} {us_text(us)}" for name, us in again.items()), "")
        print(f"| {where[0]} | `{where[1]}` | {' | '.join(cells)} | {floor} | {fastest} |")


def cell(row: dict[str, Any] | None, *, is_best: bool) -> str:
    if row is None:
        return ""
    if row["outcome"] != "timed":
        return str(row.get("failure") or row["outcome"])
    text = f"{us_text(row['gpu_us'])} ±{row['noise']:.1%}"
    return f"**{text}**" if is_best else text


def us_text(microseconds: float) -> str:
    return f"{microseconds:.1f}" if microseconds < 100 else f"{microseconds:,.0f}"


def print_others(rows: Rows) -> None:
    for where, row in rows.items():
        for name, found in row.items():
            if found["outcome"] != "timed":
                said = found.get("message") or f"{found.get('check')} {found.get('error')}"
                print(f"\n{' '.join(where)}, {name}: {found['outcome']}: {said}")


if __name__ == "__main__":
    main()
