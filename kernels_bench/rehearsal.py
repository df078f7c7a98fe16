"""Runs a candidate once on the shapes of real workloads, over few pages: whatever it compiles or
loads at its first call, it compiles and loads here.
"""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING

from kernels_bench.batch import Batch, make_batches, make_contents
from kernels_bench.binding import prepared
from kernels_bench.capture import engines_capture
from kernels_bench.failures import failure
from kernels_bench.messages import Rehearsal, Rehearsed
from kernels_bench.method import SEED
from kernels_bench.spec import AttentionSpec, Failed, Pages
from kernels_bench.workload import Segment, Workload

if TYPE_CHECKING:
    import torch

    from kernels_bench.candidates import Entrant
    from kernels_bench.memory import Memory

_POOL = Workload((Segment(1, 1, 1024),))
"""Its pages stand in for everybody's: what compiles depends on lengths, not on contents."""


def rehearse(
    rehearsal: Rehearsal, torch_device: torch.device, memory: Memory
) -> Rehearsed | Failed:
    """Run every workload once. Only a compiler's failure is one here: whoever asks for too much
    memory, or raises on one workload, is told so where that workload is checked.
    """
    started = time.perf_counter()
    entrant, spec = rehearsal.entrant, rehearsal.spec
    most_bytes = memory.held_bytes(entrant.backend)
    for workload in rehearsal.workloads:
        is_wide = engines_capture(rehearsal.device, workload.phase)
        longest = rehearsal.max_model_len if is_wide else 0
        batch = stand_in(spec, workload, entrant.pages, torch_device, longest)
        with memory.of(entrant.backend) as used:
            failed = _run_once(entrant, spec, batch, memory)
        if failed is not None:
            return failed
        if used.bytes is not None and most_bytes is not None:
            most_bytes = max(most_bytes, used.bytes)
    return Rehearsed(time.perf_counter() - started, most_bytes)


def _run_once(entrant: Entrant, spec: AttentionSpec, batch: Batch, memory: Memory) -> Failed | None:
    try:
        launch = prepared(entrant, spec, batch)
        launch.plan()
        launch.run()
        memory.wait()
    except Exception as error:  # a candidate's code: whatever it raises is its outcome
        failed = failure(error)
        return failed if failed.kind == "compile" or not memory.survives() else None
    return None


def stand_in(
    spec: AttentionSpec,
    workload: Workload,
    pages: Pages,
    torch_device: torch.device,
    longest_tokens: int,
) -> Batch:
    """A batch with a workload's shapes and lengths whose requests share a few pages."""
    import torch

    contents = make_contents(spec, _POOL, torch_device)
    (small,) = make_batches(spec, contents, pages, count=1)
    requests = workload.requests(SEED)
    new_tokens = [request.new_tokens for request in requests]
    lens = torch.tensor([request.total_tokens for request in requests], dtype=torch.int32)
    starts = torch.tensor([0, *accumulate(new_tokens)], dtype=torch.int32)
    columns = -(-max(int(lens.max()), longest_tokens) // pages.size)
    shared = small.block_table[0]
    table = shared[torch.arange(len(requests) * columns, device=torch_device) % len(shared)]
    repeats = -(-sum(new_tokens) // len(contents.query))
    query = contents.query.repeat(repeats, 1, 1)[: sum(new_tokens)]
    return replace(
        small,
        query=query,
        output=query.new_zeros((len(query), spec.num_q_heads, spec.value_dim)),
        block_table=table.view(len(requests), columns),
        seq_lens=lens.to(torch_device),
        query_start_loc=starts.to(torch_device),
        seq_lens_cpu=lens,
        query_start_loc_cpu=starts,
        max_query_len=max(new_tokens),
        max_seq_len=longest_tokens or int(lens.max()),
    )
