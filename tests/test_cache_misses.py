"""What starts missed: counted, bounded, kept through migration and repair, and never passed on."""

from __future__ import annotations

import multiprocessing
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cache_examples import (
    DECISION,
    DEVICE,
    MISS,
    MODEL,
    PROVENANCE,
    REJECTED,
    TIMED,
    tamper,
    write_schema_1,
)

from cache import (
    CacheCorruptError,
    DeviceRow,
    MissRow,
    ModelRow,
    Policy,
    Store,
    examine,
    export_cache,
    import_rows,
    list_decisions,
    list_devices,
    merge_files,
    read_misses,
    salvage_file,
)
from cache.database import SCHEMA_VERSION
from cache.misses import MOST_MISSES
from cache.records import to_record

if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "autotune.db"


def missed(path: Path) -> list[MissRow]:
    return [each.miss for each in read_misses(path)]


def put(path: Path, *rows: MissRow, device: DeviceRow = DEVICE, model: ModelRow = MODEL) -> None:
    with Store.open(path) as store:
        for row in rows:
            store.put_miss(row, device, model)


def at(moment: str, row: MissRow = MISS) -> MissRow:
    """Seen then, by another host."""
    origin = replace(PROVENANCE, created_at=moment, host="node8")
    return replace(row, last_seen=moment, provenance=origin)


def decide(path: Path) -> None:
    with Store.open(path) as store:
        store.put_device(DEVICE)
        store.put_model(MODEL)
        store.put_measurements([TIMED, REJECTED])
        store.put_decision(DECISION)


def errors(path: Path) -> list[str]:
    return [each.what for each in examine(path) if each.level == "error"]


# To note and to read


def test_a_miss_comes_back_with_its_device_and_model(path: Path) -> None:
    put(path, MISS)
    (found,) = read_misses(path)
    assert (found.miss, found.device, found.model) == (MISS, DEVICE, MODEL)
    assert [*examine(path)] == []


def test_seen_again_it_is_counted_and_its_last_start_is_told(path: Path) -> None:
    put(path, MISS)
    later = at("2026-02-03T00:00:00+00:00", replace(MISS, model="another name"))
    put(path, later)
    (found,) = missed(path)
    assert (found.times_seen, found.last_seen) == (2, later.last_seen)
    assert (found.model, found.provenance.host) == ("another name", "node8")
    assert found.provenance.created_at == MISS.provenance.created_at


def test_each_question_and_device_is_one_and_the_last_seen_comes_first(path: Path) -> None:
    other = replace(DEVICE, key="rocm;MI300X", name="AMD Instinct MI300X")
    put(path, MISS, at("2026-02-01T00:00:00Z", replace(MISS, question="another")))
    elsewhere = at("2026-01-20T00:00:00Z", replace(MISS, device_key=other.key))
    put(path, elsewhere, device=other)
    assert [(row.question, row.device_key) for row in missed(path)] == [
        ("another", DEVICE.key),
        (MISS.question, other.key),
        (MISS.question, DEVICE.key),
    ]


def test_a_miss_renames_no_model_that_is_known(path: Path) -> None:
    decide(path)
    put(path, replace(MISS, question="another"), model=replace(MODEL, name="a fine-tune"))
    assert [each.model.name for each in list_decisions(path)] == [MODEL.name]


def test_of_too_many_the_oldest_go_and_their_devices_with_them(path: Path) -> None:
    old = replace(DEVICE, key="old", name="Old")
    gone = at("2025-01-01T00:00:00Z", replace(MISS, device_key=old.key))
    put(path, gone, device=old)
    rows = [
        at(f"2026-01-01T{n // 60:02}:{n % 60:02}:00Z", replace(MISS, question=f"question {n}"))
        for n in range(MOST_MISSES + 5)
    ]
    put(path, *rows)
    assert missed(path) == rows[: -MOST_MISSES - 1 : -1]
    assert list_devices(path) == (DEVICE,)


def test_a_file_that_is_not_there_has_none_and_is_not_made(path: Path) -> None:
    assert read_misses(path) == ()
    assert not path.exists()


def test_a_damaged_miss_is_left_out_told_and_mended_by_the_next_start(path: Path) -> None:
    put(path, MISS, replace(MISS, question="another"))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE misses SET times_seen = 7 WHERE question = 'another'")
        connection.commit()
    assert missed(path) == [MISS]
    (line,) = errors(path)
    assert line.startswith("misses 2: checksum does not fit")
    put(path, replace(MISS, question="another"))
    assert {row.times_seen for row in missed(path)} == {1}
    assert errors(path) == []


@pytest.mark.parametrize("instead", ["VIEW misses AS SELECT 1", "TABLE misses (a, b AS (1))"])
def test_what_computes_in_the_place_of_the_table_is_refused(path: Path, instead: str) -> None:
    put(path, MISS)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE misses")
        connection.execute(f"CREATE {instead}")
        connection.commit()
    with pytest.raises(CacheCorruptError, match="misses is no plain table"):
        read_misses(path)


# To forget


