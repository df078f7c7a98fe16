"""Processes that write together, writers that are killed, and files that are damaged.

The full size of each is marked `long`; what is run by default is the same, smaller.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cache_examples import DECISION, DEVICE, MODEL, TIMED
from cli_runs import CONFIG, tune
from file_damage import damaged

import cache
from autotune import Asked, Choice, Layers, ModelRequest, Question, find_profile, load_model
from autotune.chooser import answer
from cache import Store, decision_measurements, examine, find_decisions, list_decisions
from kernels_bench.devices import find_device

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event
    from threading import Barrier

TESTS, ROOT = Path(__file__).parent, Path(cache.__file__).parents[1]
SPAWN = multiprocessing.get_context("spawn")
ROWS, SET = 20, 7


def write_and_read(rank: int, rounds: int, folder: Path, barrier: Barrier) -> None:
    for number in range(rounds):
        barrier.wait(timeout=300)
        path = folder / f"{number}.db"
        with Store.open(path) as store:
            store.put_device(DEVICE)
            store.put_model(MODEL)
            for first in range(0, ROWS, 5):
                rows = [replace(TIMED, key=f"{rank}.{first + each}") for each in range(5)]
                store.put_measurements(rows)
        keys = [row.key for row in decision_measurements(path, DEVICE.key, [TIMED.spec_key])]
        assert [key for key in keys if key.startswith(f"{rank}.")] == [
            f"{rank}.{row}" for row in range(ROWS)
        ]


@pytest.mark.parametrize(
    ("count", "rounds"), [(12, 2), pytest.param(64, 30, marks=pytest.mark.long)]
)
def test_processes_that_write_a_fresh_file_together(
    tmp_path: Path, count: int, rounds: int
) -> None:
    barrier = SPAWN.Barrier(count)
    processes = [
        SPAWN.Process(target=write_and_read, args=(rank, rounds, tmp_path, barrier))
        for rank in range(count)
    ]
    for each in processes:
        each.start()
    for each in processes:
        each.join(timeout=900)
    assert [each.exitcode for each in processes] == [0] * count
    for number in range(rounds):
        path = tmp_path / f"{number}.db"
        rows = decision_measurements(path, DEVICE.key, [TIMED.spec_key])
        assert len({row.key for row in rows}) == count * ROWS


WRITER = f"""
import sys
from dataclasses import replace
from pathlib import Path
from cache import Store
from cache_examples import DECISION, DEVICE, MODEL, TIMED
number = int(sys.argv[2])
with Store.open(Path(sys.argv[1])) as store:
    store.put_device(DEVICE)
    store.put_model(MODEL)
    print("open", flush=True)
    while True:
        rows = [replace(TIMED, key=f"{{number}}.{{row}}") for row in range({SET})]
        store.put_measurements(rows)
        store.put_decision(replace(DECISION, question=str(number)))
        print(number, flush=True)
        number += 1
"""


@pytest.mark.parametrize("kills", [12, pytest.param(300, marks=pytest.mark.long)])
def test_a_writer_that_is_killed_at_any_moment(tmp_path: Path, kills: int) -> None:
    """One file for all: what one leaves behind is what the next one finds."""
    path, moments = tmp_path / "autotune.db", random.Random(6)
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(TESTS)])}
    told: set[int] = set()
    first = 0
    for _ in range(kills):
        command = [sys.executable, "-c", WRITER, str(path), str(first)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "open\n"
            time.sleep(moments.uniform(0, 0.12))
            writer.send_signal(signal.SIGKILL)
            told |= {int(line) for line in writer.stdout if line.endswith("\n")}
        keys = [row.key for row in decision_measurements(path, DEVICE.key, [TIMED.spec_key])]
        sets = Counter(int(key.partition(".")[0]) for key in keys)
        assert set(sets.values()) <= {SET}  # whole sets only
        first = max(sets, default=-1) + 1
        assert sorted(sets) == list(range(first))
        decided = {int(each.decision.question) for each in list_decisions(path)}
        assert told <= decided <= set(sets)  # after its set, or not at all
    assert [each for each in examine(path) if each.level == "error"] == []


def ask_often(path: Path, times: int, barrier: Barrier) -> None:
    for _ in range(times):
        barrier.wait(timeout=60)
        (found,) = find_decisions(path, DECISION.question)
        assert found.decision == DECISION


def write_on(path: Path, written: Event, stop: Event) -> None:
    number = 0
    with Store.open(path) as store:
        while not stop.is_set():
            store.put_measurements(replace(TIMED, key=f"{number}.{row}") for row in range(SET))
            store.put_decision(replace(DECISION, question=f"another {number}"))
            number += 1
            written.set()


def test_eight_ranks_ask_while_a_ninth_process_writes(tmp_path: Path) -> None:
    path = tmp_path / "autotune.db"
    with Store.open(path) as store:
        store.put_device(DEVICE)
        store.put_model(MODEL)
        store.put_decision(DECISION)
    written, stop, barrier = SPAWN.Event(), SPAWN.Event(), SPAWN.Barrier(8)
    ninth = SPAWN.Process(target=write_on, args=(path, written, stop))
    ninth.start()
    assert written.wait(timeout=60)
    ranks = [SPAWN.Process(target=ask_often, args=(path, 20, barrier)) for _ in range(8)]
    for each in ranks:
        each.start()
    for each in ranks:
        each.join(timeout=120)
    stop.set()
    ninth.join(timeout=60)
    assert [each.exitcode for each in (*ranks, ninth)] == [0] * 9
    assert len(list_decisions(path)) > 1


def is_same(one: Choice, other: Choice) -> bool:
    return (one.state, one.candidate, one.decision) == (
        other.state,
        other.candidate,
        other.decision,
    )


@pytest.mark.parametrize("count", [150, pytest.param(2000, marks=pytest.mark.long)])
def test_a_damaged_file_gives_the_answer_that_it_held_or_the_default(
    tmp_path: Path, count: int
) -> None:
    """The stored decision, and one for another profile that is decided from what was measured."""
    model = tmp_path / "tiny"
    model.mkdir()
    (model / "config.json").write_text(str(CONFIG).replace("'", '"'))
    whole, path = tmp_path / "whole.db", tmp_path / "damaged" / "autotune.db"
    tune(whole, str(model))
    path.parent.mkdir()
    config, here = load_model(ModelRequest(str(model))), find_device("cpu")
    asked = [
        Asked(Question(config, "any", profile), here)
        for profile in ("balanced", find_profile("chat").key)
    ]
    right = [answer(each, whole) for each in asked]
    assert [each.state for each in right] == ["exact", "exact"]
    fates: Counter[str] = Counter()
    for seed in range(count):
        content = damaged(whole.read_bytes(), random.Random(seed))
        path.write_bytes(content)
        for each, expected in zip(asked, right, strict=True):
            started = time.monotonic()
            choice = answer(each, Layers.alone(path))
            assert time.monotonic() - started < 1, f"seed {seed}"
            assert choice.state == "default" or is_same(choice, expected), f"seed {seed}"
            fates[choice.state] += 1
        assert path.read_bytes() == content, f"seed {seed}"
        assert [each.name for each in path.parent.iterdir()] == [path.name], f"seed {seed}"
    assert min(fates["default"], fates["exact"]) > count / 10
