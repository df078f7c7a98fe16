"""Doctor, repair and the copies before a migration: told rightly, saved wholly, nothing lost."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import pytest
from cache_examples import (
    DECISION,
    DEVICE,
    H100_RUN,
    H100_SCHEMA_2,
    MODEL,
    REJECTED,
    TIMED,
    tamper,
    unpack_h100_run,
    write_schema_1,
)
from test_cache_files import count_rows, die_half_way, schema_in, unprivileged
from test_cache_tuning import holding

import cache
from cache import (
    CacheBusyError,
    CacheCorruptError,
    CacheError,
    CacheNewerError,
    CacheUnreadableError,
    CacheUnwritableError,
    Salvaged,
    Store,
    TuningSubject,
    Which,
    backup,
    decision_measurements,
    doctor,
    examine,
    list_decisions,
    list_devices,
    read_decisions,
    salvage,
    salvage_file,
)
from cache.database import SCHEMA_VERSION, connect, transaction
from cache.migrations import MIGRATIONS, m004_whose_and_whether_whole, m005_what_was_missed
from cache.records import TABLES
from cache.schema import wrap

if TYPE_CHECKING:
    from threading import Barrier

ROOT = Path(cache.__file__).parents[1]
PAGE = 4096
ROWS = 400
"""Of measurements: fifty pages."""
REPAIR = "`autotune cache doctor --repair`"


def filled(path: Path, rows: int = 2) -> Path:
    with Store.open(path) as store:
        store.put_device(DEVICE)
        store.put_model(MODEL)
        store.put_measurements([TIMED, REJECTED])
        store.put_measurements(replace(TIMED, key=f"k{n}", gpu_us=n + 1.5) for n in range(rows - 2))
        store.put_decision(DECISION)
    return path


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> dict[int, bytes]:
    folder = tmp_path_factory.mktemp("filled")
    return {rows: filled(folder / f"{rows}.db", rows).read_bytes() for rows in (2, ROWS)}


@pytest.fixture
def path(tmp_path: Path, contents: dict[int, bytes]) -> Path:
    path = tmp_path / "autotune.db"
    path.write_bytes(contents[2])
    return path


@pytest.fixture
def large(tmp_path: Path, contents: dict[int, bytes]) -> Path:
    path = tmp_path / "autotune.db"
    path.write_bytes(contents[ROWS])
    return path


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for each in statements:
            connection.execute(each)
        connection.commit()


def overwrite(path: Path, *pages: int, seed: int = 0) -> None:
    """With random bytes; SQLite counts pages from 1 on."""
    noise = random.Random(seed)
    with path.open("r+b") as file:
        for page in pages:
            file.seek((page - 1) * PAGE)
            file.write(noise.randbytes(PAGE))


def root_pages(path: Path, kind: str, like: str = "%") -> list[int]:
    sql = "SELECT rootpage FROM sqlite_master WHERE type = ? AND name LIKE ?"
    with closing(sqlite3.connect(path)) as connection:
        return [page for (page,) in connection.execute(sql, [kind, like])]


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        each.name: (each.stat().st_mtime_ns, each.read_bytes())
        for each in sorted(folder.iterdir())
        if each.is_file()
    }


# The doctor


def told(path: Path) -> list[tuple[str, str, str]]:
    return [(each.level, each.what, each.remedy) for each in examine(path)]


def make_foreign(path: Path) -> None:
    path.unlink()
    execute(path, "CREATE TABLE devices (id INTEGER)")


def to_schema_1(path: Path) -> None:
    path.unlink()
    write_schema_1(path, DEVICE, MODEL, TIMED, DECISION)


def orphan(path: Path) -> None:
    with Store.open(path) as store:
        store.forget([1])
        store.forget_measurements(DEVICE.key, [TIMED.spec_key])


NOT_OURS = "move it away, or set AUTOTUNE_CACHE"
LEAVES_OUT = f"{REPAIR} leaves it out"
SAVES = f"{REPAIR} saves what is readable"
CHANGED = "checksum does not fit what the row holds: changed by another tool, or damaged;"
State = tuple[Callable[[Path], object], list[tuple[str, str, str]]]
STATES: dict[str, State] = {
    "healthy": (Path.exists, []),
    "missing": (Path.unlink, [("note", "not there: it is empty, and the first tuning", "")]),
    "empty": (lambda path: os.truncate(path, 0), [("note", "empty", "")]),
    "a damaged page": (
        lambda path: overwrite(path, *root_pages(path, "table", "measurements")),
        [("error", "database disk image is malformed", SAVES), ("error", "the file is", SAVES)],
    ),
    "foreign keys broken": (
        lambda path: execute(path, "DELETE FROM models"),
        [("error", "decisions 1 points at a row of models that is not there", LEAVES_OUT)],
    ),
    "changed by another tool": (
        lambda path: execute(path, "UPDATE measurements SET gpu_us = 1 WHERE key = 'm1'"),
        [("error", f"measurements 1: {CHANGED} no start takes it", LEAVES_OUT)],
    ),
    "changed by who knows of checksums": (
        lambda path: tamper(path, "UPDATE measurements SET gpu_us = 1 WHERE key = 'm1'"),
        [],
    ),
    "a blob for a number": (
        lambda path: execute(path, "UPDATE decisions SET bound = x'00'"),
        [("error", "decisions 1: bound holds a bytes: changed by another", LEAVES_OUT)],
    ),
    "orphans": (
        orphan,
        [
            ("note", "1 models without a decision", "autotune cache prune removes them"),
            ("note", "1 devices without a row", "autotune cache prune removes them"),
        ],
    ),
    "old": (
        to_schema_1,
        [("note", "schema 1, read as it is; this version writes 6", "the next command")],
    ),
    "newer": (
        lambda path: execute(path, "PRAGMA user_version = 99"),
        [("error", "schema 99, and this version knows 6", "upgrade attn-autotune")],
    ),
    "foreign": (
        make_foreign,
        [("error", "a SQLite file, but not a cache of attn-autotune", NOT_OURS)],
    ),
    "text": (lambda path: path.write_text("x\n" * 999), [("error", "not a SQLite file", NOT_OURS)]),
    "cut short": (
        lambda path: os.truncate(path, path.stat().st_size - 1),
        [("error", "the file was cut short", SAVES)],
    ),
    "without a table": (
        lambda path: execute(path, "DROP TABLE measurements"),
        [("error", "tables are missing", SAVES)],
    ),
}


@pytest.mark.parametrize(("spoil", "expected"), STATES.values(), ids=STATES)
def test_the_doctor_tells_what_is_wrong_and_changes_no_byte(
    path: Path, spoil: Callable[[Path], object], expected: list[tuple[str, str, str]]
) -> None:
    spoil(path)
    before = snapshot(path.parent)
    found = told(path)
    assert [level for level, _, _ in found] == [level for level, _, _ in expected]
    for (_, what, remedy), (_, whats_start, remedys_start) in zip(found, expected, strict=True):
        assert what.startswith(whats_start)
        assert remedy.startswith(remedys_start)
    assert not any("\n" in text for each in found for text in each)
    assert snapshot(path.parent) == before


def to_wal_mode(path: Path) -> None:
    execute(path, "PRAGMA journal_mode = WAL")


def test_the_doctor_names_wal_mode(path: Path) -> None:
    to_wal_mode(path)
    found = [*examine(path)]
    assert [(each.level, each.remedy) for each in found] == [
        ("warning", "sqlite-utils disable-wal")
    ]
    assert found[0].what.startswith("in WAL mode, which somebody else set")


def test_the_doctor_names_a_journal_that_was_left(path: Path) -> None:
    die_half_way(path)
    ((level, what, remedy),) = told(path)
    assert level == "note"
    assert what == (
        "autotune.db-journal beside it: a process writes now, or was killed while it wrote"
    )
    assert remedy == "the next one that opens the file finishes or undoes that"


@pytest.mark.parametrize("leave", [to_wal_mode, die_half_way])
def test_looking_changes_nothing_in_the_file_or_beside_it(
    path: Path, leave: Callable[[Path], None]
) -> None:
    leave(path)
    before = snapshot(path.parent)
    list(examine(path))
    assert snapshot(path.parent) == before


@pytest.fixture
def shared(contents: dict[int, bytes]) -> Iterator[Path]:
    """A file whose folder every user may enter."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "autotune.db"
        path.write_bytes(contents[2])
        path.chmod(0o644)
        path.parent.chmod(0o755)
        yield path
        path.parent.chmod(0o755)


