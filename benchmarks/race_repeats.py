"""Gates and races a model's grids again and again on one GPU: seconds, and do the repeats agree?

python benchmarks/race_repeats.py llama-3.1-8b 10 > repeats.jsonl     # on the GPU
python benchmarks/race_repeats.py repeats.jsonl                       # the table, anywhere

Every variant of FlashAttention, FlashInfer and Triton; compiled and loaded before the clock starts.
"""

from __future__ import annotations

import json
import lzma
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from autotune.costs import Evidence
from autotune.field import Field, Measured
from autotune.models import ModelRequest, load_model
from autotune.plan import Plan, make_plan
from autotune.policy import Terms, Verdict, decide
from autotune.ranking import Candidate
from autotune.tuner import look_around
from autotune.wishes import Wishes
from kernels_bench.bench import Bench
from kernels_bench.devices import find_device
from kernels_bench.grid import Effort, Limits, make_grid

NOT_RACED = frozenset({"torch_sdpa", "torch_flex"})
STACK = ("nvidia-driver", "torch", "triton", "vllm", "flashinfer-python", "cuda")
CLEAR_GAP = 0.03
QUICK_REPEATS = 4


def main() -> None:
    if len(sys.argv) == 2:
        print_table([json.loads(line) for line in lines_of(Path(sys.argv[1]))])
        return
    model, repeats = sys.argv[1], int(sys.argv[2])
    with Bench() as bench:
        plans = make(model, bench)
        plan = plans["full"]
        started = time.perf_counter()
        course = Field(plan, bench)
        course.rehearse(plan.steps, None, lambda doing: print(doing, file=sys.stderr))
        ready_s = time.perf_counter() - started
        situation = plan.situation
        print(
            json.dumps(
                {
                    "model": model,
                    "device": situation.found.device.name,
                    "stack": {
                        name: situation.stack[name] for name in STACK if name in situation.stack
                    },
                    "ready_s": ready_s,
                }
            )
        )
        for repeat in range(repeats):
            for effort, plan in plans.items():
                if effort == "quick" and repeat >= QUICK_REPEATS:
                    continue
                for row in run_once(plan, bench):
                    place = {"repeat": repeat, "effort": effort}
                    print(json.dumps(place | row), flush=True)


def lines_of(file: Path) -> list[str]:
    data = file.read_bytes()
    return (lzma.decompress(data) if file.suffix == ".xz" else data).decode().splitlines()


def make(model: str, bench: Bench) -> dict[Effort, Plan]:
    config = load_model(ModelRequest(model))
    situation = look_around(config, find_device("cuda:0"), Wishes("any", NOT_RACED), bench)
    device, limits = situation.found.device, Limits(config.max_model_len)
    efforts: tuple[Effort, ...] = ("full", "quick")
    return {
        effort: make_plan(situation, make_grid(device, config.specs, limits, effort))
        for effort in efforts
    }


def run_once(plan: Plan, bench: Bench) -> Iterator[dict[str, Any]]:
    """A new field, so that everybody is examined again."""
    course = Field(plan, bench)
    for step in plan.steps:
        started = time.perf_counter()
        found = course.measure(step, None, lambda _: None)
        seconds = time.perf_counter() - started
        assert isinstance(found, Measured), found
        evidence = [
            Evidence(
                step.kind,
                step.spec.num_layers,
                step.workload.text,
                step.workload.phase,
                Candidate(answer.backend, answer.variant.name, answer.pages),
                outcome,
            )
            for answer, outcome in zip(found.answers, found.outcomes, strict=True)
        ]
        verdict = decide(evidence, Terms({step.workload.text: 1.0}, plan.order))
        assert isinstance(verdict, Verdict), verdict
        yield {
            "workload": step.workload.text,
            "seconds": seconds,
            "winner": verdict.winner.candidate.label,
            "default": verdict.incumbent.label,
            "scores": {each.candidate.label: each.score for each in verdict.ranking},
            "outcomes": {
                item.candidate.label: asdict(item.outcome)
                | {"outcome": type(item.outcome).__name__.lower()}
                for item in evidence
            },
        }


@dataclass(frozen=True)
class Repeat:
    """One workload in one repeat."""

    winner: str
    default: str
    scores: dict[str, float]
    """Label -> cost over the default's."""
    outcomes: dict[str, dict[str, Any]]

    @property
    def us(self) -> dict[str, float]:
        """Label -> time of a layer, the fastest first."""
        times = {k: o["gpu_us"] for k, o in self.outcomes.items() if o["outcome"] == "timed"}
        return dict(sorted(times.items(), key=lambda item: item[1]))

    @property
    def gap(self) -> float:
        """Between the two that cost least, of their cost."""
        costs = sorted(self.scores.values())
        return costs[1] / costs[0] - 1 if len(costs) > 1 else 0.0