def test_a_decision_takes_its_miss_away_and_no_other(path: Path) -> None:
    other = replace(MISS, question="another")
    put(path, MISS, other)
    decide(path)
    assert missed(path) == [other]


def test_one_can_be_forgotten(path: Path) -> None:
    other = replace(MISS, question="another")
    put(path, MISS, other)
    with Store.open(path) as store:
        store.forget_misses(MISS.device_key, MISS.question)
        store.forget_misses(MISS.device_key, MISS.question)
    assert missed(path) == [other]


def test_what_is_removed_takes_the_devices_and_models_that_were_left_for_it(path: Path) -> None:
    put(path, MISS)
    with Store.open(path) as store:
        assert store.remove([], []).orphans == 0
        removed = store.remove([], [], read_misses(path))
    assert (removed.misses, removed.orphans) == (1, 2)
    assert missed(path) == []


def test_what_was_seen_again_since_it_was_read_is_not_removed(path: Path) -> None:
    put(path, MISS)
    before = read_misses(path)
    put(path, at("2026-02-01T00:00:00Z"))
    with Store.open(path) as store:
        assert store.remove([], [], before).misses == 0
    assert len(missed(path)) == 1


# Exchange and repair


@pytest.mark.parametrize("suffix", [".db", ".jsonl"])
def test_an_export_has_none(path: Path, suffix: str) -> None:
    decide(path)
    put(path, replace(MISS, question="another"))
    out = path.with_name(f"out{suffix}")
    assert export_cache(path, out).tally.fates["refused"] == 0
    again = path.with_name("again.db")
    import_rows(out, again, Policy())
    assert missed(again) == []
    assert len(list_decisions(again)) == 1


def test_those_of_other_files_are_not_taken_and_one_s_own_stay(path: Path) -> None:
    other = path.with_name("other.db")
    put(other, replace(MISS, question="theirs"))
    put(path, replace(MISS, question="ours"))
    merged = import_rows(other, path, Policy())
    assert merged.files[0].tally.fates["refused"] == 0
    assert [row.question for row in missed(path)] == ["ours"]
    both = path.with_name("both.db")
    merge_files([path, other], both, Policy())
    assert missed(both) == []


def test_a_line_with_one_is_refused(path: Path) -> None:
    lines = path.with_name("lines.jsonl")
    export_cache(path_with(path), lines)
    with lines.open("a") as file:
        file.write('{"table": "misses", "question": "x"}\n')
    merged = import_rows(lines, path.with_name("target.db"), Policy())
    (refused,) = merged.files[0].tally.refused
    assert refused.why == "table is none of devices, models, measurements, decisions, confirmations"


def path_with(path: Path) -> Path:
    decide(path)
    return path


def test_an_imported_decision_takes_the_miss_away(path: Path) -> None:
    other = path.with_name("other.db")
    decide(other)
    put(path, MISS)
    import_rows(other, path, Policy(), is_rehearsal=True)
    assert missed(path) == [MISS]
    import_rows(other, path, Policy())
    assert missed(path) == []


def test_a_repair_saves_them(path: Path) -> None:
    decide(path)
    rows = [replace(MISS, question=f"question {n}") for n in range(5)]
    put(path, *rows)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE misses SET options = 'x' WHERE question = 'question 3'")
        connection.commit()
    saved = salvage_file(path)
    assert saved.tally.fates["refused"] == 1
    assert {row.question for row in missed(path)} == {f"question {n}" for n in (0, 1, 2, 4)}
    assert errors(path) == []


def test_who_knows_of_checksums_may_change_one(path: Path) -> None:
    put(path, MISS)
    tamper(path, "UPDATE misses SET times_seen = 9")
    assert missed(path) == [replace(MISS, times_seen=9)]


# Older files


def test_an_older_file_has_none_and_gets_the_table_with_the_first(path: Path) -> None:
    write_schema_1(path, DEVICE, MODEL, TIMED, DECISION)
    before = path.read_bytes()
    assert read_misses(path) == ()
    assert path.read_bytes() == before
    put(path, replace(MISS, question="another"))
    assert len(missed(path)) == len(list_decisions(path)) == 1
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
    assert len([*path.parent.glob("autotune.db.schema-1.*")]) == 1


# Many processes

RANKS = 4
TIMES = 5


def note_as_rank(rank: int, path: Path, barrier: Barrier) -> None:
    barrier.wait(timeout=60)
    for _ in range(TIMES):
        put(path, MISS, replace(MISS, question=f"of {rank}"))


def test_processes_that_miss_the_same_at_once_lose_nothing(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(RANKS)
    ranks = [context.Process(target=note_as_rank, args=(n, path, barrier)) for n in range(RANKS)]
    for each in ranks:
        each.start()
    for each in ranks:
        each.join(timeout=120)
    assert [each.exitcode for each in ranks] == [0] * RANKS
    assert {row.question: row.times_seen for row in missed(path)} == {
        MISS.question: RANKS * TIMES,
        **{f"of {n}": TIMES for n in range(RANKS)},
    }
    assert errors(path) == []


def test_a_row_is_plain_columns() -> None:
    assert {type(value) for value in to_record(MISS).values()} <= {str, int, type(None)}
