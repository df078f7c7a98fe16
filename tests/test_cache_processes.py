"""Many processes and one file: all of them succeed, and what was committed stays."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cache_examples import DECISION, DEVICE, MODEL, TIMED, write_schema_1

import cache
from cache import Store, decision_measurements, list_decisions

if TYPE_CHECKING:
    from threading import Barrier

RANKS = 8
ROUNDS = 5
ROWS = 3
TESTS = Path(__file__).parent
ROOT = Path(cache.__file__).parents[1]


def write_as_rank(rank: int, folder: Path, barrier: Barrier) -> None:
    """Open a file that is old or not there yet at the same moment as the other ranks, and write."""
    for number in range(ROUNDS):
        barrier.wait(timeout=60)
        with Store.open(folder / "new" / f"{number}.db") as store:
            store.put_device(DEVICE)
            store.put_model(MODEL)
            for row in range(ROWS):
                store.put_measurements([replace(TIMED, key=f"{rank}.{row}")])
            store.put_decision(replace(DECISION, why=f"rank {rank}"))


@pytest.mark.parametrize("is_old", [False, True], ids=["fresh", "of schema 1"])
def test_eight_ranks_open_a_file_together(tmp_path: Path, is_old: bool) -> None:
    old = {"old"} if is_old else set[str]()
    for number in range(ROUNDS if is_old else 0):
        path = tmp_path / "new" / f"{number}.db"
        path.parent.mkdir(exist_ok=True)
        write_schema_1(path, DEVICE, MODEL, replace(TIMED, key="old"))
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(RANKS)
    ranks = [
        context.Process(target=write_as_rank, args=(rank, tmp_path, barrier))
        for rank in range(RANKS)
    ]
    for each in ranks:
        each.start()
    for each in ranks:
        each.join(timeout=120)
    assert [each.exitcode for each in ranks] == [0] * RANKS
    for number in range(ROUNDS):
        path = tmp_path / "new" / f"{number}.db"
        rows = decision_measurements(path, DEVICE.key, [TIMED.spec_key])
        new = {f"{rank}.{row}" for rank in range(RANKS) for row in range(ROWS)}
        assert {row.key for row in rows} == new | old
        assert all(row.rounds_us == TIMED.rounds_us for row in rows if row.key in new)
        assert len(list_decisions(path)) == 1
    assert not list((tmp_path / "new").glob("*-journal"))


def test_kill_9_loses_nothing_that_was_committed(tmp_path: Path) -> None:
    script = """
import sys
from dataclasses import replace
from pathlib import Path
from cache import Store
from cache_examples import DEVICE, TIMED
with Store.open(Path(sys.argv[1])) as store:
    store.put_device(DEVICE)
    for batch in range(1_000_000):
        store.put_measurements(replace(TIMED, key=f"{batch}.{row}") for row in range(7))
        print(batch, flush=True)
"""
    path = tmp_path / "autotune.db"
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(TESTS)])}
    command = [sys.executable, "-c", script, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as writer:
        assert writer.stdout is not None
        for line in writer.stdout:
            if line.strip() == "20":
                writer.send_signal(signal.SIGKILL)
                break
        told = 20 + len(writer.stdout.readlines())
    keys = [row.key for row in decision_measurements(path, DEVICE.key, [TIMED.spec_key])]
    batches = len(keys) // 7
    assert batches >= told + 1
    assert keys == [f"{batch}.{row}" for batch in range(batches) for row in range(7)]
