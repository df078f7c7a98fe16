"""Runs a candidate once on the shapes of real workloads, over few pages: whatever it compiles or
loads at its first call, it compiles and loads here.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from kernels_bench.batch import Batch, lens_and_starts, make_batches, make_contents
from kernels_bench.binding import prepared
from kernels_bench.capture import table_tokens
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
    shared = shared_pages(spec, entrant.pages, torch_device)
    for workload in rehearsal.workloads:
        longest = table_tokens(rehearsal.device, workload.phase, rehearsal.max_model_len)
        batch = stand_in(shared, workload, longest)
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
        return None
    except Exception as error:  # a candidate's code: whatever it raises is its outcome
        failed = failure(error)
    if failed.kind == "compile" or not memory.survives():
        return failed
    if failed.kind == "memory":  # behind the handler, whose traceback holds what was allocated
        memory.give_back()
    return None


def shared_pages(spec: AttentionSpec, pages: Pages, torch_device: torch.device) -> Batch:
    """A batch of one request, whose pages stand in for everybody's."""
    contents = make_contents(spec, _POOL, torch_device)
    (batch,) = make_batches(spec, contents, pages, count=1)
    return batch


def stand_in(shared: Batch, workload: Workload, longest_tokens: int) -> Batch:
    """A batch with a workload's shapes and lengths whose requests share a few pages."""
    device = shared.query.device
    requests = workload.requests(SEED)
    lens, starts = lens_and_starts(requests)
    columns = shared.pages.count_for(max(int(lens.max()), longest_tokens))
    own = shared.block_table[0]
    table = own.repeat(-(-len(requests) * columns // len(own)))[: len(requests) * columns]
    query = shared.query.repeat(int(starts[-1]), 1, 1)
    return replace(
        shared,
        query=query,
        output=query.new_zeros((len(query), *shared.output.shape[1:])),
        block_table=table.view(len(requests), columns),
        seq_lens=lens.to(device),
        query_start_loc=starts.to(device),
        seq_lens_cpu=lens,
        query_start_loc_cpu=starts,
        max_query_len=max(request.new_tokens for request in requests),
        max_seq_len=longest_tokens or int(lens.max()),
    )
