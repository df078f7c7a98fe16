"""What the engine said of winners: stored as a whole, read with the decision, gone with it."""

from __future__ import annotations

import itertools
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cache_examples import (
    CONFIRMATION,
    DECISION,
    DEVICE,
    MODEL,
    PROVENANCE,
    REJECTED,
    TIMED,
    write_schema_1,
    write_schema_5,
)
from test_cache_files import schema_in

from cache import (
    CacheCorruptError,
    CacheMissingError,
    ConfirmationRow,
    Policy,
    Selected,
    Store,
    StoredDecision,
    Which,
    examine,
    export_cache,
    import_rows,
    list_decisions,
    merge_files,
    read_confirmations,
    salvage_file,
)
from cache.database import SCHEMA_VERSION

OTHER_LOAD = replace(CONFIRMATION, load="16x2048+128", speedup=1.01)
BOTH = (CONFIRMATION, OTHER_LOAD)
SUFFIXES = pytest.mark.parametrize("suffix", [".db", ".jsonl"])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "autotune.db"


def decided(path: Path, *rows: ConfirmationRow, **others: Any) -> Path:
    with Store.open(path) as store:
        store.put_device(DEVICE)
        store.put_model(MODEL)
        store.put_measurements([TIMED, REJECTED])
        store.put_decision(replace(DECISION, **others))
        store.put_confirmations(rows)
    return path


def later(row: ConfirmationRow, **others: Any) -> ConfirmationRow:
    """As another host found it a month later."""
    origin = replace(PROVENANCE, created_at="2026-02-01T00:00:00+00:00", host="node8")
    return replace(row, provenance=origin, **others)


def rows_in(path: Path) -> tuple[ConfirmationRow, ...]:
    return read_confirmations(path, DEVICE.key, DECISION.question, DECISION.versions)


def only(path: Path) -> StoredDecision:
    (found,) = list_decisions(path)
    return found


def execute(path: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement, values)


def told(path: Path, level: str = "error") -> list[str]:
    return [each.what for each in examine(path) if each.level == level]


# To store and to read


def test_it_comes_back_load_by_load(path: Path) -> None:
    decided(path, *BOTH)
    assert rows_in(path) == BOTH
    assert read_confirmations(path, DEVICE.key, "another", DECISION.versions) == ()
    assert [*examine(path)] == []


def test_a_new_one_replaces_the_whole_old_one_of_its_winner_alone(path: Path) -> None:
    other = replace(CONFIRMATION, winner="flash_attn:fa3", verdict="confirmed")
    decided(path, *BOTH, other)
    new = later(CONFIRMATION, load="8x64+64", verdict="confirmed", why="2 % faster")
    with Store.open(path) as store:
        store.put_confirmations([new])
    assert set(rows_in(path)) == {new, other}


def test_loads_of_one_confirmation_that_contradict_each_other_are_refused(path: Path) -> None:
    decided(path, *BOTH)
    for different in (
        replace(OTHER_LOAD, verdict="confirmed"),
        replace(OTHER_LOAD, why="another"),
        later(OTHER_LOAD),
    ):
        with (
            Store.open(path) as store,
            pytest.raises(ValueError, match="its loads differ in verdict, why or provenance"),
        ):
            store.put_confirmations([CONFIRMATION, different])
    assert rows_in(path) == BOTH


def test_it_needs_its_device(path: Path) -> None:
    with Store.open(path) as store, pytest.raises(sqlite3.IntegrityError):
        store.put_confirmations([CONFIRMATION])
    assert rows_in(path) == ()


def test_a_file_that_is_not_there_has_none_and_is_not_made(path: Path) -> None:
    assert rows_in(path) == ()
    assert not path.exists()


def test_a_damaged_row_is_left_out_and_told(path: Path) -> None:
    decided(path, *BOTH)
    execute(path, "UPDATE confirmations SET speedup = 2 WHERE load = '16x2048+128'")
    assert rows_in(path) == (CONFIRMATION,)
    (line,) = told(path)
    assert line.startswith("confirmations 2: checksum does not fit")


