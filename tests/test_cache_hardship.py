"""Processes that write together and are killed: none fails, and what was said to be kept stays."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from cache_examples import DECISION, DEVICE, MODEL, TIMED

import cache
from cache import (
    DecisionRow,
    MeasurementRow,
    Store,
    StoredDecision,
    decision_measurements,
    find_decisions,
    list_decisions,
)

if TYPE_CHECKING:
    from threading import Barrier, Event

log = logging.getLogger(__name__)
"""For numbers that a person may want: pytest --log-cli-level=info."""

ROWS = 20
A_TRANSACTION = 5
"""Of those rows."""
A_SET = 7
READS = 10
"""Of a rank, in a round."""
PATIENCE_S = 120.0
"""With a process that others wait for."""
PATH = os.pathsep.join([str(Path(cache.__file__).parents[1]), str(Path(__file__).parent)])


def run_together(size: int, work: Callable[..., None], *arguments: Any) -> None:
    """In so many processes that start their rounds together; every one of them must succeed."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(size)
    ranks = [context.Process(target=work, args=(barrier, n, *arguments)) for n in range(size)]
    for each in ranks:
        each.start()
    for each in ranks:
        each.join()  # whoever fails stays away from the barrier, which then breaks for all
    assert [each.exitcode for each in ranks] == [0] * size


# A fresh file


def rows_of(rank: int, number: int) -> tuple[MeasurementRow, ...]:
    """Of layers of its own, so that a rank can read back what it wrote and nothing else."""
    spec_key = f"rank {rank}"
    return tuple(
        replace(TIMED, key=f"{number}.{rank}.{row}", spec_key=spec_key, gpu_us=row + 0.5)
        for row in range(ROWS)
    )


def write_and_read(barrier: Barrier, rank: int, folder: Path, rounds: int) -> None:
    for number in range(rounds):
        path, rows = folder / "new" / f"{number}.db", rows_of(rank, number)
        barrier.wait(PATIENCE_S)
        with Store.open(path) as store:
            store.put_device(DEVICE)
            for end in range(A_TRANSACTION, ROWS + 1, A_TRANSACTION):
                store.put_measurements(rows[end - A_TRANSACTION : end])
                assert decision_measurements(path, DEVICE.key, [f"rank {rank}"]) == rows[:end]


@pytest.mark.parametrize(("size", "rounds"), [(8, 4), pytest.param(64, 30, marks=pytest.mark.long)])
def test_a_fresh_file_that_all_open_together_has_every_row(
    tmp_path: Path, size: int, rounds: int
) -> None:
    run_together(size, write_and_read, tmp_path, rounds)
    for number in range(rounds):
        path = tmp_path / "new" / f"{number}.db"
        for rank in range(size):
            found = decision_measurements(path, DEVICE.key, [f"rank {rank}"])
            assert found == rows_of(rank, number)
    expected = {f"{number}.db" for number in range(rounds)}
    assert {each.name for each in (tmp_path / "new").iterdir()} == expected


# kill -9

WRITER = """
import sys
from dataclasses import replace
from itertools import count
from pathlib import Path
import sqlite_utils  # imported before the clock starts
from cache import Store
from cache_examples import DECISION, DEVICE, MODEL, TIMED
path, life = Path(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
with Store.open(path) as store:
    store.put_device(DEVICE)
    store.put_model(MODEL)
    for number in count():
        store.put_measurements(replace(TIMED, key=f"{life}.{number}.{row}") for row in range(7))
        print("set", flush=True)
        ranking = f"[{number}]" * 3000
        store.put_decision(replace(DECISION, question=life, why=str(number), runners_up=ranking))
        print("decision", flush=True)
"""


def decided(life: str, number: int) -> DecisionRow:
    """What the writer stores after its set; too long for one page, so that half of it could be."""
    return replace(DECISION, question=life, why=str(number), runners_up=f"[{number}]" * 3000)


def kill_a_writer(path: Path, life: str, after_s: float) -> list[str]:
    """What it told to have committed before it was killed."""
    command = [sys.executable, "-c", WRITER, str(path), life]
    environ = {**os.environ, "PYTHONPATH": PATH}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        time.sleep(after_s)
        writer.send_signal(signal.SIGKILL)
        told = writer.stdout.read().split()
    assert writer.returncode == -signal.SIGKILL
    return told


