"""Export, import and merge lose nothing, decide conflicts by a rule, and write whole files only."""

from __future__ import annotations

import dataclasses
import errno
import gc
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from datetime import timedelta, timezone
from pathlib import Path
from threading import Barrier
from typing import Any, TypeAlias

import pytest
from cache_examples import (
    CONFIRMATION,
    DECISION,
    DEVICE,
    H100_RUN,
    H100_SCHEMA_2,
    MODEL,
    PROVENANCE,
    REJECTED,
    TIMED,
    tamper,
    unpack_h100_run,
    write_schema_1,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from cache import (
    CacheError,
    CacheUnwritableError,
    ConfirmationRow,
    DecisionRow,
    DeviceRow,
    MeasurementRow,
    Merged,
    ModelRow,
    Policy,
    Prefer,
    Provenance,
    Selected,
    Store,
    examine,
    export_cache,
    import_rows,
    list_decisions,
    merge_files,
)
from cache.checks import MOST_CHARACTERS, MOST_ROW_CHARACTERS
from cache.jsonl import header_line, row_line
from cache.query import Which
from cache.records import TABLES, Row, columns_of, kinds_at, to_record

Content: TypeAlias = dict[str, list[tuple[object, ...]]]
Take: TypeAlias = Callable[[Path, Path, Policy], Merged]

NEWEST = Policy()
RUNS = [H100_RUN, H100_SCHEMA_2] + [
    H100_RUN.with_name(f"h100-{name}.db.xz") for name in ("run2", "method3-run2", "method3-run3")
]
SUFFIXES = pytest.mark.parametrize("suffix", [".db", ".jsonl"])
OTHER_DEVICE = replace(DEVICE, key="rocm;MI300X", kind="rocm", name="AMD Instinct MI300X")
OTHER_MODEL = replace(MODEL, fingerprint="hq=8;hkv=1;d=128", name="llama-3.1-70b")


def put(path: Path, *rows: Row) -> Path:
    with Store.open(path) as store:
        for row in rows:
            match row:
                case DeviceRow():
                    store.put_device(row)
                case ModelRow():
                    store.put_model(row)
                case MeasurementRow():
                    store.put_measurements([row])
                case DecisionRow():
                    store.put_decision(row)
                case ConfirmationRow():
                    store.put_confirmations([row])
    return path


def filled(path: Path, *rows: Row) -> Path:
    return put(path, DEVICE, MODEL, *(rows or (TIMED, REJECTED, DECISION)))


def lines(path: Path, *rows: Row) -> Path:
    """As an export, in whatever order and however often."""
    text = [row_line(type(row), tuple(to_record(row).values())[:-1]) for row in rows]
    path.write_text(header_line() + "".join(text), "utf-8")
    return path


def made(row: MeasurementRow | DecisionRow, at: str, **others: object) -> Row:
    """The row as another host made it at another time."""
    origin = replace(PROVENANCE, created_at=at, host="another")
    return replace(row, provenance=origin, **others)


def content(path: Path) -> Content:
    """Every table without its ids, in no order; what an older schema lacks is NULL."""
    with closing(sqlite3.connect(path)) as connection:
        (schema,) = connection.execute("PRAGMA user_version").fetchone()
        found: Content = {table.name: [] for table in TABLES.values()}
        for kind in kinds_at(schema):
            table = TABLES[kind]
            terms = ", ".join(table.term(column, schema) for column in columns_of(kind))
            rows = connection.execute(f"SELECT {terms} FROM {table.name}").fetchall()
            found[table.name] = sorted(rows, key=repr)
    return found


def is_whole(path: Path) -> bool:
    """Whether pages, pointers and checksums are as they should be."""
    return not [each for each in examine(path) if each.level == "error"]


def names(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir()}


def counts(merged: Merged, place: int = 0) -> dict[str, int]:
    return {fate: count for fate, count in merged.files[place].tally.fates.items() if count}


def into_new(source: Path, target: Path, policy: Policy) -> Merged:
    return merge_files([source], target, policy)


def on_connecting(
    monkeypatch: pytest.MonkeyPatch, then: Callable[[sqlite3.Connection], object]
) -> None:
    """Do something with every connection that is opened from now on."""
    plain = sqlite3.connect

    def connect(*arguments: Any, **named: Any) -> sqlite3.Connection:
        connection = plain(*arguments, **named)
        then(connection)
        return connection

    monkeypatch.setattr(sqlite3, "connect", connect)


TAKES = pytest.mark.parametrize("take", [import_rows, into_new], ids=["import", "merge"])

# Round trips


def go_round(source: Path, suffix: str, folder: Path) -> None:
    """To a file, into an empty cache, and to a file again."""
    before = source.read_bytes()
    there, back, again = folder / f"there{suffix}", folder / "back.db", folder / f"again{suffix}"
    exported = export_cache(source, there).tally
    taken = import_rows(there, back, NEWEST)
    export_cache(back, again)
    rows = sum(map(len, content(source).values()))
    assert (exported.fates["new"], exported.refused) == (rows, [])
    assert counts(taken) == ({"new": rows} if rows else {})
    assert content(back) == content(source)
    assert is_whole(back)
    if suffix == ".jsonl":
        assert again.read_bytes() == there.read_bytes()
    else:
        assert content(again) == content(there) == content(source)
        assert is_whole(again)
    assert source.read_bytes() == before


@SUFFIXES
@pytest.mark.parametrize("packed", RUNS, ids=[each.name for each in RUNS])
def test_a_whole_run_goes_round_without_a_loss(tmp_path: Path, packed: Path, suffix: str) -> None:
    unpack_h100_run(tmp_path / "run.db", packed)
    go_round(tmp_path / "run.db", suffix, tmp_path)


@SUFFIXES
def test_files_of_the_first_and_of_this_schema_go_round(tmp_path: Path, suffix: str) -> None:
    for name in ("first", "this", "empty"):
        (tmp_path / name).mkdir()
    write_schema_1(tmp_path / "old.db", DEVICE, MODEL, TIMED, REJECTED, DECISION)
    go_round(tmp_path / "old.db", suffix, tmp_path / "first")
    new = filled(tmp_path / "new.db", TIMED, REJECTED, DECISION, CONFIRMATION)
    go_round(new, suffix, tmp_path / "this")
    go_round(put(tmp_path / "empty.db"), suffix, tmp_path / "empty")


NAMES = frozenset(
    {"backend", "variant", "engine", "page_layout", "phase", "outcome", "winner", "verdict"}
)
DRAWN = {
    "name": st.text("azAZ09_@.+:-é漢", min_size=1, max_size=12).filter(
        lambda name: name.strip(".")
    ),
    "str": st.text(st.characters(exclude_categories=["Cs", "Cc", "Cf", "Zl", "Zp"]), max_size=40),
    "int": st.integers(1, 2**63 - 1),
    "float": st.floats(1e-9, allow_nan=False, allow_infinity=False),
    "bool": st.booleans(),
}
MOMENTS = st.builds(
    lambda moment, minutes: moment.replace(tzinfo=timezone(timedelta(minutes=minutes))).isoformat(),
    st.datetimes(),
    st.integers(-1439, 1439),
)
ORIGINS = st.builds(Provenance, MOMENTS, DRAWN["str"], DRAWN["str"], DRAWN["str"] | st.none())


def drawn_row(kind: type[Row], **fixed: object) -> st.SearchStrategy[Row]:
    """Rows that may come from elsewhere."""
    values: dict[str, st.SearchStrategy[object]] = {}
    for each in dataclasses.fields(kind):
        plain = str(each.type).removesuffix(" | None")
        drawn = ORIGINS if plain == "Provenance" else DRAWN["name" if each.name in NAMES else plain]
        values[each.name] = drawn if plain == each.type else drawn | st.none()
    return st.builds(kind, **{**values, **{name: st.just(x) for name, x in fixed.items()}})


@settings(max_examples=25, deadline=None)
@given(data=st.data(), suffix=st.sampled_from([".db", ".jsonl"]))
def test_whatever_rows_hold_goes_round(data: st.DataObject, suffix: str) -> None:
    device, model = data.draw(drawn_row(DeviceRow)), data.draw(drawn_row(ModelRow))
    assert isinstance(device, DeviceRow)
    assert isinstance(model, ModelRow)
    decided = {"device_key": device.key, "model_fingerprint": model.fingerprint}
    measured = st.lists(drawn_row(MeasurementRow, device_key=device.key), max_size=3)
    rows = data.draw(measured) + data.draw(st.lists(drawn_row(DecisionRow, **decided), max_size=3))
    rows += data.draw(st.lists(drawn_row(ConfirmationRow, device_key=device.key), max_size=3))
    with tempfile.TemporaryDirectory() as folder:
        source = put(Path(folder) / "source.db", device, model, *rows)
        go_round(source, suffix, Path(folder))


@SUFFIXES
@pytest.mark.parametrize("character", ["x", '"', "\u6f22", "\U00020000"])
def test_a_row_of_the_longest_texts_goes_round(tmp_path: Path, suffix: str, character: str) -> None:
    text = character * MOST_CHARACTERS
    long = replace(DECISION, why=text, per_kind=text, runners_up=text)
    nearly = character * (MOST_ROW_CHARACTERS - 3 * MOST_CHARACTERS - 1000)
    go_round(filled(tmp_path / "long.db", replace(long, split=nearly)), suffix, tmp_path)


# Export


def many_rows() -> list[Row]:
    layers = replace(TIMED, key="m3", spec_key="another layer")
    remote = replace(TIMED, key="m4", device_key=OTHER_DEVICE.key)
    engine = replace(DECISION, question="q2", engine="vllm", model_fingerprint=MODEL.fingerprint)
    other = replace(
        engine,
        question="q3",
        device_key=OTHER_DEVICE.key,
        model_fingerprint=OTHER_MODEL.fingerprint,
    )
    return [TIMED, REJECTED, layers, remote, DECISION, engine, other]


def test_the_same_rows_in_another_order_are_the_same_text(tmp_path: Path) -> None:
    parts: list[Row] = [DEVICE, OTHER_DEVICE, MODEL, OTHER_MODEL]
    put(tmp_path / "a.db", *parts, *many_rows())
    put(tmp_path / "b.db", *parts[::-1], *many_rows()[::-1])
    export_cache(tmp_path / "a.db", tmp_path / "a.jsonl")
    export_cache(tmp_path / "b.db", tmp_path / "b.jsonl")
    assert (tmp_path / "a.jsonl").read_text() == (tmp_path / "b.jsonl").read_text()
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 1 + 4 + 7


@SUFFIXES
def test_a_part_is_the_decisions_asked_for_and_what_they_rest_on(
    tmp_path: Path, suffix: str
) -> None:
    source = put(tmp_path / "a.db", DEVICE, OTHER_DEVICE, MODEL, OTHER_MODEL, *many_rows())
    part = Selected(Which(engines=("any",)), {DEVICE.key: (TIMED.spec_key,)})
    done = export_cache(source, tmp_path / f"part{suffix}", part)
    assert done.tally.fates == {"new": 5}
    import_rows(tmp_path / f"part{suffix}", tmp_path / "back.db", NEWEST)
    expected = filled(tmp_path / "expected.db", TIMED, REJECTED, DECISION)
    assert content(tmp_path / "back.db") == content(expected)


def test_a_part_may_be_of_any_number_of_decisions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # SQLite's own limit, which Debian's build raises.
    if sys.version_info < (3, 11):
        pytest.skip("this Python cannot set it")
    limit = sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER
    on_connecting(monkeypatch, lambda connection: connection.setlimit(limit, 32_766))
    part = Selected(Which(ids=tuple(range(1, 40_000))), {})
    done = export_cache(filled(tmp_path / "a.db"), tmp_path / "b.db", part)
    assert done.tally.fates == {"new": 3}


@SUFFIXES
def test_damaged_rows_are_left_out_and_told(tmp_path: Path, suffix: str) -> None:
    source = filled(tmp_path / "a.db")
    with closing(sqlite3.connect(source)) as connection, connection:
        connection.execute("UPDATE measurements SET gpu_us = 1 WHERE key = 'm1'")
    tally = export_cache(source, tmp_path / f"b{suffix}").tally
    assert tally.fates == {"new": 4, "refused": 1}
    assert [each.where for each in tally.refused] == ["measurements 1"]


@SUFFIXES
def test_what_is_there_is_replaced_only_under_force(tmp_path: Path, suffix: str) -> None:
    source, target = filled(tmp_path / "a.db"), tmp_path / f"b{suffix}"
    target.write_bytes(b"somebody's")
    with pytest.raises(CacheUnwritableError, match="is there already; name another file, or pass"):
        export_cache(source, target)
    with pytest.raises(CacheUnwritableError, match="is there already"):
        merge_files([source], target, NEWEST)
    assert target.read_bytes() == b"somebody's"
    export_cache(source, target, is_forced=True)
    back = tmp_path / "back.db"
    import_rows(target, back, NEWEST)
    assert content(back) == content(source)
    assert names(tmp_path) == {"a.db", target.name, "back.db"}


@SUFFIXES
def test_a_file_system_without_links_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))  # as on vfat and gcsfuse

    source = filled(tmp_path / "a.db")
    monkeypatch.setattr(os, "link", refuse)
    export_cache(source, tmp_path / f"b{suffix}")
    import_rows(tmp_path / f"b{suffix}", tmp_path / "c.db", NEWEST)
    assert content(tmp_path / "c.db") == content(source)


