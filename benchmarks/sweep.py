"""Holds every `yes` and every `no` of the capability checks against what the kernels do here.

    python benchmarks/sweep.py --out sweep.jsonl [--side-by-side 8] [--only NAME ...]
    python benchmarks/sweep.py --table sweep.jsonl

A yes must pass the trial of its phase. A no is forced, and must then fail or be wrong; one that
names what is not here (a package, another device) cannot be forced, and counts apart.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from sweep_cases import FLASHINFER, LONGEST, SPECS

from kernels_bench.bench import Bench
from kernels_bench.candidates import Answer
from kernels_bench.devices import FoundDevice, find_device
from kernels_bench.messages import AskAll, Examination, Examined, Finished, Passed, Task
from kernels_bench.patience import Patience
from kernels_bench.rules import Rules
from kernels_bench.spec import AttentionSpec, Failed, Phase, Wrong
from kernels_bench.stack import full_stack
from kernels_bench.workload import parse_workload

NOT_HERE = frozenset({"package", "arch", "device", "torch", "mla"})
"""Reasons that no call here can contradict."""
BY_DEFINITION = frozenset({"batch_invariant", "attention_type"})
"""Reasons that the trial does not ask about: it wants right numbers, not equal bits, and does not
know who asks. Equal bits are `sweep_invariance.py`'s. That an encoder only prefills is one too."""
OF_ENGINES = frozenset({("vllm_triton", "head_dim")})
"""Reasons that are the engine's own check, whatever its kernel could: vLLM's TRITON_ATTN takes no
heads under 32."""
RULES = Rules(min_rounds=2, max_rounds=2, block_us=100.0, max_calls=4, seconds=1.0)
FORCED_IN = (Phase.PREFILL, Phase.DECODE)
PATIENCE = Patience(hang_s=300.0)  # what compiles does so in silence here


@dataclass(frozen=True)
class Case:
    """One question and both answers."""

    spec: str
    backend: str
    variant: str
    phase: str
    reasons: tuple[tuple[str, str], ...]
    """Field and text; none is a yes."""
    did: str
    """passed, wrong, failed, or why it was not run."""
    said: str = ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--side-by-side", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=list(SPECS))
    parser.add_argument("--phases", nargs="*", default=[phase.value for phase in Phase])
    parser.add_argument("--backends", nargs="*")
    args = parser.parse_args()
    if args.table is not None:
        cases = [Case(**json.loads(line)) for line in args.table.read_text().splitlines()]
        print(table(cases))
        return 0
    found = find_device(args.device)
    phases = tuple(map(Phase, args.phases))
    lock = threading.Lock()
    with args.out.open("w") as file, ThreadPoolExecutor(args.side_by_side) as pool:

        def sweep(name: str) -> None:
            for case in cases_of(found, name, phases, args.backends):
                with lock:
                    file.write(json.dumps(asdict(case)) + "\n")
                    file.flush()
            print(f"{name}: done", file=sys.stderr, flush=True)

        for future in [pool.submit(sweep, name) for name in args.only]:
            future.result()
    return 0


def cases_of(
    found: FoundDevice, name: str, phases: tuple[Phase, ...], backends: list[str] | None
) -> Iterator[Case]:
    """Every variant in every phase, on a layer."""
    spec = SPECS[name]
    with Bench(PATIENCE) as bench:
        asked = AskAll(found.device, full_stack(found), (spec,), phases)
        answers = bench.survey(asked).answers
        for phase in phases:
            mine = [a for a in answers if a.phase is phase]
            if backends is not None:
                mine = [answer for answer in mine if answer.backend in backends]
            runs = [answer for answer in mine if not why_not_run(name, answer)]
            for answer in mine:
                if answer not in runs:
                    yield case_of(name, answer, why_not_run(name, answer))
            yield from examined(bench, found, name, spec, phase, runs)


def why_not_run(name: str, answer: Answer) -> str:
    fields = {reason.field for reason in answer.support.reasons}
    if answer.backend == "flashinfer" and answer.variant.name not in FLASHINFER.get(name, ()):
        return "not run: its kernel was not compiled"
    if fields & NOT_HERE:
        return "not run: not here"
    is_by_definition = answer.spec.attention_type == "encoder_only" and fields == {"phase"}
    if {(answer.backend, field) for field in fields} & OF_ENGINES:
        return "not run: the engine's own limit"
    if fields & BY_DEFINITION or is_by_definition:
        return "not run: no question of the trial"
    if fields and answer.phase not in FORCED_IN:
        return f"not run: forced in {' and '.join(phase.value for phase in FORCED_IN)} alone"
    return ""


