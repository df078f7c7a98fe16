"""Holds what is said of batch invariance against the bits: a request alone, and among others.

    python benchmarks/sweep_invariance.py [--device cuda:0]

One line a variant: what it says, and in how many of the batches the request came out the same.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

import torch
from sweep_cases import FLASHINFER, LONGEST, PLAIN

from kernels_bench.backends import find_backends
from kernels_bench.backends.base import Backend
from kernels_bench.batch import Contents, make_batches, make_contents
from kernels_bench.devices import find_device
from kernels_bench.spec import Phase, Variant
from kernels_bench.stack import full_stack
from kernels_bench.workload import parse_workload

SPEC = replace(PLAIN, batch_invariant=True)
BATCHES = ("q1s3k_7q1s500", "q1s3k_63q1s1k", "q1s3k_255q1s200", "q1s700_3q40", "q600_q900_q1500")
"""The first request of each is looked at: among few, many and very many decodes, beside prompts,
and as a prompt itself."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--backends", nargs="*")
    args = parser.parse_args()
    found = find_device(args.device)
    torch.set_grad_enabled(False)
    stack, device = full_stack(found), torch.device(found.selector)
    print("| variant | says | same bits in |\n|---|---|---|")
    for backend in find_backends().backends:
        if args.backends is not None and backend.name not in args.backends:
            continue
        for variant in backend.variants(found.device, SPEC, stack):
            if backend.name == "flashinfer" and variant.name not in FLASHINFER["plain"]:
                continue
            answers = [
                backend.supports(variant, found.device, SPEC, phase, stack)
                for phase in (Phase.DECODE, Phase.PREFILL)
            ]
            fields = {reason.field for answer in answers for reason in answer.reasons}
            if fields - {"batch_invariant", "phase"}:
                continue  # not here
            says = "no" if "batch_invariant" in fields else "yes"
            texts = BATCHES[:3] if "phase" in fields else BATCHES
            told = count_same(backend, variant, texts, device)
            print(f"| {backend.name}:{variant.name} | {says} | {told} |", flush=True)
    return 0


def count_same(
    backend: Backend, variant: Variant, texts: tuple[str, ...], device: torch.device
) -> str:
    same = 0
    for text in texts:
        try:
            same += is_same(backend, variant, text, device)
        except Exception as error:  # a table is no place to stop at
            return f"{same}, then {type(error).__name__}: {str(error).splitlines()[0][:120]}"
    return f"{same} of {len(texts)}"


def is_same(backend: Backend, variant: Variant, text: str, device: torch.device) -> bool:
    # As vLLM calls it under VLLM_BATCH_INVARIANT where that says yes; as ever where it says no.
    contents = make_contents(SPEC, parse_workload(text), device)
    tokens = contents.requests[0].new_tokens
    among = output_of(backend, variant, contents)[:tokens]
    alone = output_of(backend, variant, first_of(contents))
    return torch.equal(among, alone)


def first_of(contents: Contents) -> Contents:
    """The first request alone."""
    return replace(
        contents,
        requests=contents.requests[:1],
        query=contents.query[: contents.requests[0].new_tokens],
        keys=contents.keys[:1],
        values=contents.values[:1],
    )


def output_of(backend: Backend, variant: Variant, contents: Contents) -> torch.Tensor:
    (batch,) = make_batches(SPEC, contents, variant.pages[0], 1, LONGEST)
    batch.max_seq_len = LONGEST
    launch = backend.prepare(variant, SPEC, batch)
    launch.plan()
    launch.run()
    return batch.output.clone()


if __name__ == "__main__":
    sys.exit(main())