def spoil_last_leaf(path: Path) -> Path:
    """Damage that reading meets when most rows are through."""
    with closing(sqlite3.connect(path)) as connection:
        sql = "SELECT rootpage FROM sqlite_master WHERE name = 'measurements'"
        (root,) = connection.execute(sql).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    pages = bytearray(path.read_bytes())
    page = root
    while pages[(page - 1) * size] == 5:  # has children; the last one's number comes at its byte 8
        start = (page - 1) * size + 8
        page = int.from_bytes(pages[start : start + 4], "big")
    pages[(page - 1) * size] = 0xFF
    path.write_bytes(pages)
    return path


@SUFFIXES
def test_an_export_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, suffix: str
) -> None:
    source, target = tmp_path / "a.db", tmp_path / f"b{suffix}"
    unpack_h100_run(source)
    spoil_last_leaf(source)
    target.write_bytes(b"the old one")
    with pytest.raises(CacheError, match=r"a\.db: the file is damaged"):
        export_cache(source, target, is_forced=True)
    assert target.read_bytes() == b"the old one"
    with pytest.raises(CacheError, match=r"a\.db: the file is damaged"):
        merge_files([source], tmp_path / "c.db", NEWEST)
    assert names(tmp_path) == {"a.db", target.name}


def test_a_full_disk_leaves_all_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = tmp_path / "a.db", filled(tmp_path / "b.db")
    unpack_h100_run(source)
    before = content(target)
    full = "PRAGMA max_page_count = 40"
    on_connecting(monkeypatch, lambda connection: connection.execute(full))
    for attempt in (
        lambda: export_cache(source, target, is_forced=True),
        lambda: import_rows(source, target, NEWEST),
        lambda: merge_files([source], target, NEWEST, is_forced=True),
    ):
        with pytest.raises(CacheUnwritableError, match="the disk is full"):
            attempt()
    assert content(target) == before
    assert is_whole(target)
    assert names(tmp_path) == {"a.db", "b.db"}


