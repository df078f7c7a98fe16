"""Tables of what `engine.py` wrote: engine time by load and backend, cost of attention, drift.

python benchmarks/engine_table.py RAW.jsonl.xz... [--costs COSTS.json] [--trace MODEL=TRACE]...

A file is compared with the default's runs in it. COSTS is {model: {load: {arm: cost}}}, the
default's being 1: what `autotune explain --json` says for the profile of the load. A trace's first
line of a load is the default's.
"""

from __future__ import annotations

import argparse
import json
import lzma
import statistics
import sys
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from autotune.confirmation import Side, compare
from autotune.engine_loads import Load, parse_load
from autotune.engine_messages import EngineRun, Sample, Scores, Started

_ATTENTION = (
    "flash::", "unified_attention", "reduce_segments", "flashinfer::",
)  # fmt: skip


def lines_of(path: str) -> list[dict[str, Any]]:
    data = Path(path).read_bytes()
    text = (lzma.decompress(data) if path.endswith(".xz") else data).decode()
    return [json.loads(line) for line in text.splitlines()]


def run_of(line: dict[str, Any]) -> EngineRun:
    started = line["started"]
    scores = line["scores"]
    return EngineRun(
        line["import_s"],
        None if started is None else Started(**started | {"backends": tuple(started["backends"])}),
        None if scores is None else Scores(**scores),
        tuple(Sample(**sample) for sample in line["samples"]),
        line["peak_bytes"],
        line["failure"],
    )


def sides_of(lines: Iterable[dict[str, Any]]) -> dict[str, Side]:
    return {line["arm"]: Side(line["arm"], (run_of(line),)) for line in lines}