def test_the_doctor_tells_what_may_not_be_written(shared: Path) -> None:
    shared.chmod(0o444)
    shared.parent.chmod(0o555)
    before = snapshot(shared.parent)
    with unprivileged():
        found = told(shared)
    assert found == [
        ("note", f"{part} is not writable: it is read, and nothing is stored", "")
        for part in (shared.parent, shared)
    ]
    assert snapshot(shared.parent) == before


def test_the_doctor_tells_what_may_not_be_read(shared: Path) -> None:
    shared.chmod(0o000)
    with unprivileged():
        found = told(shared)
    assert [(level, remedy) for level, _, remedy in found if level == "error"] == [
        ("error", CacheUnreadableError.remedy)
    ]


def test_a_folder_in_the_file_s_place(tmp_path: Path) -> None:
    assert told(tmp_path) == [("error", "a folder, not a file", CacheUnreadableError.remedy)]


class Usage(NamedTuple):
    free: int


def test_the_doctor_tells_that_the_disk_is_nearly_full(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: Usage(5 << 20))
    assert told(path) == [("warning", "5 MiB are free on its disk", "make room")]


def test_copies_are_named_whatever_the_file_is_called(tmp_path: Path) -> None:
    path = filled(tmp_path / "a[1]*.db")
    (tmp_path / "a1x.db.schema-1.20260101T000000Z").touch()
    assert told(path) == []
    (tmp_path / "a[1]*.db.schema-1.20260101T000000Z").touch()
    (tmp_path / "a[1]*.db.damaged.20260101T000000Z").touch()
    ((level, what, remedy),) = told(path)
    assert (level, remedy) == ("note", "remove what is old")
    assert what == (
        "copies of it are kept: a[1]*.db.damaged.20260101T000000Z,"
        " a[1]*.db.schema-1.20260101T000000Z"
    )