@pytest.mark.parametrize(
    "instead", ["VIEW confirmations AS SELECT 1", "TABLE Confirmations (a, b AS (1))"]
)
def test_what_computes_in_the_place_of_the_table_is_refused(path: Path, instead: str) -> None:
    decided(path, *BOTH)
    execute(path, "DROP TABLE confirmations")
    execute(path, f"CREATE {instead}")
    with pytest.raises(CacheCorruptError, match="onfirmations is no plain table"):
        list_decisions(path)


# With the decision


@pytest.mark.parametrize("verdict", ["confirmed", "unconfirmed", "revoked"])
def test_a_decision_says_what_the_engine_said(path: Path, verdict: str) -> None:
    why = "3.1 % slower; see 256x64+512"
    rows = [replace(row, verdict=verdict, why=why) for row in BOTH]
    decided(path, *rows)
    assert only(path).confirmation == verdict
    assert only(path).revoked == (why if verdict == "revoked" else "")


@pytest.mark.parametrize(
    "other",
    [
        {"winner": "torch_sdpa:other"},
        {"winner": "torch_sdpa"},
        {"versions": "{}"},
        {"question": "another"},
    ],
)
def test_that_of_another_says_nothing(path: Path, other: dict[str, str]) -> None:
    decided(path, replace(CONFIRMATION, **other))
    assert (only(path).confirmation, only(path).revoked) == ("", "")


def test_every_way_to_ask_says_it(path: Path) -> None:
    decided(path, *BOTH)
    for which in (
        Which(questions=(DECISION.question,)),
        Which(ids=(1,), limit=1),
        Which(sort="winner", limit=5),
    ):
        (found,) = list_decisions(path, which)
        assert found.revoked == CONFIRMATION.why


DAMAGE = {
    "a terminal's code": ("why = 'a' || char(27) || '[2J'", "a\ufffd[2J"),
    "no UTF-8": ("why = CAST(x'61ff' AS TEXT)", "a\ufffd"),
    "bytes": ("why = x'6162'", "ab"),
    "a number": ("why = 7", "7"),
    "no reason": ("why = ''", "nobody stored why"),
    "another verdict": ("verdict = 'confirmee'", "its confirmation is damaged: confirmee "),
    "no verdict": ("verdict = ''", "its confirmation is damaged: 3.1 % slower"),
    "a number for a verdict": ("verdict = 1.5", "its confirmation is damaged: 1.5 3.1 %"),
}


@pytest.mark.parametrize(("damage", "said"), DAMAGE.values(), ids=DAMAGE)
def test_in_doubt_it_is_revoked(path: Path, damage: str, said: str) -> None:
    decided(path, *BOTH)
    execute(path, f"UPDATE confirmations SET {damage}")
    found = only(path)
    assert (found.decision, found.confirmation) == (DECISION, "revoked")
    assert found.revoked.startswith(said)
    assert found.revoked.isprintable()


@pytest.mark.parametrize("damaged", [1, 2])
def test_of_loads_that_differ_in_their_verdict_the_doubtful_one_counts(
    path: Path, damaged: int
) -> None:
    decided(path, *(replace(row, verdict="confirmed") for row in BOTH))
    execute(path, "UPDATE confirmations SET verdict = 'x' WHERE id = ?", damaged)
    assert only(path).confirmation == "revoked"


def test_a_decision_that_is_made_again_keeps_it_and_another_winner_is_another(path: Path) -> None:
    decided(path, *BOTH)
    with Store.open(path) as store:
        store.put_decision(replace(DECISION, why="again"))
        assert only(path).revoked == CONFIRMATION.why
        store.put_decision(replace(DECISION, variant="per_request"))
        assert only(path).revoked == ""
        store.put_decision(DECISION)
    assert only(path).revoked == CONFIRMATION.why


# To forget


def second(store: Store) -> int:
    store.put_confirmations([replace(CONFIRMATION, question="another")])
    return store.put_decision(replace(DECISION, question="another"))


