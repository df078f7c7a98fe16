"""Files that are no cache, cannot be read or cannot be written: one clear line, nothing changed."""

from __future__ import annotations

import os
import pickle
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cache_examples import (
    DECISION,
    DEVICE,
    H100_RUN,
    H100_SCHEMA_2,
    MODEL,
    REJECTED,
    TIMED,
    unpack_h100_run,
    write_schema_1,
)

import cache
from cache import (
    CacheBusyError,
    CacheCorruptError,
    CacheError,
    CacheNewerError,
    CacheUnreadableError,
    CacheUnwritableError,
    MeasurementRow,
    Store,
    database,
    decision_measurements,
    find_decisions,
    list_decisions,
    reader,
    store,
)
from cache.database import APPLICATION_ID, SCHEMA_VERSION, Mode
from cache.records import TABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(cache.__file__).parents[1]


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return filled(tmp_path_factory.mktemp("filled") / "autotune.db").read_bytes()


@pytest.fixture
def path(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "autotune.db"
    path.write_bytes(content)
    return path


def filled(path: Path) -> Path:
    with Store.open(path) as opened:
        opened.put_device(DEVICE)
        opened.put_model(MODEL)
        opened.put_measurements([TIMED, REJECTED])
        opened.put_decision(DECISION)
    return path


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def corrupt(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:100] + b"\xff" * 3996 + content[4096:])


def cut(keep: float) -> Callable[[Path], None]:
    def cut_file(path: Path) -> None:
        os.truncate(path, int(path.stat().st_size * keep))

    return cut_file


def make_foreign(path: Path) -> None:
    path.unlink()
    execute(path, "CREATE TABLE devices (id INTEGER)")


BAD_FILES = {
    "text": (
        lambda path: path.write_text("not a database\n" * 100),
        CacheCorruptError,
        "not a SQL",
    ),
    "three bytes": (lambda path: path.write_bytes(b"SQL"), CacheCorruptError, "not a SQLite file"),
    "corrupt": (corrupt, CacheCorruptError, "damaged"),
    "half": (cut(0.5), CacheCorruptError, "damaged"),
    "last page cut": (cut(0.999), CacheCorruptError, "cut short"),
    "header cut": (lambda path: os.truncate(path, 50), CacheCorruptError, "damaged"),
    "another program's": (make_foreign, CacheCorruptError, "not a cache of attn-autotune"),
    "newer": (lambda path: execute(path, "PRAGMA user_version=99"), CacheNewerError, "schema 99"),
    "of schema 0": (
        lambda path: execute(path, "PRAGMA user_version=0"),
        CacheCorruptError,
        "not a cache",
    ),
    "without tables": (
        lambda path: execute(path, "DROP TABLE decisions"),
        CacheCorruptError,
        "are missing",
    ),
}