def print_table(rows: list[dict[str, Any]]) -> None:
    head, *rows = rows
    print_head(head, rows)
    by_workload: dict[str, list[Repeat]] = {}
    for row in rows:
        if row["effort"] == "quick":  # its workloads are among the others
            continue
        repeat = Repeat(row["winner"], row["default"], row["scores"], row["outcomes"])
        by_workload.setdefault(row["workload"], []).append(repeat)
    print(f"\n{agreement(by_workload.values())}\n")
    print("| workload | winner of each repeat | gap | us, median | spread | rounds | floor |")
    print("|---|---|---|---|---|---|---|")
    for workload, repeats in by_workload.items():
        print(f"| `{workload}` | {' | '.join(cells(repeats))} |")
    for line in others(by_workload):
        print(line)


def print_head(head: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    versions = ", ".join(f"{name} {version}" for name, version in head["stack"].items())
    totals: dict[str, dict[int, float]] = {"full": {}, "quick": {}}
    for row in rows:
        of_repeat = totals[row["effort"]]
        of_repeat[row["repeat"]] = of_repeat.get(row["repeat"], 0.0) + row["seconds"]
    count = len(totals["full"])
    print(f"{head['device']}; {versions}. {head['model']}, {count} repeats in one process.\n")
    print(
        f"Gate and race of the full grid: {spread(totals['full'].values())}; of the quick one:"
        f" {spread(totals['quick'].values())}. Compiling and loading: {head['ready_s']:.0f} s."
    )


def spread(seconds: Iterable[float]) -> str:
    ordered = sorted(seconds)
    return f"{median(ordered):.1f} s ({ordered[0]:.1f} to {ordered[-1]:.1f})"


def agreement(workloads: Iterable[list[Repeat]]) -> str:
    """How often the repeats agree, and whether one promoted whom another found slower."""
    clear = same_clear = same = contradicted = total = 0
    for repeats in workloads:
        total += 1
        is_same = len({each.winner for each in repeats}) == 1
        is_clear = median(each.gap for each in repeats) > CLEAR_GAP
        same += is_same
        clear += is_clear
        same_clear += is_clear and is_same
        promoted = {each.winner for each in repeats if each.winner != each.default}
        contradicted += any(
            each.scores.get(label, 0.0) > 1.0 for label in promoted for each in repeats
        )
    return (
        f"The same winner in all repeats on {same} of {total} workloads; where the median gap of"
        f" the two that cost least is above {CLEAR_GAP:.0%}, on {same_clear} of {clear}. Workloads"
        f" on which one repeat promoted whom another found slower than the default: {contradicted}."
    )


def cells(repeats: list[Repeat]) -> list[str]:
    wins: dict[str, int] = {}
    for each in repeats:
        wins[each.winner] = wins.get(each.winner, 0) + 1
    told = ", ".join(f"{label} {count}" for label, count in wins.items())
    first = next(iter(wins))
    own = sorted(each.us[first] for each in repeats if first in each.us)
    rounds = [len(each.outcomes[first]["rounds_us"]) for each in repeats if first in each.us]
    floors = [each.outcomes[first]["floor_fraction"] for each in repeats if first in each.us]
    gaps = [each.gap for each in repeats]
    return [
        told,
        f"{median(gaps):.1%}",
        f"{median(own):.1f}",
        f"{own[-1] / own[0] - 1:.1%}",
        f"{min(rounds)} to {max(rounds)}",
        f"{median(floors):.0%}",
    ]


def others(by_workload: dict[str, list[Repeat]]) -> Iterator[str]:
    """Whoever has no time, and how often a round was thrown away."""
    for workload, repeats in by_workload.items():
        told: dict[str, int] = {}
        for each in repeats:
            for label, outcome in each.outcomes.items():
                if outcome["outcome"] != "timed":
                    said = outcome.get("message") or f"{outcome['check']} {outcome['error']:.3g}"
                    key = f"{label}: {outcome['outcome']}: {said}"
                    told[key] = told.get(key, 0) + 1
        for key, count in told.items():
            yield f"\n`{workload}`, {key} ({count} of {len(repeats)})"
    drifts = [
        abs(after / before - 1)
        for repeats in by_workload.values()
        for one, two in pairwise(repeats)
        for label, before in one.us.items()
        if (after := two.us.get(label)) is not None
    ]
    most = sorted(drifts)[len(drifts) * 99 // 100]
    yield (
        f"\nOne candidate's time in two repeats that follow each other: {median(drifts):.2%} apart"
        f" (median of {len(drifts)}), 99 of 100 within {most:.1%}."
    )


if __name__ == "__main__":
    main()