def test_a_decision_takes_its_own_along_when_it_is_forgotten(path: Path) -> None:
    decided(path, *BOTH)
    with Store.open(path) as store:
        other = second(store)
        with pytest.raises(CacheMissingError, match="no decision 99"):
            store.forget([1, 99])
        assert rows_in(path) == BOTH
        store.forget([1])
    assert rows_in(path) == ()
    (found,) = list_decisions(path)
    assert (found.id, found.confirmation) == (other, "revoked")


def test_and_when_it_is_removed_but_not_when_it_was_made_again_since(path: Path) -> None:
    decided(path, *BOTH)
    before = list_decisions(path)
    with Store.open(path) as store:
        origin = replace(PROVENANCE, created_at="2026-03-01T00:00:00+00:00")
        store.put_decision(replace(DECISION, provenance=origin))
        assert store.remove(before, []).decisions == 0
        assert rows_in(path) == BOTH
        second(store)
        removed = store.remove([list_decisions(path, Which(ids=(1,)))[0]], [])
    assert (removed.decisions, removed.orphans, rows_in(path)) == (1, 0, ())
    assert only(path).confirmation == "revoked"


def test_one_without_its_decision_is_told_and_removed_with_its_device(path: Path) -> None:
    decided(path, *BOTH)
    execute(path, "DELETE FROM measurements")
    execute(path, "DELETE FROM decisions")
    assert told(path, "note") == [
        "2 confirmations without a decision",
        "1 models without a decision",
    ]
    with Store.open(path) as store:
        assert store.remove([], []).orphans == 4
    assert [*examine(path)] == []


# Exchange and repair


@SUFFIXES
def test_it_goes_round_with_its_decision(path: Path, suffix: str) -> None:
    decided(path, *BOTH)
    out, back = path.with_name(f"out{suffix}"), path.with_name("back.db")
    export_cache(path, out)
    import_rows(out, back, Policy())
    assert set(rows_in(back)) == set(BOTH)
    assert only(back).revoked == CONFIRMATION.why
    assert told(back) == []


def test_of_a_part_only_those_of_its_decisions(path: Path) -> None:
    decided(path, *BOTH)
    with Store.open(path) as store:
        second(store)
    out = path.with_name("out.db")
    export_cache(path, out, Selected(Which(questions=("another",)), {}))
    (found,) = list_decisions(out)
    assert (found.decision.question, found.revoked) == ("another", CONFIRMATION.why)
    assert rows_in(out) == ()


OLD = BOTH
NEW = (
    later(CONFIRMATION, verdict="confirmed", why="2 % faster", speedup=1.02),
    later(CONFIRMATION, verdict="confirmed", why="2 % faster", load="8x64+64"),
)


@pytest.mark.parametrize("is_new_first", [False, True])
@pytest.mark.parametrize("prefer", ["newest", "samples"])
def test_of_two_the_newer_stays_and_their_loads_never_mix(
    path: Path, is_new_first: bool, prefer: Any
) -> None:
    old, new = decided(path.with_name("old.db"), *OLD), decided(path.with_name("new.db"), *NEW)
    order = [new, old] if is_new_first else [old, new]
    merge_files(order, path, Policy(prefer))
    assert set(rows_in(path)) == set(NEW)
    assert (only(path).confirmation, told(path)) == ("confirmed", [])
    merged = import_rows(order[1], order[0], Policy(prefer))
    assert set(rows_in(order[0])) == set(NEW)
    (conflict, *_) = merged.files[0].tally.conflicts
    assert conflict.table == "confirmations"
    assert conflict.fate == ("kept" if is_new_first else "replaced")
    assert import_rows(path, order[0], Policy(prefer)).files[0].tally.fates["same"] == 7


def test_rows_of_two_that_come_in_any_order_are_the_newer_one(path: Path) -> None:
    for number, order in enumerate(itertools.permutations((*OLD, *NEW))):
        target = decided(path.with_name(f"target{number}.db"))
        source = path.with_name("source.jsonl")
        export_cache(target, source, is_forced=True)
        lines = [source.read_text()]
        for row in order:
            single = decided(path.with_name("single.db"), row)
            export_cache(single, path.with_name("single.jsonl"), is_forced=True)
            lines += [
                line
                for line in path.with_name("single.jsonl").read_text().splitlines(keepends=True)
                if line.startswith('{"table": "confirmations"')
            ]
        source.write_text("".join(lines))
        import_rows(source, target, Policy())
        assert set(rows_in(target)) == set(NEW)


