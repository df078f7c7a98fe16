"""Prints what `autotune bench --json` measured, as markdown, the first workload's fastest first.

autotune bench --model llama-3.1-8b --workload q1s512 --workload 8q1s1k --json > bench.json
python benchmarks/bench_table.py bench.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

Cells = dict[str, dict[str, Any]]
"""Workload -> outcome."""


def main() -> None:
    outcomes = json.loads(Path(sys.argv[1]).read_text())["outcomes"]
    workloads = list(dict.fromkeys(outcome["workload"] for outcome in outcomes))
    candidates: dict[str, Cells] = {}
    for outcome in outcomes:
        name = f"{outcome['backend']} {outcome['variant']}"
        candidates.setdefault(name, {})[outcome["workload"]] = outcome
    titles = [f"`{each}` | its call | its plan" for each in workloads]
    print(f"| candidate | {' | '.join(titles)} |")
    print(f"|---|{'---|---|---|' * len(workloads)}")
    for name, cells in sorted(candidates.items(), key=lambda item: key(item[1], workloads[0])):
        print(f"| {name} | {' | '.join(text(cells.get(each)) for each in workloads)} |")


def key(cells: Cells, workload: str) -> float:
    return float(cells.get(workload, {}).get("gpu_us", "inf"))


def text(outcome: dict[str, Any] | None) -> str:
    """Microseconds on the device, on the host for a call, and for a plan."""
    if outcome is None:
        return " | | "
    if outcome["outcome"] != "timed":
        return f"{outcome['outcome']} | | "
    times = (f"{outcome[name]:.1f}" for name in ("call_us", "plan_us"))
    return f"{outcome['gpu_us']:.1f} ±{outcome['noise']:.1%} | {' | '.join(times)}"


if __name__ == "__main__":
    main()
