"""Puts runs of the sweep together: of each case the newest, with what the checks say of it today.

    python benchmarks/sweep_merge.py --stack stack.json OLDEST.jsonl ... NEWEST.jsonl > sweep.jsonl

A sweep finds what to mend, and a whole one takes ten minutes of a GPU: what was mended ran again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

from sweep import Case
from sweep_cases import SPECS

from kernels_bench.backends import find_backend
from kernels_bench.backends.base import Backend
from kernels_bench.candidates import ask
from kernels_bench.spec import Device, Phase, Stack

H200 = Device("cuda", "NVIDIA H200", "sm_90", 132, 150754820096, 62914560)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--stack", type=Path, required=True)
    args = parser.parse_args()
    stack: Stack = json.loads(args.stack.read_text())
    newest = {
        (case.spec, case.backend, case.variant, case.phase): case
        for file in args.files
        for case in read(file)
        if case.spec in SPECS
    }
    for case in newest.values():
        print(json.dumps(asdict(asked_again(case, stack))))
    return 0


def read(file: Path) -> Iterator[Case]:
    for line in file.read_text().splitlines():
        yield Case(**json.loads(line))


def asked_again(case: Case, stack: Stack) -> Case:
    """The case with the reasons of today."""
    backend, spec, phase = find_backend(case.backend), SPECS[case.spec], Phase(case.phase)
    assert isinstance(backend, Backend)
    variants = {each.name: each for each in backend.variants(H200, spec, stack)}
    support = ask(backend, variants[case.variant], H200, spec, phase, stack).support
    reasons = tuple((reason.field, reason.text) for reason in support.reasons)
    return replace(case, reasons=reasons)


if __name__ == "__main__":
    sys.exit(main())