def test_the_decision_of_another_driver_takes_its_own_along(path: Path) -> None:
    here, there = '{"nvidia-driver": "580"}', '{"nvidia-driver": "590"}'
    old = replace(CONFIRMATION, versions=there)
    source = decided(path.with_name("a.db"), old, versions=there)
    with Store.open(source) as store:
        store.put_decision(replace(DECISION, versions=here))
    import_rows(source, path, Policy("driver", {"nvidia-driver": "580"}))
    assert only(path).decision.versions == here
    assert read_confirmations(path, DEVICE.key, DECISION.question, there) == ()


BAD = {
    "winner = '../x'": "winner is no name",
    "verdict = 'not so'": "verdict is no name",
    "created_at = 'soon'": "created_at is no time",
    "speedup = -1.0": "speedup is -1.0",
    "default_peak_bytes = -1": "default_peak_bytes is -1",
    "repeats = 0": "repeats is 0",
}


@pytest.mark.parametrize(("assignment", "why"), BAD.items(), ids=BAD)
def test_rows_from_elsewhere_are_checked(path: Path, assignment: str, why: str) -> None:
    source = decided(path.with_name("source.db"), CONFIRMATION)
    execute(source, f"UPDATE confirmations SET {assignment}")
    (refused,) = import_rows(source, path, Policy()).files[0].tally.refused
    assert (refused.where, refused.why) == ("confirmations 1", why)
    assert rows_in(path) == ()


def test_one_whose_device_is_not_there_is_refused(path: Path) -> None:
    source, lines = decided(path.with_name("source.db"), CONFIRMATION), path.with_name("x.jsonl")
    export_cache(source, lines)
    kept = [line for line in lines.read_text().splitlines() if '"devices"' not in line]
    lines.write_text("\n".join(kept) + "\n")
    refused = import_rows(lines, path, Policy()).files[0].tally.refused
    assert "its device_key is not in the file" in {each.why for each in refused}
    assert rows_in(path) == ()


def test_a_repair_saves_it(path: Path) -> None:
    decided(path, *BOTH)
    execute(path, "UPDATE confirmations SET why = 'x' WHERE load = '16x2048+128'")
    saved = salvage_file(path)
    assert saved.tally.fates["refused"] == 1
    assert (rows_in(path), only(path).revoked) == ((CONFIRMATION,), CONFIRMATION.why)
    assert told(path) == []


# Older files


@pytest.mark.parametrize("write", [write_schema_1, write_schema_5])
def test_an_older_file_has_none_and_gets_the_table_with_the_first_write(
    path: Path, write: Any
) -> None:
    write(path, DEVICE, MODEL, TIMED, DECISION)
    before, schema = path.read_bytes(), schema_in(path)
    assert rows_in(path) == ()
    assert (only(path).confirmation, only(path).revoked) == ("", "")
    assert path.read_bytes() == before
    with Store.open(path) as store:
        store.put_confirmations(BOTH)
    assert (rows_in(path), only(path).revoked) == (BOTH, CONFIRMATION.why)
    assert schema_in(path) == SCHEMA_VERSION
    assert len([*path.parent.glob(f"autotune.db.schema-{schema}.*")]) == 1


def test_a_file_of_schema_5_is_imported_and_repaired(path: Path) -> None:
    source = path.with_name("old.db")
    write_schema_5(source, DEVICE, MODEL, TIMED, DECISION)
    execute(source, "UPDATE measurements SET gpu_us = 1")
    import_rows(source, path, Policy())
    assert only(path).decision == DECISION
    salvage_file(source)
    assert (only(source).decision, schema_in(source)) == (DECISION, SCHEMA_VERSION)
