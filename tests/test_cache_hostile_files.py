"""Files from elsewhere are data: whatever one holds ends soon, in one line or in rows left out."""

from __future__ import annotations

import json
import os
import pickle
import re
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from cache_examples import DECISION, DEVICE, MODEL, REJECTED, TIMED, tamper

from cache import (
    CacheError,
    Layers,
    Merged,
    Policy,
    Store,
    database,
    decision_measurements,
    find_decisions,
    group_evidence,
    import_rows,
    list_devices,
    merge_files,
    read_layers,
    reader,
)
from cache.jsonl import FORMAT, MOST_LINE_BYTES, header_line
from cache.query import Which
from cache.records import TABLES, Row, columns_of, to_record

MOST_S = 2.0
MOST_TEXT = 1000
"""Of a line that a person reads; paths are short here."""

Take: TypeAlias = Callable[[Path, Path, Policy], Merged]
Spoil: TypeAlias = Callable[[Path], object]


def into_new(source: Path, target: Path, policy: Policy) -> Merged:
    return merge_files([source], target.with_name("merged.db"), policy)


TAKES = pytest.mark.parametrize("take", [import_rows, into_new], ids=["import", "merge"])


@pytest.fixture(autouse=True)
def _endless_statements_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a test fails where it would hang."""

    plain = sqlite3.connect

    def connect(*arguments: Any, **named: Any) -> sqlite3.Connection:
        connection = plain(*arguments, **named)
        database.limit_time(connection, MOST_S)
        return connection

    monkeypatch.setattr(sqlite3, "connect", connect)
    monkeypatch.setattr(reader, "MOST_SECONDS", MOST_S)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "a.db"
    with Store.open(path) as store:
        store.put_device(DEVICE)
        store.put_model(MODEL)
        store.put_measurements([TIMED, REJECTED])
        store.put_decision(DECISION)
    return path.read_bytes()


@pytest.fixture
def hostile(tmp_path: Path, whole: bytes) -> Path:
    """A file to be spoilt; five rows."""
    path = tmp_path / "hostile.db"
    path.write_bytes(whole)
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A cache with rows of its own."""
    path = tmp_path / "target.db"
    with Store.open(path) as store:
        store.put_device(DEVICE)
        store.put_model(MODEL)
        store.put_measurements([replace(TIMED, key="ours")])
        store.put_decision(replace(DECISION, question="ours"))
    return path


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def rows_in(path: Path) -> dict[str, set[tuple[object, ...]]]:
    with closing(sqlite3.connect(path)) as connection:
        return {
            table.name: set(connection.execute(f"SELECT * FROM {table.name}"))
            for table in TABLES.values()
        }