@pytest.mark.parametrize(("spoil", "kind", "what"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_bad_file_is_named_and_left_alone(
    path: Path, spoil: Callable[[Path], None], kind: type[CacheError], what: str
) -> None:
    spoil(path)
    before = path.read_bytes()
    with pytest.raises(kind, match=what) as reading:
        find_decisions(path, DECISION.question)
    with pytest.raises(kind, match=what), Store.open(path) as opened:
        opened.put_decision(DECISION)
    assert str(path) in str(reading.value)
    assert "set AUTOTUNE_CACHE or pass --cache" in str(reading.value)
    assert "\n" not in str(reading.value)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_file_without_our_mark_in_its_header_is_not_ours(path: Path) -> None:
    assert path.read_bytes()[68:72] == APPLICATION_ID.to_bytes(4, "big") == b"attn"


def count_rows(path: Path) -> dict[str, int]:
    tables = ("devices", "models", "measurements", "decisions")
    with closing(sqlite3.connect(path)) as connection:
        return {
            table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in tables
        }


def schema_in(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def test_reading_an_old_file_changes_nothing_and_writing_brings_it_up_to_date(
    tmp_path: Path,
) -> None:
    path = tmp_path / "old.db"
    write_schema_1(path, DEVICE, MODEL, TIMED, REJECTED, DECISION)
    before = path.read_bytes()
    old = decision_measurements(path, DEVICE.key, [TIMED.spec_key])
    assert path.read_bytes() == before
    with Store.open(path) as opened:
        assert opened.measurements(DEVICE.key, [TIMED.spec_key]) == old
        opened.put_measurements([TIMED])
        assert opened.measurements(DEVICE.key, [TIMED.spec_key]) == (TIMED, REJECTED)
    assert [each.decision for each in list_decisions(path)] == [DECISION]
    assert schema_in(path) == SCHEMA_VERSION


@pytest.mark.parametrize(
    ("packed", "schema", "counts"), [(H100_RUN, 1, (4, 1780)), (H100_SCHEMA_2, 2, (1, 366))]
)
def test_what_an_h100_left_in_an_older_schema_is_read_and_brought_up_to_date(
    tmp_path: Path, packed: Path, schema: int, counts: tuple[int, int]
) -> None:
    path = tmp_path / "h100.db"
    unpack_h100_run(path, packed)
    decisions, rows = list_decisions(path), count_rows(path)
    assert schema_in(path) == schema
    assert (len(decisions), rows["measurements"]) == counts
    assert {each.decision.bound for each in decisions} == {None}
    with closing(sqlite3.connect(path)) as connection:
        specs = [key for (key,) in connection.execute("SELECT DISTINCT spec_key FROM measurements")]
    device = decisions[0].device.key
    evidence = decision_measurements(path, device, specs)
    Store.open(path).close()
    assert schema_in(path) == SCHEMA_VERSION
    assert (list_decisions(path), count_rows(path)) == (decisions, rows)
    assert decision_measurements(path, device, specs) == evidence
    assert len(evidence) == rows["measurements"]


def test_a_migration_that_fails_half_way_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    write_schema_1(path, DEVICE, TIMED)
    last = TABLES[MeasurementRow].added[2][-1]
    execute(path, f"ALTER TABLE measurements ADD COLUMN {last} TEXT")
    before = path.read_bytes()
    with pytest.raises(CacheUnwritableError, match=f"duplicate column name: {last}"):
        Store.open(path)
    assert path.read_bytes() == before
    assert schema_in(path) == 1


def test_an_older_program_refuses_a_file_that_was_brought_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "old.db"
    write_schema_1(path, DEVICE, MODEL, DECISION)
    Store.open(path).close()
    monkeypatch.setattr(database, "SCHEMA_VERSION", 1)
    with pytest.raises(CacheNewerError, match="schema 6, and this version knows 1; upgrade"):
        list_decisions(path)
    with pytest.raises(CacheNewerError, match="schema 6, and this version knows 1; upgrade"):
        Store.open(path)


def test_a_missing_file_is_a_miss_and_is_not_made(tmp_path: Path) -> None:
    assert find_decisions(tmp_path / "none" / "autotune.db", "any") == ()
    assert list_decisions(tmp_path / "none.db") == ()
    assert list(tmp_path.iterdir()) == []


def test_an_empty_file_is_a_miss_and_then_a_new_cache(tmp_path: Path) -> None:
    path = tmp_path / "autotune.db"
    path.touch()
    assert list_decisions(path) == ()
    assert path.stat().st_size == 0
    assert len(list_decisions(filled(path))) == 1


def test_a_folder_at_the_path(tmp_path: Path) -> None:
    with pytest.raises(CacheUnreadableError, match="a folder, not a file"):
        list_decisions(tmp_path)
    with pytest.raises(CacheUnreadableError, match="a folder, not a file"):
        Store.open(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_pipe_at_the_path_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CacheUnreadableError, match="not a regular file"):
        list_decisions(tmp_path / "pipe")


def test_a_working_folder_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert list_decisions(Path("autotune.db")) == ()
    with pytest.raises(CacheUnwritableError, match=r"autotune\.db: .+; set AUTOTUNE_CACHE"):
        Store.open(Path("autotune.db"))


def test_a_path_below_a_file(path: Path) -> None:
    below = path / "autotune.db"
    assert list_decisions(below) == ()
    with pytest.raises(CacheUnwritableError, match=r"its folder cannot be made \(.+\); set AUTO"):
        Store.open(below)


def test_a_file_that_another_process_holds(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "BUSY_TIMEOUT_S", 0.01)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(CacheBusyError, match=r"locked by another process for 0\.01 s; wait"):
            list_decisions(path)
        with pytest.raises(CacheBusyError, match=r"locked by another process for 0\.01 s; wait"):
            Store.open(path, busy_timeout_s=0.01)
    assert len(list_decisions(path)) == 1


def test_opening_a_current_file_waits_for_no_writer(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with Store.open(path, busy_timeout_s=0) as opened:
            assert opened.measurements(DEVICE.key, [TIMED.spec_key]) == (TIMED, REJECTED)


def fill_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite's own SQLITE_FULL: a file may not grow by a page."""

    def connect(path: Path, mode: Mode, busy_timeout_s: float) -> sqlite3.Connection:
        connection = database.connect(path, mode, busy_timeout_s)
        connection.execute("PRAGMA max_page_count = 1")
        return connection

    monkeypatch.setattr(store, "connect", connect)


def test_a_full_disk_keeps_what_is_there(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_disk(monkeypatch)
    before = path.read_bytes()
    long = [replace(TIMED, key=f"k{number}", backend="b" * 2000) for number in range(20)]
    with Store.open(path) as opened:
        with pytest.raises(CacheUnwritableError, match="the disk is full; set AUTOTUNE_CACHE"):
            opened.put_measurements(long)
        assert opened.measurements(DEVICE.key, [TIMED.spec_key]) == (TIMED, REJECTED)
    assert path.read_bytes() == before


def test_a_disk_that_is_full_from_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_disk(monkeypatch)
    with pytest.raises(CacheUnwritableError, match="the disk is full"):
        Store.open(tmp_path / "autotune.db")
    assert list_decisions(tmp_path / "autotune.db") == ()


@contextmanager
def unprivileged() -> Iterator[None]:
    """As a user whom permissions bind: root becomes nobody for a while."""
    if os.geteuid() != 0:
        yield
        return
    try:
        os.seteuid(65534)
    except OSError as error:
        pytest.skip(f"root here cannot become another user: {error}")
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def read_only() -> Iterator[Path]:
    """A filled cache whose file and folder everybody may read and nobody may write."""
    with tempfile.TemporaryDirectory() as folder:
        path = filled(Path(folder) / "autotune.db")
        path.chmod(0o444)
        path.parent.chmod(0o555)
        with unprivileged():
            reachable = os.access(path, os.R_OK, effective_ids=True)
        if not reachable:
            pytest.skip(f"{path} lies in a folder that other users may not enter")
        yield path
        path.parent.chmod(0o755)


def test_a_read_only_folder_is_read(read_only: Path) -> None:
    with unprivileged():
        assert [each.decision for each in list_decisions(read_only)] == [DECISION]


def test_an_old_file_in_a_read_only_folder_is_read(read_only: Path) -> None:
    read_only.unlink()
    write_schema_1(read_only, DEVICE, MODEL, TIMED, DECISION)
    read_only.chmod(0o444)
    with unprivileged():
        assert [each.decision for each in list_decisions(read_only)] == [DECISION]
        assert len(decision_measurements(read_only, DEVICE.key, [TIMED.spec_key])) == 1
        with pytest.raises(CacheUnwritableError, match="is not writable"):
            Store.open(read_only)
    assert schema_in(read_only) == 1


def test_a_read_only_folder_is_refused_before_anything_is_measured(read_only: Path) -> None:
    with (
        unprivileged(),
        pytest.raises(CacheUnwritableError, match="is not writable; set AUTOTUNE_CACHE"),
    ):
        Store.open(read_only)


def test_a_folder_that_may_not_be_entered(read_only: Path) -> None:
    read_only.parent.chmod(0o000)
    with unprivileged(), pytest.raises(CacheUnreadableError, match="Permission denied; set AUTO"):
        list_decisions(read_only)


def die_half_way(path: Path) -> None:
    """Leave what kill -9 leaves in the middle of a write: pages changed and a journal beside."""
    script = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")  # changed pages go to the file at once
connection.execute("BEGIN IMMEDIATE")
connection.execute("UPDATE measurements SET message = hex(zeroblob(50000))")
connection.execute("DELETE FROM decisions")
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert path.with_name(f"{path.name}-journal").stat().st_size > 0


def test_reading_undoes_what_a_killed_writer_left(path: Path) -> None:
    before = path.read_bytes()
    die_half_way(path)
    assert path.read_bytes() != before
    assert [each.decision for each in list_decisions(path)] == [DECISION]
    assert path.read_bytes() == before


def test_what_a_killed_writer_left_where_it_cannot_be_undone(read_only: Path) -> None:
    die_half_way(read_only)
    for file in read_only.parent.iterdir():
        file.chmod(0o444)
    with unprivileged(), pytest.raises(CacheUnreadableError, match="a killed process left"):
        list_decisions(read_only)


def test_reading_imports_neither_sqlite_utils_nor_platformdirs(path: Path) -> None:
    script = """
import sys
from pathlib import Path
import cache
path = Path(sys.argv[1])
(found,) = cache.list_decisions(path)
assert cache.show_decision(path, found.id) == found
assert cache.find_decisions(path, found.decision.question) == (found,)
assert cache.decision_measurements(path, found.device.key, [sys.argv[2]])
assert cache.locate(path, {}).path == path
print(sorted({"sqlite_utils", "platformdirs", "click", "torch", "numpy"} & set(sys.modules)))
"""
    command = [sys.executable, "-c", script, str(path), TIMED.spec_key]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    child = subprocess.run(command, check=True, capture_output=True, text=True, env=environ)
    assert child.stdout.strip() == "[]"


def test_an_error_survives_the_way_to_another_process(tmp_path: Path) -> None:
    error = CacheNewerError(tmp_path / "a.db", "schema 99, and this version knows 1")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is CacheNewerError
    assert str(copy) == str(error)