def examined(
    bench: Bench,
    found: FoundDevice,
    name: str,
    spec: AttentionSpec,
    phase: Phase,
    runs: list[Answer],
) -> Iterator[Case]:
    ask = partial(Examination, found.device, found.selector, spec, phase, LONGEST)
    hit = [a for a in runs if any(reason.field == "defect" for reason in a.support.reasons)]
    runs = [answer for answer in runs if answer not in hit]
    yield from forced_on_a_long_prompt(bench, found, name, spec, hit)
    # Whoever is forced may leave the device unusable: the others first.
    for group in ([a for a in runs if a.support], [a for a in runs if not a.support]):
        if not group:
            continue
        answered = bench.examine(ask(tuple(answer.entrant for answer in group)))
        if not isinstance(answered, Examined):
            for answer in group:
                yield case_of(name, answer, "not run: no inputs", str(answered))
            continue
        for answer, outcome in zip(group, answered.outcomes, strict=True):
            match outcome:
                case Passed():
                    yield case_of(name, answer, "passed")
                case Wrong(check, error, allowed):
                    told = f"{check}: {error:.3g}, allowed {allowed:.3g}"
                    yield case_of(name, answer, "wrong", told)
                case Failed(kind, message):
                    yield case_of(name, answer, "failed", f"{kind}: {message}")


def forced_on_a_long_prompt(
    bench: Bench, found: FoundDevice, name: str, spec: AttentionSpec, hit: list[Answer]
) -> Iterator[Case]:
    """Of a window that is longer than the prompts of a trial."""
    for answer in hit:
        prompt = parse_workload(f"q{2 * (spec.sliding_window or 0)}")
        task = Task(found.device, found.selector, spec, prompt, LONGEST, (answer.entrant,), RULES)
        match bench.measure(task):
            case Finished((Wrong(check, error, allowed),)):
                told = f"{check}: {error:.3g}, allowed {allowed:.3g}"
                yield case_of(name, answer, "wrong", told)
            case Finished((Failed(kind, message),)):
                yield case_of(name, answer, "failed", f"{kind}: {message}")
            case Finished():
                yield case_of(name, answer, "passed")
            case other:
                yield case_of(name, answer, "not run: no inputs", str(other))


def case_of(name: str, answer: Answer, did: str, said: str = "") -> Case:
    reasons = tuple((reason.field, reason.text) for reason in answer.support.reasons)
    return Case(name, answer.backend, answer.variant.name, answer.phase.value, reasons, did, said)


def table(cases: Iterable[Case]) -> str:
    """Counts by variant, then every disagreement."""
    cases = list(cases)
    variants = dict.fromkeys(f"{case.backend}:{case.variant}" for case in cases)
    lines = [
        "| variant | yes, passed | yes, not | no, right | no, passed | not run |",
        "|---|---|---|---|---|---|",
    ]
    for label in (*variants, "all"):
        mine = [c for c in cases if label in ("all", f"{c.backend}:{c.variant}")]
        yes = [case for case in mine if not case.reasons and not case.did.startswith("not run")]
        no = [case for case in mine if case.reasons and not case.did.startswith("not run")]
        cells = (
            sum(case.did == "passed" for case in yes),
            sum(case.did != "passed" for case in yes),
            sum(case.did != "passed" for case in no),
            sum(case.did == "passed" for case in no),
            len(mine) - len(yes) - len(no),
        )
        lines.append(f"| {label} | {' | '.join(map(str, cells))} |")
    return "\n".join([*lines, "", *disagreements(cases)])


def disagreements(cases: Iterable[Case]) -> Iterator[str]:
    for case in cases:
        who = f"{case.backend}:{case.variant} {case.spec} {case.phase}"
        if not case.reasons and case.did in ("wrong", "failed"):
            yield f"- yes, but {case.did}: {who}: {case.said[:300]}"
        if case.reasons and case.did == "passed":
            told = "; ".join(text for _, text in case.reasons)
            yield f"- no, but passed: {who}: {told}"


if __name__ == "__main__":
    sys.exit(main())