def print_model(lines: Sequence[dict[str, Any]], costs: dict[str, Any]) -> None:
    """Everybody in one file who ran a model."""
    model, file, sides = lines[0]["model"], lines[0]["file"], sides_of(lines)
    default, by_arm = sides["default"], {line["arm"]: line for line in lines}
    loads = [parse_load(text) for text in dict.fromkeys(s.load for s in default.runs[0].samples)]
    say(f"\n## {model} (`{file}`)\n")
    say(
        "| load | backend | n | s, median (least to most) | tokens/s | of default | 99 % |"
        " TTFT ms | between tokens ms | J | MHz (tenth to ninetieth percentile) | W |"
    )
    say("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for load in loads:
        found: list[tuple[float, float]] = []
        for arm, side in sides.items():
            samples = side.samples(load)
            if not samples:
                continue
            cost = costs.get(load.text, {}).get(arm)
            if cost is not None:
                found.append((cost, statistics.median(s.wall_s for s in samples)))
            gauged = gauge_text(by_arm[arm], load)
            say(f"{row_of(load, arm, samples, default, side, cost)} {gauged} |")
        if len(found) > 2:
            say(
                f"| {load.text} | rank correlation of J and s | {rank_correlation(found):.2f} |"
                + " |" * 9
            )
    say("\n| backend | start s | KV tokens | peak GiB | drift: mean, most | same likeliest token |")
    say("|---|---|---|---|---|---|")
    for arm, side in sides.items():
        say(start_of(arm, side, default))


def row_of(
    load: Load, arm: str, samples: Sequence[Sample], default: Side, side: Side, cost: float | None
) -> str:
    walls = [sample.wall_s for sample in samples]
    rates, ttft, tbt = (
        statistics.median(getattr(sample, what) for sample in samples)
        for what in ("tokens_per_s", "ttft_ms", "tbt_ms")
    )
    (speedup,) = compare(default, side, [load]).speedups
    ratio = "" if speedup is None or arm == "default" else f"{speedup.ratio:.3f}"
    bound = "" if speedup is None or arm == "default" else f"±{speedup.bound:.3f}"
    spread = f"{statistics.median(walls):.2f} ({min(walls):.2f} to {max(walls):.2f})"
    told = "" if cost is None else f"{cost:.3f}"
    return (
        f"| {load.text} | {arm} | {len(walls)} | {spread} | {rates:.0f} | {ratio} | {bound}"
        f" | {ttft:.0f} | {tbt:.2f} | {told} |"
    )


def gauge_text(line: dict[str, Any], load: Load) -> str:
    """Of a line's repeats of a load; empty where nobody looked."""
    pairs = zip(line["samples"], line.get("gauges", []), strict=False)
    found = [gauge for sample, gauge in pairs if sample["load"] == load.text and gauge is not None]
    if not found:
        return " | "
    mhz, low, high, power_w = (
        statistics.median(gauge[what] for gauge in found)
        for what in ("clock_mhz", "clock_low_mhz", "clock_high_mhz", "power_w")
    )
    return f"{mhz:.0f} ({low:.0f} to {high:.0f}) | {power_w:.0f}"


def start_of(arm: str, side: Side, default: Side) -> str:
    (run,) = side.runs
    if run.started is None:
        return f"| {arm} | not recorded | | | | |"
    drift = compare(default, side, []).drift
    told = " | " if drift is None else f"{drift.mean:.3f}, {drift.largest:.2f} | "
    same = "" if drift is None else f"{drift.top1_agreement:.1%}"
    return (
        f"| {arm} | {run.started.start_s:.0f} | {run.started.kv_tokens:,}"
        f" | {run.peak_bytes / 2**30:.1f} | {told}{same} |"
    )


def rank_correlation(pairs: Sequence[tuple[float, float]]) -> float:
    """Spearman's; equal values share their rank."""
    first, second = (_ranks([pair[i] for pair in pairs]) for i in (0, 1))
    return statistics.correlation(first, second)


def _ranks(values: Sequence[float]) -> list[float]:
    ordered = sorted(values)
    return [ordered.index(v) + (ordered.count(v) - 1) / 2 for v in values]


def print_predictions(
    lines: Sequence[dict[str, Any]],
    costs: dict[str, Any],
    traces: dict[str, list[dict[str, Any]]],
) -> None:
    """Attention's share of the default's device time, times what J says of attention."""
    say("\n| model | load | backend | attention's share | J | engine time: predicted | measured |")
    say("|---|---|---|---|---|---|---|")
    for _, group in groupby(lines, lambda line: (line["file"], line["model"])):
        own = [*group]
        model, sides = own[0]["model"], sides_of(own)
        first: dict[str, dict[str, Any]] = {}
        for line in traces.get(model, []):
            first.setdefault(line["load"], line)
        for text, line in first.items():
            attention, other = device_ms(line)
            share = attention / (attention + other)
            for arm, side in sides.items():
                cost = costs.get(model, {}).get(text, {}).get(arm)
                (speedup,) = compare(sides["default"], side, [parse_load(text)]).speedups
                if arm == "default" or cost is None or speedup is None:
                    continue
                took, bound = 1 / speedup.ratio - 1, speedup.bound / speedup.ratio**2
                say(
                    f"| {model} | {text} | {arm} | {share:.1%} | {cost:.3f} |"
                    f" {share * (cost - 1):+.1%} | {took:+.1%} ±{bound:.1%} |"
                )


def device_ms(line: dict[str, Any]) -> tuple[float, float]:
    """Of attention, and of all else."""
    attention = sum(us for name, us, _ in line["kernels"] if is_attention(name)) / 1e3
    every = (sum(us for _, us, _ in line["kernels"]) + line["other_us"]) / 1e3
    return attention, every - attention


def print_traces(traces: dict[str, list[dict[str, Any]]]) -> None:
    """Where the device's time went; a line's backend is that of its builder."""
    say(
        "\n| model | traced | builder of | wall s | device idle | attention ms | other kernels ms |"
        " builds: n, host ms each |"
    )
    say("|---|---|---|---|---|---|---|---|")
    for model, lines in traces.items():
        for line in lines:
            ((who, (count, seconds)),) = line["builders"].items()
            attention, other = device_ms(line)
            idle = 1 - line["busy_us"] / line["span_us"]
            say(
                f"| {model} | {line['traced']} | {who.removesuffix('MetadataBuilder')} |"
                f" {line['wall_s']:.2f} | {idle:.0%} | {attention:.0f} | {other:.0f} |"
                f" {count}, {1e3 * seconds / count:.3f} |"
            )


def is_attention(kernel: str) -> bool:
    return any(word in kernel for word in _ATTENTION)


def say(text: str) -> None:
    sys.stdout.write(text + "\n")


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("raw", nargs="+")
    asked.add_argument("--costs")
    asked.add_argument("--trace", action="append", default=[])
    given = asked.parse_args()
    traces = {model: lines_of(path) for model, _, path in (t.partition("=") for t in given.trace)}
    costs = json.loads(Path(given.costs).read_text()) if given.costs else {}
    lines = [
        line | {"file": Path(path).name.partition(".")[0]}
        for path in given.raw
        for line in lines_of(path)
    ]
    for (_, model), own in groupby(lines, lambda line: (line["file"], line["model"])):
        print_model([*own], costs.get(model, {}))
    print_predictions(lines, costs, traces)
    print_traces(traces)


if __name__ == "__main__":
    main()
