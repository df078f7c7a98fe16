"""Every kind of row comes back as it went in, and the tables have the columns of the rows."""

from __future__ import annotations

import dataclasses
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from cache_examples import DECISION, DEVICE, MODEL, REJECTED, TIMED, write_schema_1
from hypothesis import given, settings
from hypothesis import strategies as st

from cache import (
    ConfirmationRow,
    DecisionRow,
    DeviceRow,
    MeasurementRow,
    ModelRow,
    Provenance,
    Store,
    decision_measurements,
    list_decisions,
    read_confirmations,
)
from cache.database import SCHEMA_VERSION
from cache.migrations import MIGRATIONS
from cache.records import TABLES, columns_of

if TYPE_CHECKING:
    from pathlib import Path

# A lone surrogate is no text that a file can hold, codes that steer a terminal are replaced as rows
# are put, and neither a NaN nor an infinity is a measurement.
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cf", "Zl", "Zp"]), max_size=300)
INTEGER = st.integers(-(2**63), 2**63 - 1)
REAL = st.floats(allow_nan=False, allow_infinity=False)
st.register_type_strategy(Provenance, st.builds(Provenance, TEXT, TEXT, TEXT, TEXT | st.none()))


def _any_row(kind: type, **fixed: str) -> st.SearchStrategy:
    drawn = {"str": TEXT, "int": INTEGER, "float": REAL, "bool": st.booleans()}
    values: dict[str, st.SearchStrategy[object]] = {}
    values.update({name: st.just(value) for name, value in fixed.items()})
    for field in dataclasses.fields(kind):
        if field.name in values or field.name == "provenance":
            continue
        name = str(field.type).removesuffix(" | None")
        values[field.name] = drawn[name] | st.none() if name != field.type else drawn[name]
    return st.builds(kind, **values)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "autotune.db"
    with Store.open(path) as store:
        store.put_device(DEVICE)
        store.put_model(MODEL)
    return path


@settings(max_examples=25, deadline=None)
@given(row=_any_row(MeasurementRow, device_key=DEVICE.key, spec_key="any"))
def test_a_measurement_comes_back(path: Path, row: MeasurementRow) -> None:
    with Store.open(path) as store:
        store.put_measurements([row])
    assert row in decision_measurements(path, DEVICE.key, ["any"])


@settings(max_examples=25, deadline=None)
@given(device=_any_row(DeviceRow), model=_any_row(ModelRow), data=st.data())
def test_a_decision_comes_back_with_its_device_and_model(
    path: Path, device: DeviceRow, model: ModelRow, data: st.DataObject
) -> None:
    keys = {"device_key": device.key, "model_fingerprint": model.fingerprint}
    row = data.draw(_any_row(DecisionRow, **keys))
    with Store.open(path) as store:
        store.put_device(device)
        store.put_model(model)
        stored_as = store.put_decision(row)
    (found,) = [each for each in list_decisions(path) if each.id == stored_as]
    assert (found.decision, found.device, found.model) == (row, device, model)


@settings(max_examples=25, deadline=None)
@given(row=_any_row(ConfirmationRow, device_key=DEVICE.key))
def test_a_confirmation_comes_back(path: Path, row: ConfirmationRow) -> None:
    with Store.open(path) as store:
        store.put_confirmations([row])
    assert row in read_confirmations(path, DEVICE.key, row.question, row.versions)


def test_rows_of_two_outcomes_come_back_in_order(path: Path) -> None:
    with Store.open(path) as store:
        store.put_measurements([TIMED, REJECTED])
    assert decision_measurements(path, DEVICE.key, [TIMED.spec_key]) == (TIMED, REJECTED)


@pytest.mark.parametrize("kind", TABLES)
def test_the_tables_have_the_columns_of_the_rows(path: Path, kind: type) -> None:
    with Store.open(path) as store:
        table = store._database.table(TABLES[kind].name)
        optional = {column.name for column in table.columns if not column.notnull}
        columns = {"id", "checksum", *columns_of(kind)}
        assert {column.name for column in table.columns} == columns
        assert table.pks == ["id"]
    declared = {field.name for field in dataclasses.fields(kind) if "None" in str(field.type)}
    if "provenance" in {field.name for field in dataclasses.fields(kind)}:
        declared.add("user")
    assert optional - {"id", "checksum"} == declared


def test_each_migration_raises_the_version(path: Path) -> None:
    with Store.open(path) as store:
        applied = MIGRATIONS.applied(store._database)
        assert store._database.execute("PRAGMA user_version").fetchone() == (len(applied),)
        assert not MIGRATIONS.pending(store._database)


def test_of_a_schema_1_file_everything_but_the_later_columns_is_read(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    write_schema_1(path, DEVICE, MODEL, TIMED, REJECTED, DECISION)
    (found,) = list_decisions(path)
    assert (found.decision, found.device, found.model) == (DECISION, DEVICE, MODEL)
    later = dict.fromkeys(TABLES[MeasurementRow].added[2])
    old = (dataclasses.replace(TIMED, **later), REJECTED)
    assert decision_measurements(path, DEVICE.key, [TIMED.spec_key]) == old != (TIMED, REJECTED)


@pytest.mark.parametrize("kind", TABLES)
def test_it_is_known_which_columns_a_schema_1_file_has(tmp_path: Path, kind: type) -> None:
    path = tmp_path / "old.db"
    write_schema_1(path)
    table = TABLES[kind]
    with closing(sqlite3.connect(path)) as connection:
        found = {name for _, name, *_ in connection.execute(f"PRAGMA table_info({table.name})")}
    assert found - {"id"} == {name for name in columns_of(kind) if table.term(name, 1) != "NULL"}
    assert {table.term(name, SCHEMA_VERSION) for name in columns_of(kind)} & {"NULL"} == set()