def test_an_import_that_failed_lets_go_of_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "a.db", filled(tmp_path / "b.db")
    unpack_h100_run(source)
    full = "PRAGMA max_page_count = 40"
    with monkeypatch.context() as patch:
        on_connecting(patch, lambda connection: connection.execute(full))
        with pytest.raises(CacheUnwritableError) as failed:
            import_rows(source, target, NEWEST)
    for path in (target, source):
        with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
    assert failed.value.path == target


def die_half_way(path: Path) -> None:
    """Leave what kill -9 leaves: pages changed, and a journal beside them."""
    script = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN IMMEDIATE")
connection.execute("UPDATE measurements SET message = hex(zeroblob(50000))")
connection.execute("DELETE FROM decisions")
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.with_name(f"{path.name}-journal").stat().st_size > 0


USES: dict[str, Callable[[Path, Path], object]] = {
    "export": export_cache,
    "import from it": lambda path, other: import_rows(path, other, NEWEST),
    "merge": lambda path, other: merge_files([path], other, NEWEST),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_what_a_killed_writer_left_is_undone_first(
    tmp_path: Path, use: Callable[[Path, Path], object]
) -> None:
    path = filled(tmp_path / "a.db")
    before = content(path)
    die_half_way(path)
    use(path, tmp_path / "b.db")
    assert content(tmp_path / "b.db") == before


def test_a_rehearsal_undoes_what_a_killed_writer_left(tmp_path: Path) -> None:
    path, source = filled(tmp_path / "a.db"), filled(tmp_path / "b.db")
    die_half_way(path)
    assert counts(import_rows(source, path, NEWEST, is_rehearsal=True)) == {"same": 5}


# Import


def newer_and_older() -> list[Row]:
    """Of four known keys one is the same, one newer, one older, and one row is new."""
    newer = made(REJECTED, "2026-02-01T00:00:00Z", reasons="[]")
    older = made(DECISION, "2025-12-31T00:00:00Z", why="because")
    return [DEVICE, MODEL, TIMED, newer, replace(TIMED, key="m3"), older]


@SUFFIXES
def test_every_row_is_counted_and_a_second_time_changes_nothing(
    tmp_path: Path, suffix: str
) -> None:
    target = filled(tmp_path / "a.db")
    put(tmp_path / "b.db", *newer_and_older())
    export_cache(tmp_path / "b.db", tmp_path / f"c{suffix}")
    merged = import_rows(tmp_path / f"c{suffix}", target, NEWEST)
    assert counts(merged) == {"same": 3, "replaced": 1, "new": 1, "kept": 1}
    told = [(each.table, each.fate) for each in merged.files[0].tally.conflicts]
    assert told == [("measurements", "replaced"), ("decisions", "kept")]
    assert is_whole(target)
    [decision] = list_decisions(target)
    assert decision.decision == DECISION
    before = target.read_bytes()
    again = import_rows(tmp_path / f"c{suffix}", target, NEWEST)
    assert counts(again) == {"same": 5, "kept": 1}
    assert target.read_bytes() == before


def test_a_decision_that_is_replaced_keeps_its_id(tmp_path: Path) -> None:
    target = filled(tmp_path / "a.db")
    (before,) = list_decisions(target)
    newer = made(DECISION, "2027-01-01T00:00:00Z", why="because")
    import_rows(lines(tmp_path / "b.jsonl", DEVICE, MODEL, newer), target, NEWEST)
    (after,) = list_decisions(target)
    assert (after.id, after.decision) == (before.id, newer)


def test_a_rehearsal_tells_the_same_and_changes_nothing(tmp_path: Path) -> None:
    target, source = filled(tmp_path / "a.db"), put(tmp_path / "b.db", *newer_and_older())
    before = target.read_bytes()
    rehearsed = import_rows(source, target, NEWEST, is_rehearsal=True)
    assert target.read_bytes() == before
    assert rehearsed == import_rows(source, target, NEWEST)
    missing = tmp_path / "no" / "c.db"
    assert counts(import_rows(source, missing, NEWEST, is_rehearsal=True)) == {"new": 6}
    assert names(tmp_path) == {"a.db", "b.db"}


def test_a_file_imported_into_itself_stays(tmp_path: Path) -> None:
    path = filled(tmp_path / "a.db")
    before = path.read_bytes()
    assert counts(import_rows(path, path, NEWEST)) == {"same": 5}
    assert path.read_bytes() == before


def test_an_old_cache_is_brought_up_to_date_by_an_import(tmp_path: Path) -> None:
    target = tmp_path / "old.db"
    write_schema_1(target, DEVICE, MODEL, TIMED, REJECTED, DECISION)
    new = lines(tmp_path / "b.jsonl", DEVICE, MODEL, replace(TIMED, key="m3"))
    assert counts(import_rows(new, target, NEWEST)) == {"same": 2, "new": 1}
    assert is_whole(target)
    assert len(content(target)["measurements"]) == 3


def test_an_import_that_fails_makes_no_file(tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").write_text("not ours")
    for source in (tmp_path / "b.jsonl", tmp_path / "none.db"):
        with pytest.raises(CacheError):
            import_rows(source, tmp_path / "new" / "a.db", NEWEST)
    assert not (tmp_path / "new" / "a.db").exists()


@TAKES
@pytest.mark.parametrize("row", [TIMED, DECISION], ids=["measurement", "decision"])
def test_a_row_that_points_nowhere_is_refused(tmp_path: Path, take: Take, row: Row) -> None:
    elsewhere = replace(row, device_key="nowhere")  # type: ignore[type-var]
    source = lines(tmp_path / "a.jsonl", DEVICE, MODEL, elsewhere, REJECTED)
    merged = take(source, tmp_path / "b.db", NEWEST)
    assert counts(merged) == {"new": 3, "refused": 1}
    (refused,) = merged.files[0].tally.refused
    assert refused.why == "its device_key is not in the file"
    assert is_whole(tmp_path / "b.db")


def test_a_device_that_the_cache_knows_need_not_come_along(tmp_path: Path) -> None:
    target = put(tmp_path / "a.db", DEVICE, MODEL)
    assert counts(import_rows(lines(tmp_path / "b.jsonl", TIMED), target, NEWEST)) == {"new": 1}


@TAKES
def test_a_key_that_a_file_has_twice(tmp_path: Path, take: Take) -> None:
    newer = made(TIMED, "2027-01-01T00:00:00Z", gpu_us=1.0)
    older = made(TIMED, "2025-01-01T00:00:00Z", gpu_us=2.0)
    rows = (DEVICE, MODEL, TIMED, DEVICE, TIMED, older, newer, newer, DECISION, DECISION)
    merged = take(lines(tmp_path / "a.jsonl", *rows), tmp_path / "b.db", NEWEST)
    assert sum(counts(merged).values()) == len(rows)
    assert counts(merged)["new"] == 4
    assert len(content(tmp_path / "b.db")["measurements"]) == 1
    assert is_whole(tmp_path / "b.db")


DAMAGE = {
    "no time": ("created_at = 'yesterday'", TIMED),
    "no samples": ("samples = 'many'", TIMED),
    "no time of a decision": ("created_at = ''", DECISION),
    "no bound": ("bound = 'tight'", DECISION),
}


@pytest.mark.parametrize(("damage", "row"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_row_of_the_cache_itself_is_no_crash(
    tmp_path: Path, damage: str, row: Row
) -> None:
    target = filled(tmp_path / "a.db")
    tamper(target, f"UPDATE {TABLES[type(row)].name} SET {damage}")
    source = filled(tmp_path / "b.db", TIMED, DECISION)
    with suppress(CacheError):
        assert sum(counts(import_rows(source, target, NEWEST)).values()) == 4


# Conflicts

OURS = "2026-01-02T03:04:05+02:00"
MOMENTS_OF_THEIRS = {
    "2026-01-02T03:04:06+02:00": True,
    "2026-01-02T03:04:04+02:00": False,
    "2026-01-02T02:00:00+00:00": True,  # the text is less and the moment later
    "2026-01-02T04:00:00+03:00": False,  # and the other way round
    "2026-01-02T01:04:05Z": False,  # the same moment
    "2026-01-02T01:04:06Z": True,
    "2026-01-02T02:00:00": True,  # UTC where none is named
    "2026-01-03": True,
    "9999-12-31T23:59:59-23:59": True,
    "0001-01-01T00:00:00+23:59": False,
}


@pytest.mark.parametrize("prefer", ["newest", "driver"])
@pytest.mark.parametrize("row", [TIMED, DECISION], ids=["measurement", "decision"])
@pytest.mark.parametrize(("theirs", "is_later"), MOMENTS_OF_THEIRS.items())
def test_the_later_row_stays_at_whatever_offset(
    tmp_path: Path, prefer: Prefer, row: MeasurementRow, theirs: str, is_later: bool
) -> None:
    target = filled(tmp_path / "a.db", made(row, OURS))
    came = lines(tmp_path / "b.jsonl", made(row, theirs, method=7))
    fate = "replaced" if is_later else "kept"
    assert counts(import_rows(came, target, Policy(prefer))) == {fate: 1}
    place = columns_of(type(row)).index("method")
    (stored,) = content(target)[TABLES[type(row)].name]
    assert stored[place] == (7 if is_later else row.method)
    assert is_whole(target)


CERTAINTIES = {
    "more samples": (TIMED, {"samples": 201}, True),
    "fewer samples": (TIMED, {"samples": 199}, False),
    "no samples": (REJECTED, {}, False),
    "samples where there are none": (REJECTED, {"samples": 1}, True),
    "tighter": (replace(DECISION, bound=0.02), {"bound": 0.01}, True),
    "a bound that is a whole number": (replace(DECISION, bound=0.02), {"bound": 0}, True),
    "wider": (replace(DECISION, bound=0.02), {"bound": 0.03}, False),
    "no bound": (replace(DECISION, bound=0.02), {"bound": None}, False),
    "a bound where there is none": (DECISION, {"bound": 5.0}, True),
}


@pytest.mark.parametrize(("ours", "others", "is_surer"), CERTAINTIES.values(), ids=CERTAINTIES)
def test_the_surer_row_stays_and_of_equal_ones_the_later(
    tmp_path: Path, ours: MeasurementRow, others: dict[str, object], is_surer: bool
) -> None:
    policy = Policy("samples")
    for at in ("2020-01-01T00:00:00Z", "2030-01-01T00:00:00Z"):
        path = filled(tmp_path / f"{at[:4]}.db", ours)
        came = lines(tmp_path / "b.jsonl", made(ours, at, method=7, **others))
        is_taken = is_surer or (at > "2026" and not others)
        assert counts(import_rows(came, path, policy)) == {"replaced" if is_taken else "kept": 1}


VERSIONS = '{{"nvidia-driver": "{}", "cuda-driver": "{}", "torch": "{}"}}'


def for_versions(*versions: str) -> DecisionRow:
    return replace(DECISION, versions=VERSIONS.format(*versions))


def stored_versions(path: Path) -> set[str]:
    return {each.decision.versions for each in list_decisions(path)}


@TAKES
def test_of_decisions_that_differ_in_the_driver_the_one_asked_for_stays(
    tmp_path: Path, take: Take
) -> None:
    ours, others = for_versions("580", "13", "2.11"), for_versions("570", "13", "2.11")
    halves, alone = for_versions("580", "12", "2.11"), for_versions("570", "13", "2.9")
    elsewhere = replace(others, question="another")
    source = put(tmp_path / "a.db", DEVICE, MODEL, ours, others, halves, alone, elsewhere, DECISION)
    drivers = {"nvidia-driver": "580", "cuda-driver": "13"}
    merged = take(source, tmp_path / "b.db", Policy("driver", drivers))
    assert (counts(merged), merged.other_drivers) == ({"new": 8}, 2)
    kept = (ours, alone, elsewhere, DECISION)
    assert stored_versions(tmp_path / "b.db") == {each.versions for each in kept}
    assert len(list_decisions(tmp_path / "b.db")) == 4
    assert stored_versions(source) == stored_versions(tmp_path / "b.db") | {halves.versions}


@pytest.mark.parametrize("drivers", [None, {}, {"nvidia-driver": "999"}, {"amdgpu": "6"}])
def test_where_nobody_has_the_driver_all_stay(
    tmp_path: Path, drivers: dict[str, str] | None
) -> None:
    two = (for_versions("580", "13", "2.11"), for_versions("570", "13", "2.11"))
    source = put(tmp_path / "a.db", DEVICE, MODEL, *two)
    merged = import_rows(source, tmp_path / "b.db", Policy("driver", drivers))
    assert merged.other_drivers == 0
    assert len(list_decisions(tmp_path / "b.db")) == 2


def race(at: tuple[str, str], host: str, workload: str) -> list[MeasurementRow]:
    """Two candidates of one workload, stored at these times."""
    return [
        replace(
            TIMED,
            key=f"{workload} {backend}",
            workload=workload,
            backend=backend,
            provenance=replace(PROVENANCE, created_at=moment, host=host),
        )
        for backend, moment in zip(("first", "second"), at, strict=True)
    ]


@TAKES
@pytest.mark.parametrize("prefer", ["newest", "samples", "driver"])
@pytest.mark.parametrize("theirs", [("2025", "2027"), ("2027", "2025"), ("2027", "2027")])
def test_what_raced_together_is_taken_from_one_side(
    tmp_path: Path, take: Take, prefer: Prefer, theirs: tuple[str, str]
) -> None:
    first, second = (f"{year}-01-01T00:00:00Z" for year in theirs)
    before, after = "2026-01-01T00:00:00Z", "2028-01-01T00:00:00Z"
    ours = [*race((before, before), "ours", "q1"), *race((after, after), "ours", "q2")]
    came = [*race((first, second), "theirs", "q1"), *race((first, second), "theirs", "q2")]
    target, source = filled(tmp_path / "a.db", *ours), lines(tmp_path / "b.jsonl", *came)
    if take is into_new:
        merge_files([target, source], tmp_path / "c.db", Policy(prefer))
        target = tmp_path / "c.db"
    else:
        take(source, target, Policy(prefer))
    place, host = (columns_of(MeasurementRow).index(name) for name in ("workload", "host"))
    sides = {workload: {row[host] for row in content(target)["measurements"]
                        if row[place] == workload} for workload in ("q1", "q2")}  # fmt: skip
    assert len(sides["q1"]) == 1
    assert sides["q2"] == {"ours"}


# Merge


def test_files_of_every_kind_become_one(tmp_path: Path) -> None:
    unpack_h100_run(tmp_path / "1.db")
    unpack_h100_run(tmp_path / "2.db", H100_SCHEMA_2)
    filled(tmp_path / "3.db")
    lines(tmp_path / "4.jsonl", DEVICE, MODEL, TIMED, replace(TIMED, key="m3"))
    (tmp_path / "5.db").touch()
    sources = [tmp_path / name for name in ("1.db", "2.db", "3.db", "4.jsonl", "5.db")]
    before = [each.read_bytes() for each in sources]
    merged = merge_files(sources, tmp_path / "deep" / "all.db", NEWEST)
    assert [each.path for each in merged.files] == sources
    assert counts(merged, 3) == {"same": 3, "new": 1}
    assert counts(merged, 4) == {}
    whole = content(tmp_path / "deep" / "all.db")
    assert is_whole(tmp_path / "deep" / "all.db")
    for name, key in (("1.db", "measurements"), ("2.db", "measurements"), ("3.db", "decisions")):
        place = columns_of(MeasurementRow).index("key")
        keys = {row[place] for row in content(tmp_path / name)[key]}
        assert keys <= {row[place] for row in whole[key]}
    assert [each.read_bytes() for each in sources] == before
    assert names(tmp_path / "deep") == {"all.db"}


def test_files_without_conflicts_merge_alike_in_any_order(tmp_path: Path) -> None:
    a = filled(tmp_path / "a.db", TIMED, DECISION)
    b = put(tmp_path / "b.db", OTHER_DEVICE, MODEL, replace(TIMED, key="m5",
            device_key=OTHER_DEVICE.key))  # fmt: skip
    merge_files([a, b], tmp_path / "ab.db", NEWEST)
    merge_files([b, a, a], tmp_path / "ba.db", NEWEST)
    assert content(tmp_path / "ab.db") == content(tmp_path / "ba.db")


def test_two_runs_conflict_in_measurements_alike_by_merge_and_import(tmp_path: Path) -> None:
    runs = [tmp_path / "1.db", tmp_path / "2.db"]
    for path, packed in zip(runs, (RUNS[1], RUNS[3]), strict=True):
        unpack_h100_run(path, packed)
    merged = merge_files(runs, tmp_path / "merged.db", NEWEST)
    for path in runs:
        imported = import_rows(path, tmp_path / "imported.db", NEWEST)
    assert counts(imported) == counts(merged, 1)
    assert counts(imported).keys() & {"replaced", "kept"}
    assert content(tmp_path / "imported.db") == content(tmp_path / "merged.db")


def cut(path: Path) -> None:
    os.truncate(filled(path), 9000)


BAD: dict[str, Callable[[Path], object]] = {
    "missing": lambda _: None,
    "cut": cut,
    "damaged": lambda path: (unpack_h100_run(path), spoil_last_leaf(path)),
    "text": lambda path: path.write_text("not ours\n"),
    "a folder": Path.mkdir,
}


@pytest.mark.parametrize("spoil", BAD.values(), ids=BAD)
def test_one_bad_file_stops_a_merge(tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    good, bad, output = filled(tmp_path / "good.db"), tmp_path / "bad.db", tmp_path / "all.db"
    spoil(bad)
    before = names(tmp_path)
    with pytest.raises(CacheError, match=r"bad\.db: ") as stopped:
        merge_files([good, bad, good], output, NEWEST)
    assert "\n" not in str(stopped.value)
    assert names(tmp_path) == before
    output.write_bytes(good.read_bytes())
    with pytest.raises(CacheError, match=r"bad\.db: "):
        merge_files([good, bad], output, NEWEST, is_forced=True)
    assert output.read_bytes() == good.read_bytes()
    assert names(tmp_path) == before | {"all.db"}


def test_the_output_may_be_among_the_files(tmp_path: Path) -> None:
    a, b = filled(tmp_path / "a.db"), put(tmp_path / "b.db", OTHER_DEVICE)
    merge_files([a, b], a, NEWEST, is_forced=True)
    assert [len(rows) for rows in content(a).values()] == [2, 1, 2, 1, 0, 0]


# Readers meanwhile


def reading(path: Path, barrier: Barrier, is_done: Callable[[], bool]) -> Iterator[int]:
    barrier.wait()
    while not is_done():
        yield len(list_decisions(path))
    yield len(list_decisions(path))


def test_readers_see_all_of_an_import_or_nothing(tmp_path: Path) -> None:
    gc.collect()  # a connection that another test left must not end in one of these threads
    target = filled(tmp_path / "a.db")
    many = (replace(DECISION, question=f"q{number}", why="y" * 3000) for number in range(400))
    source = lines(tmp_path / "b.jsonl", *many)
    barrier = Barrier(9)
    with ThreadPoolExecutor(9) as pool:

        def write() -> Merged:
            barrier.wait()
            return import_rows(source, target, NEWEST)

        writer = pool.submit(write)
        readers = [pool.submit(lambda: [*reading(target, barrier, writer.done)]) for _ in range(8)]
        seen = [each.result() for each in readers]
    assert counts(writer.result()) == {"new": 400}
    assert {count for each in seen for count in each} <= {1, 401}
    assert {each[-1] for each in seen} == {401}
