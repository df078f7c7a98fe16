"""Tunes one model twice from an empty cache and prints both runs as a markdown table.

    python benchmarks/warm_table.py --model llama-3.1-8b --device cpu --effort full

Two runs, because one says nothing about how far its numbers can be trusted.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Cells = dict[tuple[str, str], dict[str, str]]
"""(kind of layer, workload) -> candidate -> cell."""


@dataclass(frozen=True)
class Run:
    decision: dict[str, Any]
    measured: int
    elapsed_s: float
    cells: Cells
    versions: dict[str, str | None]


def main() -> None:
    arguments = sys.argv[1:]
    runs = [tune(arguments), tune(arguments)]
    first = runs[0].decision
    device = first["device"]
    print(
        f"`python benchmarks/warm_table.py {' '.join(arguments)}`, {first['measured_at'][:10]}.\n"
    )
    cores = f"{device['multiprocessors']} cores or multiprocessors"
    versions = ", ".join(f"{name} {version}" for name, version in runs[0].versions.items())
    print(f"{device['name']}, {device['arch']}, {cores}; {versions}.\n")
    print("Time of one layer, ± the robust spread of the ratios to the incumbent; two runs.\n")
    print_table(runs)
    for number, run in enumerate(runs, 1):
        print(f"\nRun {number}: {run.measured} outcomes in {run.elapsed_s:.0f} s.")
        print(f"{run.decision['why']}.")


def tune(arguments: list[str]) -> Run:
    with tempfile.TemporaryDirectory() as folder:
        cache = ("--cache", str(Path(folder) / "autotune.db"), "--json")
        warm = autotune("warm", *arguments, *cache)
        shown = autotune("cache", "show", "1", *cache)
    cells: Cells = {}
    for row in shown["measurements"]:
        if "workload" in row:
            where = (kind(row["spec_key"]), row["workload"])
            cells.setdefault(where, {})[f"{row['backend']} {row['variant']}"] = cell(row)
    (decision,) = warm["decisions"]
    return Run(decision, warm["measured"], warm["elapsed_s"], cells, shown["versions"])


def autotune(*arguments: str) -> Any:
    command = [sys.executable, "-m", "autotune", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def kind(spec_key: str) -> str:
    spec = json.loads(spec_key)
    return next((name for name in ("sliding_window", "attention_chunk") if name in spec), "full")


def cell(row: dict[str, Any]) -> str:
    if row["outcome"] != "timed":
        return str(row["outcome"])
    return (
        f"{row['gpu_us'] / 1e3:.3g} ms ±{row['noise']:.1%} ({row['floor_fraction']:.0%} of floor)"
    )


def print_table(runs: list[Run]) -> None:
    candidates = list(dict.fromkeys(name for row in runs[0].cells.values() for name in row))
    print(f"| layers | workload | {' | '.join(candidates)} |")
    print(f"|---|---|{'---|' * len(candidates)}")
    for where, row in runs[0].cells.items():
        again = runs[1].cells.get(where, {})
        both = [f"{row.get(name, '')}<br>{again.get(name, '')}" for name in candidates]
        print(f"| {where[0]} | `{where[1]}` | {' | '.join(both)} |")


if __name__ == "__main__":
    main()