def test_of_many_damaged_rows_the_first_are_told_and_how_many_more(large: Path) -> None:
    execute(large, "UPDATE measurements SET gpu_us = 1")
    found = told(large)
    assert [what.partition(":")[0] for _, what, _ in found[:2]] == [
        "measurements 1", "measurements 2",
    ]  # fmt: skip
    assert found[-1][:2] == ("error", f"{ROWS - 10} more rows like these")
    assert len(found) == 11


def read_whole(path: Path) -> object:
    """All that a start could take, with what it would be told."""
    try:
        found = read_decisions(path, Which())
        return found, cache.read_measurements(path, DEVICE.key, [TIMED.spec_key])
    except CacheError:
        return None


def test_what_a_start_misses_is_never_called_well(path: Path) -> None:
    whole, content = read_whole(path), path.read_bytes()
    quiet = []
    for page in range(1, len(content) // PAGE + 1):
        path.write_bytes(content)
        overwrite(path, page, seed=page)
        before = snapshot(path.parent)
        is_well = not any(each.level == "error" for each in examine(path))
        if is_well and read_whole(path) != whole:
            quiet.append(page)
        assert snapshot(path.parent) == before
    assert quiet == []


# Repair


Records: TypeAlias = "set[tuple[object, ...]]"


def records(path: Path, *, is_damaged: bool = False) -> Records:
    """Table and row without its id, asked for one by one: what can be read is there."""
    found: Records = set()
    with closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as connection:
        # Without this SQLite reads nothing of a file that is shorter than its header says.
        connection.execute(f"PRAGMA writable_schema = {int(is_damaged)}")
        for table in TABLES.values():
            for number in range(1, 2 * ROWS):
                try:
                    sql = f"SELECT * FROM {table.name} WHERE id = ?"
                    rows = connection.execute(sql, [number]).fetchall()
                except (sqlite3.DatabaseError, UnicodeDecodeError):
                    assert is_damaged
                else:
                    found.update((table.name, *row[1:]) for row in rows)
    return found


def same(left: Records, right: Records) -> bool:
    """Told by table and key: a whole row is long."""
    assert sorted(str(row[:2]) for row in left ^ right) == []
    return True


def saved_of(path: Path) -> Salvaged:
    """Repair it; the old file is kept byte for byte and the new one is well."""
    before, names = path.read_bytes(), {each.name for each in path.parent.iterdir()}
    saved = salvage_file(path)
    assert saved.kept.read_bytes() == before
    assert saved.kept.name.startswith(f"{path.name}.damaged.")
    assert {each.name for each in path.parent.iterdir()} == names | {saved.kept.name}
    assert [each for each in examine(path) if each.level == "error"] == []
    assert schema_in(path) == SCHEMA_VERSION
    return saved


@pytest.mark.parametrize("seed", range(6))
def test_of_a_file_with_random_bytes_in_it_every_readable_row_is_saved(
    large: Path, seed: int
) -> None:
    whole = records(large)
    pages = large.stat().st_size // PAGE
    choice = random.Random(seed)
    overwrite(large, *(choice.randrange(pages // 3, pages) for _ in range(1 + 2 * seed)), seed=seed)
    readable = records(large, is_damaged=True) & whole
    saved = saved_of(large)
    assert same(records(large), readable)
    assert saved.tally.fates["new"] == len(readable) > ROWS // 4
    assert (saved.lost > 0) == (readable != whole)


@pytest.mark.parametrize("part", [0.6, 0.9])
def test_of_a_file_that_was_cut_short_what_is_left_is_saved(large: Path, part: float) -> None:
    whole = records(large)
    os.truncate(large, int(large.stat().st_size * part))
    readable = records(large, is_damaged=True) & whole
    assert len(readable) > ROWS // 4
    saved_of(large)
    assert same(records(large), readable)


def test_a_last_page_that_was_cut_costs_its_rows_alone(large: Path) -> None:
    whole = records(large)
    os.truncate(large, large.stat().st_size - 1)
    readable = records(large, is_damaged=True) & whole
    saved_of(large)
    assert same(records(large), readable)


def test_without_its_indexes_every_row_is_saved(large: Path) -> None:
    whole = records(large)
    overwrite(large, *root_pages(large, "index", "idx%"))
    saved = saved_of(large)
    assert same(records(large), whole)
    assert (saved.lost, saved.tally.fates["refused"]) == (0, 0)
    assert root_pages(large, "index", "idx_measurements%")


def test_a_row_that_does_not_fit_its_checksum_is_left_out(large: Path) -> None:
    whole = records(large)
    execute(large, "UPDATE measurements SET gpu_us = 1 WHERE key = 'm2'")
    saved = saved_of(large)
    assert (saved.tally.fates["refused"], saved.lost) == (1, 0)
    assert saved.tally.refused[0].where == "measurements 2"
    assert [row[:2] for row in whole - records(large)] == [("measurements", "m2")]
    assert records(large) <= whole


@pytest.mark.parametrize("is_dropped", [True, False], ids=["dropped", "root page destroyed"])
@pytest.mark.parametrize(
    ("table", "saved"),
    [
        ("devices", {"models"}),
        ("models", {"devices", "measurements"}),
        ("measurements", {"devices", "models", "decisions"}),
        ("decisions", {"devices", "models", "measurements"}),
    ],
)
def test_where_a_table_is_gone_the_others_are_saved_as_far_as_they_stand_on_it(
    large: Path, table: str, saved: set[str], is_dropped: bool
) -> None:
    whole = records(large)
    if is_dropped:
        execute(large, f"DROP TABLE {table}")
    else:
        overwrite(large, *root_pages(large, "table", table))
    saved_of(large)
    assert same(records(large), {row for row in whole if row[0] in saved})


def test_a_table_that_is_gone_is_no_thousands_of_places(large: Path) -> None:
    execute(large, "DROP TABLE decisions")
    assert saved_of(large).lost <= 1


@pytest.mark.parametrize(("packed", "schema"), [(H100_RUN, 1), (H100_SCHEMA_2, 2)])
def test_an_older_file_is_saved_into_one_of_today(
    tmp_path: Path, packed: Path, schema: int
) -> None:
    path = tmp_path / "h100.db"
    unpack_h100_run(path, packed)
    before, rows = list_decisions(path), count_rows(path)
    spec_keys = keys_of(path)
    evidence = decision_measurements(path, before[0].device.key, spec_keys)
    saved_of(path)
    assert (list_decisions(path), count_rows(path)) == (before, rows)
    assert decision_measurements(path, before[0].device.key, spec_keys) == evidence


@pytest.mark.parametrize("packed", [H100_RUN, H100_SCHEMA_2])
def test_a_damaged_older_file_is_saved_too(tmp_path: Path, packed: Path) -> None:
    path = tmp_path / "h100.db"
    unpack_h100_run(path, packed)
    before, rows = list_decisions(path), count_rows(path)
    evidence = decision_measurements(path, before[0].device.key, spec_keys := keys_of(path))
    pages = path.stat().st_size // PAGE
    overwrite(path, *range(pages // 2, pages // 2 + 3))
    saved = saved_of(path)
    assert 0 < saved.tally.fates["new"] <= sum(rows.values())
    left = decision_measurements(path, before[0].device.key, spec_keys)
    assert len(left) > len(evidence) // 2
    assert set(left) <= set(evidence)


def keys_of(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [key for (key,) in connection.execute("SELECT DISTINCT spec_key FROM measurements")]


def test_a_healthy_file_is_saved_whole_and_twice_in_a_second(path: Path) -> None:
    whole = records(path)
    first, second = saved_of(path), saved_of(path)
    assert first.kept != second.kept
    assert same(records(path), whole)


def test_who_may_write_the_old_file_may_write_the_new_one(path: Path) -> None:
    path.chmod(0o660)
    saved_of(path)
    assert path.stat().st_mode & 0o777 == 0o660


def test_a_file_behind_a_link_is_repaired_where_it_is(path: Path) -> None:
    execute(path, "UPDATE measurements SET gpu_us = 1 WHERE key = 'm2'")
    link = path.with_name("link.db")
    link.symlink_to(path)
    salvage_file(link)
    assert [each for each in examine(path) if each.level == "error"] == []
    assert link.resolve() == path


HOLD = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute(f"BEGIN {sys.argv[2]}")
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(salvage, "_BUSY_TIMEOUT_S", 0.01)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("how", ["IMMEDIATE", "EXCLUSIVE"])
@pytest.mark.parametrize("is_damaged", [False, True], ids=["healthy", "damaged"])
def test_a_file_that_another_process_writes_stays(large: Path, how: str, is_damaged: bool) -> None:
    if is_damaged:
        overwrite(large, large.stat().st_size // PAGE // 2)
    before = snapshot(large.parent)
    command = [sys.executable, "-c", HOLD, str(large), how]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(CacheBusyError, match="locked by another process"):
            salvage_file(large)
        assert snapshot(large.parent) == before
        other.kill()
    saved_of(large)


def test_a_file_that_another_process_tunes_for_stays(path: Path) -> None:
    before = path.read_bytes()
    with holding(TuningSubject(path, "device", "model", "tiny"), 30) as other:
        with pytest.raises(CacheBusyError, match=f"in use by process {other.pid} on "):
            salvage_file(path)
        other.kill()
    assert path.read_bytes() == before
    assert salvage_file(path).tally.fates["new"] == 5


REFUSED: dict[str, tuple[Callable[[Path], object], type[CacheError], str]] = {
    "foreign": (make_foreign, CacheCorruptError, "a SQLite file, but not a cache"),
    "text": (lambda path: path.write_text("x\n" * 999), CacheCorruptError, "not a SQLite file"),
    "newer": (
        lambda path: execute(path, "PRAGMA user_version = 99"),
        CacheNewerError,
        "schema 99, and this version knows 6; upgrade",
    ),
    "a header alone": (lambda path: os.truncate(path, 99), CacheCorruptError, "nothing leads to"),
    "noise": (lambda path: overwrite(path, 1), CacheCorruptError, "not a SQLite file"),
    "missing": (Path.unlink, CacheUnreadableError, "unable to open"),
}


@pytest.mark.parametrize(("spoil", "kind", "what"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_ours_stays(
    path: Path, spoil: Callable[[Path], object], kind: type[CacheError], what: str
) -> None:
    spoil(path)
    before = snapshot(path.parent)
    with pytest.raises(kind, match=what) as caught:
        salvage_file(path)
    assert "\n" not in str(caught.value)
    assert snapshot(path.parent) == before


def test_where_nothing_may_be_written_nothing_is_repaired(shared: Path) -> None:
    shared.parent.chmod(0o555)
    before = snapshot(shared.parent)
    with unprivileged(), pytest.raises(CacheUnwritableError, match="is not writable"):
        salvage_file(shared)
    assert snapshot(shared.parent) == before


WITH_LITTLE_ROOM = """
import resource, sys
from pathlib import Path
from cache import CacheError, Store, salvage_file
import cache.schema
what = {"migrate": Store.open, "repair": salvage_file}[sys.argv[1]]
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
try:
    what(Path(sys.argv[2]))
except CacheError as error:
    print(type(error).__name__, error)
"""


def with_little_room(what: str, path: Path, most_bytes: int) -> str:
    command = [sys.executable, "-c", WITH_LITTLE_ROOM, what, str(path), str(most_bytes)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    child = subprocess.run(command, check=False, capture_output=True, text=True, env=environ)
    assert child.returncode == 0, child.stderr
    assert child.stdout.count("\n") == 1, child.stdout + child.stderr
    return child.stdout


def test_where_there_is_no_room_for_the_new_file_the_old_one_stays(large: Path) -> None:
    overwrite(large, large.stat().st_size // PAGE // 2)
    before = snapshot(large.parent)
    said = with_little_room("repair", large, 10 * PAGE)
    assert f" cache {large}: " in said
    assert snapshot(large.parent) == before
    assert {each.name for each in large.parent.iterdir()} == {large.name}


# What a killed writer left beside it


def die_in_wal_mode(path: Path) -> None:
    """Leave committed rows in a -wal beside the file, of a process that somebody else wrote."""
    script = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA journal_mode = WAL")
connection.execute("DELETE FROM measurements WHERE id > 100")
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert path.with_name(f"{path.name}-wal").stat().st_size > 0


def die_with_a_strange_journal(path: Path) -> None:
    """One that is of another file: nothing says so in it."""
    other = path.with_name("other.db")
    shutil.copy(path, other)
    execute(other, "DELETE FROM measurements WHERE id % 2")
    die_half_way(other)
    other.with_name("other.db-journal").rename(path.with_name(f"{path.name}-journal"))
    other.unlink()


def leave_noise(path: Path) -> None:
    path.with_name(f"{path.name}-journal").write_bytes(random.Random(1).randbytes(3 * PAGE))


@pytest.mark.parametrize("page", [None, 30], ids=["healthy", "damaged"])
@pytest.mark.parametrize(
    "leave", [die_half_way, die_with_a_strange_journal, leave_noise, die_in_wal_mode]
)
def test_what_lies_beside_the_old_file_is_never_played_into_the_new_one(
    large: Path, leave: Callable[[Path], None], page: int | None
) -> None:
    leave(large)
    if page is not None:
        overwrite(large, page)
    saved = salvage_file(large)
    assert sum(count_rows(large).values()) == saved.tally.fates["new"] > 50
    assert [each for each in examine(large) if each.level == "error"] == []
    with Store.open(large) as store:
        store.put_measurements([TIMED])
    assert [each for each in examine(large) if each.level == "error"] == []


def test_what_a_killed_writer_did_is_undone_and_not_saved(large: Path) -> None:
    whole, before = records(large), large.read_bytes()
    die_half_way(large)
    saved = salvage_file(large)
    assert same(records(large), whole)
    assert saved.kept.read_bytes() == before
    assert {each.name for each in large.parent.iterdir()} == {large.name, saved.kept.name}


# The copy before a migration


def old_1(path: Path) -> None:
    unpack_h100_run(path, H100_RUN)


def old_2(path: Path) -> None:
    unpack_h100_run(path, H100_SCHEMA_2)


def old_3(path: Path) -> None:
    old_2(path)
    with closing(connect(path, "rw", 5.0)) as connection, transaction(connection):
        MIGRATIONS.apply(wrap(connection), stop_before=m004_whose_and_whether_whole.__name__)


def old_4(path: Path) -> None:
    old_2(path)
    with closing(connect(path, "rw", 5.0)) as connection, transaction(connection):
        MIGRATIONS.apply(wrap(connection), stop_before=m005_what_was_missed.__name__)


OLD = {1: old_1, 2: old_2, 3: old_3, 4: old_4}


def copies_of(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.name}.*"))


@pytest.mark.parametrize("schema", OLD)
def test_a_migration_leaves_one_copy_that_is_as_the_file_was(tmp_path: Path, schema: int) -> None:
    path = tmp_path / "autotune.db"
    OLD[schema](path)
    assert schema_in(path) == schema
    decisions, rows, devices = list_decisions(path), count_rows(path), list_devices(path)
    evidence = decision_measurements(path, devices[0].key, keys_of(path))
    assert copies_of(path) == []  # to read makes none
    Store.open(path).close()
    Store.open(path).close()
    (copy,) = copies_of(path)
    assert copy.name.startswith(f"autotune.db.schema-{schema}.")
    assert {each.name for each in tmp_path.iterdir()} == {path.name, copy.name}
    assert schema_in(copy) == schema
    assert schema_in(path) == SCHEMA_VERSION
    assert (count_rows(copy), list_devices(copy)) == (rows, devices)
    assert [replace(each, file=path) for each in list_decisions(copy)] == list(decisions)
    assert decision_measurements(copy, devices[0].key, keys_of(copy)) == evidence
    assert [each for each in examine(copy) if each.level == "error"] == []


def test_a_file_without_rows_of_any_schema_is_not_copied(tmp_path: Path) -> None:
    path = tmp_path / "autotune.db"
    path.touch()
    Store.open(path).close()
    assert copies_of(path) == []


def unmigrated(path: Path, before: dict[str, tuple[int, bytes]]) -> bool:
    return snapshot(path.parent) == before and schema_in(path) == 2


def test_without_room_for_the_copy_nothing_is_migrated(tmp_path: Path) -> None:
    path = tmp_path / "autotune.db"
    old_2(path)
    before = snapshot(tmp_path)
    said = with_little_room("migrate", path, path.stat().st_size // 2)
    assert said.startswith("CacheUnwritableError cache ")
    assert "autotune.db.schema-2." in said
    assert unmigrated(path, before)
    assert {each.name for each in tmp_path.iterdir()} == {path.name}


def test_a_copy_whose_name_would_be_too_long(tmp_path: Path) -> None:
    path = tmp_path / f"{'long' * 58}.db"
    old_2(path)
    before = snapshot(tmp_path)
    with pytest.raises(CacheUnwritableError, match="File name too long") as caught:
        Store.open(path)
    assert "\n" not in str(caught.value)
    assert unmigrated(path, before)


def test_a_folder_in_the_way_of_the_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "autotune.db"
    old_2(path)
    folder = tmp_path / "autotune.db.schema-2.now"
    folder.mkdir()
    monkeypatch.setattr(backup, "beside", lambda *_: folder)
    before = snapshot(tmp_path)
    with pytest.raises(CacheUnwritableError, match="Is a directory") as caught:
        Store.open(path)
    assert str(folder) in str(caught.value)
    assert unmigrated(path, before)
    assert sorted(tmp_path.iterdir()) == [path, folder]


def test_a_name_that_is_taken_is_not_taken_again(tmp_path: Path) -> None:
    path = tmp_path / "autotune.db"
    first = backup.beside(path, "schema-2")
    first.write_text("of somebody")
    for _ in range(3):
        old_2(path)
        Store.open(path).close()
    copies = [each for each in copies_of(path) if each != first]
    assert [schema_in(each) for each in copies] == [2, 2, 2]
    assert first.read_text() == "of somebody"


RANKS = 8
FILES = 3


def open_as_rank(folder: Path, barrier: Barrier) -> None:
    for number in range(FILES):
        barrier.wait(timeout=60)
        Store.open(folder / str(number) / "autotune.db").close()


def test_eight_processes_that_open_an_old_file_together_make_one_copy(tmp_path: Path) -> None:
    paths = [tmp_path / str(number) / "autotune.db" for number in range(FILES)]
    for path in paths:
        path.parent.mkdir()
        old_2(path)
    decisions = [each.decision for each in list_decisions(paths[0])]
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(RANKS)
    ranks = [context.Process(target=open_as_rank, args=(tmp_path, barrier)) for _ in range(RANKS)]
    for each in ranks:
        each.start()
    for each in ranks:
        each.join(timeout=120)
    assert [each.exitcode for each in ranks] == [0] * RANKS
    for path in paths:
        (copy,) = copies_of(path)
        assert sorted(path.parent.iterdir()) == [path, copy]
        assert (schema_in(copy), schema_in(path)) == (2, SCHEMA_VERSION)
        for file in (copy, path):
            assert [each.decision for each in list_decisions(file)] == decisions