def schema_in(path: Path) -> set[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return set(connection.execute("SELECT type, name, sql FROM sqlite_master"))


def taken(take: Take, source: Path, target: Path, policy: Policy | None = None) -> Merged:
    """What a take says; checked: it is soon over, the target keeps its rows and its schema, nobody
    writes another file, and what is told of refused rows can be printed.
    """
    own, schema, beside = rows_in(target), schema_in(target), set(target.parent.iterdir())
    content = source.read_bytes() if source.is_file() else b""
    started = time.monotonic()
    try:
        merged = take(source, target, policy or Policy())
    finally:
        assert time.monotonic() - started < MOST_S
        after = rows_in(target)
        assert all(rows <= after[name] for name, rows in own.items())
        assert schema_in(target) == schema
        assert not source.is_file() or source.read_bytes() == content
        assert set(target.parent.iterdir()) - beside <= {target.with_name("merged.db")}
    if take is into_new:
        assert schema_in(target.with_name("merged.db")) == schema
    for each in merged.files[0].tally.refused:
        told = f"{each.where}: {each.why}"
        assert told.isprintable()
        assert len(told) < MOST_TEXT
    return merged


def stopped(take: Take, source: Path, target: Path) -> str:
    """The one line that a take ends in; the target is as it was, to the byte."""
    before = target.read_bytes()
    with pytest.raises(CacheError) as error:
        taken(take, source, target)
    said = str(error.value)
    assert said.isprintable()
    assert len(said) < MOST_TEXT
    assert target.read_bytes() == before
    assert not target.with_name("merged.db").exists()
    return said


def refusals(merged: Merged) -> list[tuple[str, str]]:
    return [(each.where, each.why) for each in merged.files[0].tally.refused]


def read_as_layer(path: Path) -> None:
    """As a start reads it, and as `cache ls` and `prune` do: no error but one of ours, no change.

    A layer that cannot be read costs its own rows.
    """
    before = path.read_bytes()
    questions: list[Callable[[], object]] = [
        lambda: find_decisions(path, DECISION.question),
        lambda: decision_measurements(path, DEVICE.key, [TIMED.spec_key]),
        lambda: list_devices(path),
        lambda: group_evidence(path),
    ]
    for question in questions:
        started = time.monotonic()
        with suppress(CacheError):
            question()
        assert time.monotonic() - started < MOST_S
    started = time.monotonic()
    for which in (Which(), Which(questions=(DECISION.question,)), Which(sort="speedup", limit=2)):
        for each in read_layers(Layers.alone(path), which).errors:
            assert str(each).isprintable()
    assert time.monotonic() - started < MOST_S
    assert path.read_bytes() == before


# Tables that are none

VIEWS = tuple(f"DROP VIEW {name}" for name in ("winners", "times", "refusals"))
ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT {} FROM c"


def columns_in(path: Path, table: str) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")]


def instead(table: str, *statements: str) -> Spoil:
    """Another thing in the place of a table; `{old}` has its rows, `{columns}` are its columns."""

    def spoil(path: Path) -> None:
        columns = columns_in(path, table)
        parts = {
            "old": "kept",
            "columns": ", ".join(columns),
            "plain": ", ".join(columns[1:]),
            "endless": ENDLESS.format(", ".join(f"x AS {name}" for name in columns)),
        }
        execute(path, *VIEWS, f"ALTER TABLE {table} RENAME TO kept")
        execute(path, *(each.format(**parts) for each in statements))

    return spoil


def statements(*statements: str) -> Spoil:
    return lambda path: execute(path, *statements)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def overwrite(start: int, content: bytes) -> Spoil:
    def spoil(path: Path) -> None:
        whole = bytearray(path.read_bytes())
        whole[start : start + len(content)] = content
        path.write_bytes(whole)

    return spoil


FORGED = "UPDATE sqlite_master SET rootpage = 2 WHERE name = 'measurements'"
FTS5_OF_ENDLESS = (
    "CREATE VIEW endless AS {endless}",
    "CREATE VIRTUAL TABLE measurements USING fts5({plain}, id, content='endless',"
    " content_rowid='id')",
)
PLAIN = "is no plain table"
NO_TABLES: dict[str, tuple[Spoil, str]] = {
    "a view": (instead("decisions", "CREATE VIEW decisions AS SELECT * FROM {old}"), PLAIN),
    "a view of devices": (instead("devices", "CREATE VIEW devices AS SELECT * FROM {old}"), PLAIN),
    "an endless view": (instead("measurements", "CREATE VIEW measurements AS {endless}"), PLAIN),
    "an endless view in capitals": (
        instead("decisions", "CREATE VIEW DECISIONS AS {endless}"), PLAIN,
    ),
    "an endless view of measurements in capitals": (
        instead("measurements", "CREATE VIEW Measurements AS {endless}"), PLAIN,
    ),
    "a virtual table": (
        instead("measurements", "CREATE VIRTUAL TABLE measurements USING fts5({columns})"), PLAIN,
    ),
    "a virtual table in capitals": (
        instead("measurements", "CREATE VIRTUAL TABLE MEASUREMENTS USING fts5({columns})"), PLAIN,
    ),
    "a virtual table that says it is plain": (
        instead("measurements", *FTS5_OF_ENDLESS, "PRAGMA writable_schema = ON", FORGED), "",
    ),
    "a virtual table of an endless view": (instead("measurements", *FTS5_OF_ENDLESS), PLAIN),
    "a generated column": (
        instead("measurements", "CREATE TABLE measurements ({columns}, more as (hex(gpu_us)))"),
        PLAIN,
    ),
    "a stored column": (
        statements("ALTER TABLE devices ADD COLUMN more GENERATED ALWAYS as (upper(name))"), PLAIN,
    ),
    "a missing column": (
        instead("models", "ALTER TABLE {old} DROP COLUMN specs", "ALTER TABLE {old} RENAME TO"
                " models"),
        "columns are missing",
    ),
    "a renamed column": (
        statements(*VIEWS, "ALTER TABLE measurements RENAME COLUMN gpu_us TO gpu_ms"),
        "columns are missing",
    ),
    "a missing table": (instead("devices"), "tables are missing"),
    "a newer schema": (statements("PRAGMA user_version = 99"), "schema 99"),
    "a schema below the first": (statements("PRAGMA user_version = -1"), "not a cache"),
    "another program's": (statements("PRAGMA application_id = 7"), "not a cache"),
    "cut": (cut, "damaged|cut short"),
    "of a schema that is no SQL": (
        statements("PRAGMA writable_schema = ON", "UPDATE sqlite_master SET sql = 'CREATE nonsense'"
                   " WHERE name = 'models'"), "damaged",
    ),
    "of a schema that is no text": (
        statements("PRAGMA writable_schema = ON", "UPDATE sqlite_master SET"
                   " sql = CAST(x'43524541544520ff' AS TEXT) WHERE name = 'models'"), "",
    ),
    "a header of noise": (overwrite(16, bytes(range(200, 255))), ""),
    "a first page of noise": (overwrite(100, b"\xff" * 3996), "damaged"),
}  # fmt: skip


def spoilt(spoil: Spoil, path: Path) -> None:
    try:
        spoil(path)
    except sqlite3.OperationalError as error:
        pytest.skip(f"this SQLite makes no such file: {error}")


@TAKES
@pytest.mark.parametrize(("spoil", "what"), NO_TABLES.values(), ids=NO_TABLES)
def test_a_file_whose_tables_are_none_is_refused(
    hostile: Path, target: Path, take: Take, spoil: Spoil, what: str
) -> None:
    spoilt(spoil, hostile)
    said = stopped(take, hostile, target)
    assert re.search(what, said)
    assert said.startswith(f"cache {hostile}: ")


@pytest.mark.parametrize("spoil", [spoil for spoil, _ in NO_TABLES.values()], ids=NO_TABLES)
def test_a_layer_whose_tables_are_none_costs_its_own_rows(hostile: Path, spoil: Spoil) -> None:
    spoilt(spoil, hostile)
    read_as_layer(hostile)


def utf_16(path: Path) -> None:
    """The same rows in a file of another encoding."""
    with closing(sqlite3.connect(path)) as connection:
        script = [line for line in connection.iterdump() if "_sqlite_migrations" not in line]
    path.unlink()
    numbers = [
        f"PRAGMA application_id = {database.APPLICATION_ID}",
        f"PRAGMA user_version = {database.SCHEMA_VERSION}",
    ]
    execute(path, "PRAGMA encoding = 'UTF-16le'", *script, *numbers)


STRANGE: dict[str, Spoil] = {
    "triggers": statements(
        "CREATE TABLE stolen (x)",
        "CREATE TRIGGER a AFTER INSERT ON decisions BEGIN DELETE FROM measurements; END",
        "CREATE TRIGGER b BEFORE INSERT ON devices BEGIN SELECT RAISE(ABORT, 'no'); END",
        "CREATE TRIGGER c AFTER INSERT ON measurements BEGIN INSERT INTO stolen VALUES (1); END",
    ),
    "more tables and views": statements(
        'CREATE TABLE "decisions; DROP TABLE devices" (x)',
        f"CREATE VIEW endless AS {ENDLESS.format('x')}",
        "CREATE VIEW unsafe AS SELECT load_extension('./evil.so'), readfile('/etc/passwd')",
    ),
    "more columns": statements(
        "ALTER TABLE decisions ADD COLUMN evil BLOB DEFAULT x'80049500'",
        "ALTER TABLE devices ADD COLUMN __reduce__ TEXT DEFAULT 'os.system'",
    ),
    "more indexes": statements(
        "CREATE INDEX a ON decisions (hex(why)) WHERE tie = 0",
        "CREATE INDEX b ON measurements (abs(gpu_us))",
    ),
    "a table in capitals": statements(
        *VIEWS, "ALTER TABLE devices RENAME TO x", "ALTER TABLE x RENAME TO DEVICES"
    ),
    "a table without a key": instead(
        "measurements",
        "CREATE TABLE measurements ({columns})",
        "INSERT INTO measurements SELECT * FROM {old}",
    ),
    "a table without ids": instead(
        "decisions", "CREATE TABLE decisions AS SELECT {plain} FROM {old}"
    ),
    "a table without rowids": instead(
        "measurements",
        "CREATE TABLE measurements ({columns}, PRIMARY KEY (key)) WITHOUT ROWID",
        "INSERT INTO measurements SELECT * FROM {old}",
    ),
    "rowids that are none": statements(
        "ALTER TABLE measurements ADD COLUMN rowid TEXT DEFAULT 'x'",
    ),
    "rowids that are all the same": statements(
        "ALTER TABLE measurements ADD COLUMN rowid INTEGER DEFAULT 7",
    ),
    "ids of text": instead(
        "measurements",
        "CREATE TABLE measurements (id TEXT, {plain})",
        "INSERT INTO measurements SELECT 'id ' || id, {plain} FROM {old}",
    ),
    "ids that sort before all numbers": instead(
        "measurements",
        "CREATE TABLE measurements (id TEXT, {plain})",
        "INSERT INTO measurements SELECT '!' || id, {plain} FROM {old}",
    ),
    "ids that are NULL": instead(
        "measurements",
        "CREATE TABLE measurements (id INTEGER, {plain})",
        "INSERT INTO measurements SELECT NULL, {plain} FROM {old}",
    ),
    "the least id": statements("UPDATE decisions SET id = -9223372036854775808"),
    "the largest id": statements("UPDATE measurements SET id = 9223372036854775807 WHERE id = 2"),
    "another encoding": utf_16,
}


@TAKES
@pytest.mark.parametrize("spoil", STRANGE.values(), ids=STRANGE)
def test_of_a_strange_file_every_row_is_taken_or_told(
    hostile: Path, target: Path, take: Take, spoil: Spoil
) -> None:
    spoilt(spoil, hostile)
    with suppress(CacheError):
        merged = taken(take, hostile, target)
        assert sum(merged.files[0].tally.fates.values()) == 5
        assert refusals(merged) == []


@pytest.mark.parametrize("spoil", STRANGE.values(), ids=STRANGE)
def test_a_strange_layer_is_read_or_left_out(hostile: Path, spoil: Spoil) -> None:
    spoilt(spoil, hostile)
    read_as_layer(hostile)


def interior_page(child: int, count: int, size: int) -> bytes:
    """Of a table: every pointer leads to the same page."""
    cell = child.to_bytes(4, "big") + b"\x7f"
    start = size - count * len(cell)
    head = b"\x05\0\0" + count.to_bytes(2, "big") + start.to_bytes(2, "big") + b"\0"
    places = [place.to_bytes(2, "big") for place in range(start, size, len(cell))]
    page = head + child.to_bytes(4, "big") + b"".join(places)
    return page + bytes(start - len(page)) + cell * count


def multiply_rows(path: Path, table: str) -> None:
    """400 times 400 times 400 times 400 times the rows, in four more pages."""
    with closing(sqlite3.connect(path)) as connection:
        sql = "SELECT rootpage FROM sqlite_master WHERE name = ?"
        (root,) = connection.execute(sql, [table]).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    whole = bytearray(path.read_bytes())
    whole += whole[(root - 1) * size : root * size]
    for _ in range(3):
        whole += interior_page(len(whole) // size, 400, size)
    whole[(root - 1) * size : root * size] = interior_page(len(whole) // size, 400, size)
    whole[28:32] = (len(whole) // size).to_bytes(4, "big")
    path.write_bytes(whole)


@TAKES
@pytest.mark.parametrize("table", ["devices", "measurements"])
def test_pages_that_lead_to_the_same_rows_again_and_again(
    hostile: Path, target: Path, take: Take, table: str
) -> None:
    multiply_rows(hostile, table)
    with suppress(CacheError):
        taken(take, hostile, target)


@TAKES
def test_a_long_id_is_not_told_in_full(hostile: Path, target: Path, take: Take) -> None:
    spoil = instead(
        "measurements",
        "CREATE TABLE measurements (id, {plain})",
        "INSERT INTO measurements SELECT hex(zeroblob(5000)) || id, {plain} FROM {old}",
        "UPDATE measurements SET gpu_us = 'x'",
    )
    spoil(hostile)
    assert len(refusals(taken(take, hostile, target))) == 2


# Rows

UNPRINTABLE = "holds characters that cannot be printed"
SUM = "does not fit what the row holds"
MEASURED: dict[str, tuple[str, str]] = {
    "gpu_us = 'fast'": ("gpu_us", "holds a str"),
    "gpu_us = x'00'": ("gpu_us", "holds a bytes"),
    "gpu_us = 9e999": ("gpu_us", "is inf"),
    "gpu_us = -9e999": ("gpu_us", "is -inf"),
    "gpu_us = -1": ("gpu_us", "is -1.0"),
    "gpu_us = 0": ("gpu_us", "is 0.0"),
    "call_us = -0.5": ("call_us", "is -0.5"),
    "noise = -1": ("noise", "is -1.0"),
    "samples = -1": ("samples", "is -1"),
    "samples = 1.5": ("samples", "holds a float"),
    "page_size = 0": ("page_size", "is 0"),
    "page_size = 'sixteen'": ("page_size", "holds a str"),
    "method = x'01'": ("method", "holds a bytes"),
    "captured = 2": ("captured", "is neither 0 nor 1"),
    "captured = -1": ("captured", "is neither 0 nor 1"),
    "captured = 'yes'": ("captured", "holds a str"),
    "backend = x'746f726368'": ("backend", "holds a bytes"),
    "backend = '../../x'": ("backend", "is no name"),
    "backend = '/etc/passwd'": ("backend", "is no name"),
    "backend = ''": ("backend", "is no name"),
    "backend = 'torch sdpa'": ("backend", "is no name"),
    "backend = 'a' || char(8207)": ("backend", UNPRINTABLE),
    "backend = printf('%.*c', 201, 'x')": ("backend", "is no name"),
    "variant = '$(reboot)'": ("variant", "is no name"),
    "phase = 'decode;'": ("phase", "is no name"),
    "outcome = 'timed''--'": ("outcome", "is no name"),
    "page_layout = 'a/b'": ("page_layout", "is no name"),
    "message = printf('%.*c', 307200, 'x')": ("message", "has 307200 characters, at most 262144"),
    "host = 'a' || char(27) || '[2J'": ("host", UNPRINTABLE),
    "host = 'a' || char(10) || 'b'": ("host", UNPRINTABLE),
    "host = char(155) || '2J'": ("host", UNPRINTABLE),
    "host = 'a' || char(0) || 'b'": ("host", UNPRINTABLE),
    "workload = char(8238) || 'x'": ("workload", UNPRINTABLE),
    "workload = char(8294) || 'x'": ("workload", UNPRINTABLE),
    "workload = char(8232) || 'x'": ("workload", UNPRINTABLE),
    "host = CAST(x'61ff' AS TEXT)": ("host", UNPRINTABLE),
    "host = CAST(x'eda080' AS TEXT)": ("host", UNPRINTABLE),
    "backend = CAST(x'ff' AS TEXT)": ("backend", UNPRINTABLE),
    "created_at = 'yesterday'": ("created_at", "is no time"),
    "created_at = '2026-13-01T00:00:00'": ("created_at", "is no time"),
    "created_at = 7e5": ("created_at", "is no time"),
    "checksum = 'x'": ("checksum", SUM),
    "checksum = NULL": ("checksum", SUM),
    "checksum = CAST(checksum AS BLOB)": ("checksum", SUM),
    "checksum = CAST(x'ff' AS TEXT)": ("checksum", SUM),
}


def change(path: Path, table: str, assignment: str) -> None:
    """The first row; its checksum is made to fit where it can be."""
    statement = f"UPDATE {table} SET {assignment} WHERE id = 1"
    if assignment.startswith("checksum"):
        execute(path, statement)
        return
    try:
        tamper(path, statement)
    except sqlite3.OperationalError:  # text that Python cannot read
        execute(path, statement)


@TAKES
@pytest.mark.parametrize(("assignment", "why"), MEASURED.items())
def test_a_bad_measurement_is_left_out_and_the_others_are_taken(
    hostile: Path, target: Path, take: Take, assignment: str, why: tuple[str, str]
) -> None:
    change(hostile, "measurements", assignment)
    merged = taken(take, hostile, target)
    assert refusals(merged) == [("measurements 1", " ".join(why))]
    assert sum(merged.files[0].tally.fates.values()) == 5
    assert merged.files[0].tally.fates["new"] == (2 if take is import_rows else 4)


DECIDED: dict[str, tuple[str, str]] = {
    "tie = 2": ("tie", "is neither 0 nor 1"),
    "tie = 'no'": ("tie", "holds a str"),
    "bound = -1": ("bound", "is -1.0"),
    "speedup_vs_default = 'x'": ("speedup_vs_default", "holds a str"),
    "speedup_vs_default = 9e999": ("speedup_vs_default", "is inf"),
    "power_limit_w = -1": ("power_limit_w", "is -1"),
    "why = x'80'": ("why", "holds a bytes"),
    "why = char(27) || ']0;x' || char(7)": ("why", UNPRINTABLE),
    "runners_up = printf('%.*c', 307200, '[')": ("runners_up", "has 307200 characters, at most"),
    "engine = '../vllm'": ("engine", "is no name"),
    "backend = 'os.system(1)'": ("backend", "is no name"),
    "created_at = ''": ("created_at", "is no time"),
    "question = CAST(x'ff' AS TEXT)": ("question", UNPRINTABLE),
    "checksum = '0000000000000000'": ("checksum", SUM),
}


@TAKES
@pytest.mark.parametrize(("assignment", "why"), DECIDED.items())
def test_a_bad_decision_is_left_out_and_the_others_are_taken(
    hostile: Path, target: Path, take: Take, assignment: str, why: tuple[str, str]
) -> None:
    change(hostile, "decisions", assignment)
    [(where, said)] = refusals(taken(take, hostile, target))
    assert (where, said.startswith(" ".join(why))) == ("decisions 1", True)


LAYERS = [("measurements", each) for each in (*MEASURED, "method = 'x'")]
LAYERS += [("decisions", each) for each in DECIDED]


@pytest.mark.parametrize(("table", "assignment"), LAYERS)
def test_a_layer_with_a_bad_row_is_read(hostile: Path, table: str, assignment: str) -> None:
    change(hostile, table, assignment)
    read_as_layer(hostile)


PARENTS = {
    ("devices", "name = char(27) || 'c'"): ("name", UNPRINTABLE),
    ("devices", "multiprocessors = -1"): ("multiprocessors", "is -1"),
    ("devices", "key = x'00'"): ("key", "holds a bytes"),
    ("devices", "checksum = NULL"): ("checksum", SUM),
    ("models", "tensor_parallel = 0"): ("tensor_parallel", "is 0"),
    ("models", "specs = 7"): ("checksum", SUM),
    ("models", "name = CAST(x'c0af' AS TEXT)"): ("name", UNPRINTABLE),
}


@TAKES
@pytest.mark.parametrize(
    ("where", "why"), PARENTS.items(), ids=[" ".join(each) for each in PARENTS]
)
def test_what_points_at_a_bad_row_is_left_out_unless_the_cache_knows_better(
    hostile: Path, target: Path, take: Take, where: tuple[str, str], why: tuple[str, str]
) -> None:
    execute(hostile, f"UPDATE {where[0]} SET {where[1]}")
    first, *others = refusals(taken(take, hostile, target))
    assert first == (f"{where[0]} 1", " ".join(why))
    lost = {"devices": 3, "models": 1}[where[0]] if take is into_new else 0
    assert len(others) == lost
    assert all(said.endswith(" is not in the file") for _, said in others)
    read_as_layer(hostile)


VERSIONS = {
    "deep": "[" * 100_000,
    "deep objects": '{"a":' * 50_000,
    "of mixed keys": '[[1, 2], ["a", "b"]]',
    "a list": "[1]",
    "a number": "7",
    "no JSON": "{",
    "of lists": '{"nvidia-driver": ["580"]}',
    "NaN": '{"nvidia-driver": NaN}',
    "large": json.dumps({f"p{number}": "1" for number in range(9000)}),
}


@TAKES
@pytest.mark.parametrize("versions", VERSIONS.values(), ids=VERSIONS)
def test_versions_that_are_none_are_no_driver(
    tmp_path: Path, target: Path, take: Take, versions: str
) -> None:
    source = lines(tmp_path, row(DEVICE), row(MODEL), row(DECISION, versions=versions))
    merged = taken(take, source, target, Policy("driver", {"nvidia-driver": "580"}))
    assert refusals(merged) == []
    assert merged.other_drivers == 0


# JSON Lines


def row(row: Row, **others: object) -> str:
    table, columns = TABLES[type(row)].name, columns_of(type(row))
    named = {name: value for name, value in to_record(row).items() if name in columns}
    given = {name: value for name, value in named.items() if value is not None}
    return json.dumps({"table": table, **given, **others})


def lines(folder: Path, *rows: str | bytes, header: str | bytes | None = None) -> Path:
    first = header_line().rstrip() if header is None else header
    path = folder / "hostile.jsonl"
    encoded = [each if isinstance(each, bytes) else each.encode() for each in (first, *rows)]
    path.write_bytes(b"\n".join(encoded) + b"\n")
    return path


def changed(old: str, new: str) -> str:
    """A measurement with other text, where JSON itself is to be strange."""
    whole = row(TIMED)
    assert old in whole
    return whole.replace(old, new)


GPU = f'"gpu_us": {TIMED.gpu_us}'
NO_LINE = "line is no JSON object, or says a name twice"
NONE_OF = "table is none of devices, models, measurements, decisions"
BAD_LINES: dict[str, tuple[str | bytes, str]] = {
    "deep": ("[" * 100_000, NO_LINE),
    "deep objects": ('{"a":' * 100_000, NO_LINE),
    "deep in a column": (changed(GPU, '"gpu_us": ' + "[" * 100_000), NO_LINE),
    "a list in a column": (changed(GPU, '"gpu_us": [1]'), "gpu_us holds a list"),
    "an object in a column": (changed(GPU, '"gpu_us": {}'), "gpu_us holds a dict"),
    "a name twice": (changed(GPU, f"{GPU}, {GPU}"), NO_LINE),
    "NaN": (changed(GPU, '"gpu_us": NaN'), NO_LINE),
    "Infinity": (changed(GPU, '"gpu_us": -Infinity'), NO_LINE),
    "more than a double": (changed(GPU, '"gpu_us": 1e999'), "gpu_us is inf"),
    "a whole number beyond SQLite's": (changed(GPU, f'"gpu_us": {10**20}'), ""),
    "a whole number beyond a double": (changed(GPU, f'"gpu_us": {10**400}'), "gpu_us is 1000"),
    "a negative one": (changed(GPU, f'"gpu_us": -{10**400}'), "gpu_us is -1000"),
    "of an error": (row(TIMED, error=10**400), "error is 1000"),
    "samples beyond SQLite's": (row(TIMED, samples=2**63), "samples is 9223372036854775808"),
    "samples beyond all": (row(TIMED, samples=10**4000), "samples is 1000"),
    "5000 digits": (changed(GPU, f'"gpu_us": {"9" * 5000}'), ""),
    "5000 digits after the point": (changed(GPU, f'"gpu_us": -0.{"9" * 5000}'), "gpu_us is -1.0"),
    "true for a number": (row(TIMED, samples=True), "samples holds a bool"),
    "a float for a truth": (row(TIMED, captured=1.0), "captured holds a float"),
    "2 for a truth": (row(TIMED, captured=2), "captured is neither 0 nor 1"),
    "NULL where there must be a value": (row(TIMED, backend=None), "backend holds a NoneType"),
    "no key": ('{"table": "measurements"}', "key holds a NoneType"),
    "an unknown table": (row(TIMED, table="sqlite_master"), NONE_OF),
    "a table of another kind": (row(TIMED, table=["devices"]), NONE_OF),
    "no table": ("{}", NO_LINE),
    "an unknown column": (row(TIMED, evil=1), "evil is no column of measurements"),
    "an id": (row(TIMED, id=1), "id is no column of measurements"),
    "a checksum": (row(TIMED, checksum="x"), "checksum is no column of measurements"),
    "a column that steers a terminal": (row(TIMED, **{"\x1b[2J\n": 1}), ""),
    "a column of half a character": (row(TIMED, **{"\ud800": 1}), ""),
    "a long column": (row(TIMED, **{"x" * 100_000: 1}), "xxx"),
    "a list": ("[]", NO_LINE),
    "a text": ('"devices"', NO_LINE),
    "no JSON": ("DROP TABLE devices", NO_LINE),
    "half a line": (row(TIMED)[:100], NO_LINE),
    "no UTF-8": (row(TIMED).encode().replace(b"NHD", b"N\xffD"), NO_LINE),
    "half a character": (row(TIMED, host="\ud800"), f"host {UNPRINTABLE}"),
    "half a character in bytes": (
        row(TIMED).encode().replace(b"node7", b"\xed\xa0\x80"), f"host {UNPRINTABLE}",
    ),
    "a terminal's code": (row(TIMED, host="\x1b[31m"), f"host {UNPRINTABLE}"),
    "the other direction": (row(TIMED, host="\u202emoc"), f"host {UNPRINTABLE}"),
    "too long": (row(TIMED, message="x" * 307_200), "message has 307200 characters"),
    "a path": (row(TIMED, backend="../../x"), "backend is no name"),
    "a pickle": (pickle.dumps({"a": 1}).replace(b"\n", b""), NO_LINE),
}  # fmt: skip


@TAKES
@pytest.mark.parametrize(("line", "why"), BAD_LINES.values(), ids=BAD_LINES)
def test_a_bad_line_is_left_out_and_the_others_are_taken(
    tmp_path: Path, target: Path, take: Take, line: str | bytes, why: str
) -> None:
    source = lines(tmp_path, row(DEVICE), row(MODEL), line, row(REJECTED), row(DECISION))
    merged = taken(take, source, target)
    [(where, said)] = refusals(merged)
    assert (where, said.startswith(why)) == ("line 4", True)
    assert sum(merged.files[0].tally.fates.values()) == 5


GOOD_LINES: dict[str, tuple[str | bytes, ...]] = {
    "blank lines": (b"", row(TIMED), b"", b"  \t ", b""),
    "CRLF": (row(TIMED) + "\r",),
    "spaces": ("  " + row(TIMED) + "  ",),
    "names escaped": (row(TIMED).replace("backend", "\\u0062ackend"),),
    "NULL where there may be none": (row(TIMED, message=None),),
    "a whole number for a real": (row(TIMED, gpu_us=41),),
    "negative zero": (row(TIMED, call_us=-0.0),),
}


@TAKES
@pytest.mark.parametrize("given", GOOD_LINES.values(), ids=GOOD_LINES)
def test_an_unusual_line_is_taken(
    tmp_path: Path, target: Path, take: Take, given: tuple[str | bytes, ...]
) -> None:
    merged = taken(take, lines(tmp_path, row(DEVICE), *given, row(REJECTED)), target)
    assert refusals(merged) == []
    assert sum(merged.files[0].tally.fates.values()) == 3


def header(**fields: object) -> str:
    return json.dumps({"format": FORMAT, "schema": 4, **fields})


NO_EXPORT = "neither a cache nor JSON Lines of one"
NO_FILES: dict[str, tuple[bytes | str, str]] = {
    "no header": (row(DEVICE), "its first line does not say"),
    "a blank header": ("", NO_EXPORT),
    "another header": ('{"format": "pickle", "schema": 4}', "its first line does not say"),
    "a list for a header": ("[]", NO_EXPORT),
    "a deep header": ("[" * 100_000, NO_EXPORT),
    "a header twice": (header().replace("{", '{"schema": 4, '), NO_EXPORT),
    "a newer schema": (header(schema=7), "schema 7, and this version knows 1 to 6; upgrade"),
    "schema 0": (header(schema=0), "schema 0, "),
    "schema true": (header(schema=True), "schema True, "),
    "schema NULL": (header(schema=None), "schema None, "),
    "schema of text": (header(schema="4\n\x1b[2J"), r"schema '4\\n\\x1b\[2J', "),
    "a schema of 4000 digits": (header(schema=10**4000), "schema 1000"),
    "a schema of a list": (header(schema=[1] * 10_000), "schema "),
    "a long schema": (header(schema="x" * 100_000), "schema "),
    "a pickle": (pickle.dumps([1, 2, 3], protocol=2), NO_EXPORT),
    "a header of 5 MB": (b"x" * 5_000_000, NO_EXPORT),
    "noise": (bytes(range(256)), NO_EXPORT),
    "zeros": (bytes(100_000), NO_EXPORT),
    "nearly SQLite": (b"SQLite format 3\x00" + b"\xff" * 10_000, "damaged|not a SQLite file"),
}


@TAKES
@pytest.mark.parametrize(("first", "what"), NO_FILES.values(), ids=NO_FILES)
def test_a_file_that_is_no_export_is_refused(
    tmp_path: Path, target: Path, take: Take, first: str | bytes, what: str
) -> None:
    source = lines(tmp_path, row(MODEL), header=first)
    assert re.search(what, stopped(take, source, target))
    read_as_layer(source)


@TAKES
@pytest.mark.parametrize("place", [0, 2])
def test_a_line_that_is_too_long_stops_all(
    tmp_path: Path, target: Path, take: Take, place: int
) -> None:
    rows = [row(DEVICE), row(replace(TIMED, key="new"))]
    rows.insert(place, row(TIMED, message="x" * MOST_LINE_BYTES))
    source = lines(tmp_path, *rows)
    said = f"line {place + 2} is longer than {MOST_LINE_BYTES} bytes"
    assert said in stopped(take, source, target)
    without_end = lines(tmp_path, row(DEVICE), "x" * (MOST_LINE_BYTES + 1))
    assert "line 3 is longer" in stopped(take, without_end, target)


PLACES: dict[str, tuple[Spoil, str]] = {
    "a folder": (Path.mkdir, "a folder, not a file"),
    "a pipe": (os.mkfifo, "not a regular file"),
    "nothing": (lambda _: None, "not there; name a file that is"),
    "a link to nothing": (lambda path: path.symlink_to("nowhere"), "not there"),
    "a link to itself": (lambda path: path.symlink_to(path), "symbolic link"),
    "a terminal": (lambda path: path.symlink_to("/dev/null"), "not a regular file"),
}


@TAKES
@pytest.mark.parametrize(("make", "what"), PLACES.values(), ids=PLACES)
def test_a_place_without_a_file(
    tmp_path: Path, target: Path, take: Take, make: Spoil, what: str
) -> None:
    make(tmp_path / "source")
    assert what in stopped(take, tmp_path / "source", target)


@TAKES
@pytest.mark.parametrize("content", ["", header_line(), header_line() + "\n\n"])
def test_an_empty_file_holds_nothing(
    tmp_path: Path, target: Path, take: Take, content: str
) -> None:
    (tmp_path / "empty.jsonl").write_text(content)
    merged = taken(take, tmp_path / "empty.jsonl", target)
    assert merged.files[0].tally.fates == {}


@TAKES
def test_of_many_bad_rows_all_are_counted_and_the_first_told(
    tmp_path: Path, target: Path, take: Take
) -> None:
    source = lines(tmp_path, *["{}"] * 20_000, row(DEVICE))
    tally = taken(take, source, target).files[0].tally
    assert tally.fates["refused"] == 20_000
    assert len(tally.refused) <= 20
