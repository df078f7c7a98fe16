"""What a cache of a million measurements costs to ask, to list and to merge.

    make bench-cache

Rows are those of an H100, copied under other keys. The million takes about a minute to write, and
2.3 GB; the ten files as much again.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cache_files import write_cache

from autotune.commands.selection import Page, Selection, find
from cache import Layers, Which, decision_measurements, find_decisions, list_decisions
from cache.database import connect
from cache.reader import _decisions, _sorted_out

MEASUREMENTS, DECISIONS = 1_000_000, 5_000
FILES, PER_FILE = 10, 100_000


@pytest.fixture(scope="module")
def million(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("million") / "autotune.db"
    write_cache(path, MEASUREMENTS, DECISIONS, "host0")
    return path


@pytest.fixture(scope="module")
def question(million: Path) -> str:
    """Neither the first that was stored nor the last."""
    return list_decisions(million, Which(limit=1, offset=DECISIONS // 2))[0].decision.question


def test_lookup_after_open(benchmark: Any, million: Path, question: str) -> None:
    asked = _decisions(million, Which(questions=(question,)))
    with closing(connect(million, "ro", 5.0)) as connection:

        def lookup() -> int:
            records = connection.execute(asked.statement(4), asked.values)
            return len(_sorted_out(records, 4, asked).rows)

        assert benchmark(lookup) == 1


def test_lookup_with_open(benchmark: Any, million: Path, question: str) -> None:
    assert len(benchmark(find_decisions, million, question)) == 1


def test_lookup_that_misses(benchmark: Any, million: Path, question: str) -> None:
    assert benchmark(find_decisions, million, question + " ") == ()


def test_evidence_of_one_model(benchmark: Any, million: Path) -> None:
    with closing(connect(million, "ro", 5.0)) as connection:
        device, spec = connection.execute(
            "SELECT device_key, spec_key FROM measurements WHERE id = ?", [MEASUREMENTS // 2]
        ).fetchone()
    assert benchmark(decision_measurements, million, device, [spec])


def test_page_of_ls(benchmark: Any, million: Path) -> None:
    layers = Layers.alone(million)
    found = benchmark(find, layers, Selection(), Page(limit=50, offset=1000))
    assert (len(found.stored), found.total) == (50, DECISIONS)


def test_page_of_ls_as_a_command(benchmark: Any, million: Path) -> None:
    command = (sys.executable, "-m", "autotune", "cache", "ls", "--cache", str(million))
    done = benchmark.pedantic(subprocess.run, (command,), {"capture_output": True}, rounds=20)
    assert done.stdout.count(b"\n") >= 50


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Path]]:
    folder = tmp_path_factory.mktemp("hosts")
    paths = [folder / f"host{number}.db" for number in range(FILES)]
    for path in paths:
        write_cache(path, PER_FILE, 500, path.stem)
    yield paths
    for path in paths:
        path.unlink()


def test_merge(benchmark: Any, hosts: list[Path]) -> None:
    """Its memory is of a process of its own."""
    target = hosts[0].with_name("fleet.db")
    code = (
        "import resource, sys; from pathlib import Path;"
        "from cache.exchange import Policy, merge_files;"
        "*sources, target = map(Path, sys.argv[1:]);"
        "merge_files(sources, target, Policy(), is_forced=True);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    )
    command = (sys.executable, "-c", code, *map(str, hosts), str(target))
    options = {"capture_output": True, "check": True}
    done = benchmark.pedantic(subprocess.run, (command,), options, rounds=2)
    benchmark.extra_info["peak_mib"] = int(done.stdout)
    assert int(done.stdout) < 500
    with closing(connect(target, "ro", 5.0)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM measurements").fetchone()
    assert count == FILES * PER_FILE