@dataclass
class Lived:
    """What a file must hold after the kills that it went through."""

    path: Path
    keys: list[str] = field(default_factory=list)
    """Of all measurements, in the order in which they were stored."""
    decisions: dict[str, DecisionRow] = field(default_factory=dict)

    def check(self, life: str, told: list[str]) -> None:
        """All that was told is there, nothing in part, and at most one transaction more."""
        rows = decision_measurements(self.path, DEVICE.key, [TIMED.spec_key])
        keys, old = [row.key for row in rows], len(self.keys)
        sets = (len(keys) - old) // A_SET
        new = [f"{life}.{number}.{row}" for number in range(sets) for row in range(A_SET)]
        assert keys == self.keys + new
        assert all(row == replace(TIMED, key=row.key) for row in rows[old:])
        assert told.count("set") <= sets <= told.count("set") + 1
        self.keys = keys
        self._check_decisions(life, told.count("decision"), sets)

    def _check_decisions(self, life: str, told: int, sets: int) -> None:
        found = find_decisions(self.path, life)
        assert bool(found) or told == 0
        for each in found:
            number = int(each.decision.why)
            assert told - 1 <= number <= min(told, sets - 1)
            self.decisions[life] = decided(life, number)
        stored = {each.decision.question: each.decision for each in list_decisions(self.path)}
        assert stored == self.decisions

    def write(self, life: str) -> None:
        """As the next tuner does."""
        keys = [f"{life}.after.{row}" for row in range(A_SET)]
        with Store.open(self.path) as store:
            store.put_device(DEVICE)
            store.put_measurements(replace(TIMED, key=key) for key in keys)
        self.keys += keys


@pytest.mark.parametrize(
    "kills", [pytest.param(20, id="20"), pytest.param(300, id="300", marks=pytest.mark.long)]
)
def test_one_file_over_many_kills_keeps_what_was_told(tmp_path: Path, kills: int) -> None:
    random = Random(9)
    lived = Lived(tmp_path / "autotune.db")
    journal = tmp_path / "autotune.db-journal"
    journals = 0
    for number in range(kills):
        life = f"life {number}"
        told = kill_a_writer(lived.path, life, random.uniform(0, 0.1))
        journals += journal.exists()
        if random.random() < 0.5:  # then the next tuner finds what the kill left, and no reader
            with Store.open(lived.path) as store:
                store.put_device(DEVICE)
        lived.check(life, told)
        lived.write(life)
    lived.check("nobody", [])
    log.info("%d of %d kills left a journal", journals, kills)
    assert journals > kills / 10  # else the moments are badly chosen


@pytest.mark.parametrize("kills", [6, pytest.param(100, marks=pytest.mark.long)])
def test_a_kill_while_the_file_is_made_leaves_one_that_works(tmp_path: Path, kills: int) -> None:
    random = Random(10)
    for number in range(kills):
        lived = Lived(tmp_path / f"{number}.db")
        lived.check("it", kill_a_writer(lived.path, "it", random.uniform(0, 0.03)))
        lived.write("it")
        lived.check("nobody", [])


# An engine's ranks beside a tuner


def read_in_rounds(
    barrier: Barrier, rank: int, path: Path, rounds: int, expected: StoredDecision
) -> None:
    for _ in range(rounds):
        barrier.wait(PATIENCE_S)
        for _ in range(READS):
            assert find_decisions(path, DECISION.question) == (expected,)


def write_others(path: Path, has_begun: Event, is_over: Event) -> None:
    """As a tuner does for another question: a workload's measurements, then what they decide."""
    with Store.open(path) as store:
        store.put_device(DEVICE)
        store.put_model(MODEL)
        for number in count():
            store.put_measurements(replace(TIMED, key=f"{number}.{n}") for n in range(A_SET))
            store.put_decision(decided(f"another {number}", number))
            has_begun.set()
            if is_over.is_set():
                return


@pytest.mark.parametrize("rounds", [5, pytest.param(300, marks=pytest.mark.long)])
def test_ranks_that_start_beside_a_tuner_read_the_same_row(tmp_path: Path, rounds: int) -> None:
    path = tmp_path / "autotune.db"
    with Store.open(path) as store:
        store.put_device(DEVICE)
        store.put_model(MODEL)
        store.put_decision(DECISION)
    (expected,) = find_decisions(path, DECISION.question)
    context = multiprocessing.get_context("spawn")
    has_begun, is_over = context.Event(), context.Event()
    writer = context.Process(target=write_others, args=(path, has_begun, is_over))
    writer.start()
    try:
        assert has_begun.wait(PATIENCE_S)
        before = len(list_decisions(path))
        run_together(8, read_in_rounds, path, rounds, expected)
        assert len(list_decisions(path)) > before  # it wrote all the while
    finally:
        is_over.set()
        writer.join(PATIENCE_S)
    assert writer.exitcode == 0
