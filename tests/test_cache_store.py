"""What the writing side keeps, replaces, forgets and refuses."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cache_examples import DECISION, DEVICE, MODEL, PROVENANCE, REJECTED, TIMED

from cache import CacheMissingError, Store, find_decisions, list_decisions, show_decision

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a folder" / "new" / "auto tune?.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store.open(path) as store:
        store.put_device(DEVICE)
        store.put_model(MODEL)
        yield store


def test_a_measurement_with_the_same_key_replaces(store: Store) -> None:
    store.put_measurements([TIMED, REJECTED])
    faster = replace(TIMED, gpu_us=1.0)
    store.put_measurements([faster])
    assert store.measurements(DEVICE.key, [TIMED.spec_key]) == (faster, REJECTED)


def test_a_replaced_decision_keeps_its_id(store: Store, path: Path) -> None:
    first = store.put_decision(DECISION)
    other = store.put_decision(replace(DECISION, versions='{"torch": "2.14.0"}'))
    assert store.put_decision(replace(DECISION, tie=True)) == first != other
    assert show_decision(path, first).decision.tie


def test_only_the_kinds_of_layer_asked_for_are_read(store: Store) -> None:
    window = replace(TIMED, key="m3", spec_key="window")
    store.put_measurements([TIMED, window])
    assert store.measurements(DEVICE.key, ["window"]) == (window,)
    assert store.measurements("another device", ["window"]) == ()
    assert store.measurements(DEVICE.key, []) == ()


def test_answers_of_all_devices_are_found_newest_first(store: Store, path: Path) -> None:
    other = replace(DEVICE, key="rocm;MI300X", name="AMD Instinct MI300X")
    later = replace(PROVENANCE, created_at="2026-06-01T00:00:00Z")
    store.put_device(other)
    store.put_decision(replace(DECISION, device_key=other.key, provenance=later))
    store.put_decision(DECISION)
    store.put_decision(replace(DECISION, question="another"))
    found = find_decisions(path, DECISION.question)
    assert [each.device for each in found] == [other, DEVICE]
    assert len(list_decisions(path)) == 3


def test_a_batch_is_stored_whole_or_not_at_all(store: Store) -> None:
    stray = replace(TIMED, key="m9", device_key="never put")
    with pytest.raises(sqlite3.IntegrityError):
        store.put_measurements([TIMED, stray])
    assert store.measurements(DEVICE.key, [TIMED.spec_key]) == ()


def test_forget_removes_all_the_ids_or_none(store: Store, path: Path) -> None:
    stored_as = store.put_decision(DECISION)
    with pytest.raises(CacheMissingError, match="no decision 98, 99; `autotune cache ls`"):
        store.forget([stored_as, 98, 99])
    assert [each.id for each in list_decisions(path)] == [stored_as]
    store.forget([stored_as])
    assert list_decisions(path) == ()


def test_forgotten_evidence_is_gone_and_other_evidence_stays(store: Store) -> None:
    window = replace(TIMED, key="m3", spec_key="window")
    store.put_measurements([TIMED, window])
    store.forget_measurements(DEVICE.key, [TIMED.spec_key])
    assert store.measurements(DEVICE.key, [TIMED.spec_key, "window"]) == (window,)


def test_an_unknown_id_is_an_error(store: Store, path: Path) -> None:
    assert store.put_decision(DECISION) != 7
    with pytest.raises(CacheMissingError, match="no decision 7;"):
        show_decision(path, 7)
    with pytest.raises(CacheMissingError, match="no decision 7;"):
        show_decision(path.with_name("not there.db"), 7)


def test_the_plain_tool_reads_the_file(store: Store, path: Path) -> None:
    store.put_measurements([TIMED, REJECTED])
    command = [sys.executable, "-m", "sqlite_utils", "tables", str(path), "--counts"]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert '{"table": "measurements", "count": 2}' in shown
    assert '{"table": "devices", "count": 1}' in shown


def test_a_file_name_that_means_memory_to_sqlite_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Store.open(Path(":memory:")) as store:
        store.put_device(DEVICE)
    assert (tmp_path / ":memory:").stat().st_size > 0


def test_a_store_goes_on_in_the_file_that_has_its_name(store: Store, path: Path) -> None:
    store.put_measurements([TIMED])
    path.rename(path.with_name("restored elsewhere.db"))
    store.put_measurements([REJECTED])
    store.put_decision(DECISION)
    assert store.measurements(DEVICE.key, [TIMED.spec_key]) == (REJECTED,)
    assert [each.decision for each in list_decisions(path)] == [DECISION]


def test_what_was_pruned_meanwhile_is_put_again_with_what_points_at_it(
    store: Store, path: Path
) -> None:
    with Store.open(path) as other:
        assert other.remove([], []).orphans == 2
    store.put_decision(DECISION)
    assert [each.model for each in list_decisions(path)] == [MODEL]


def test_a_store_is_of_no_use_after_a_fork(store: Store, path: Path) -> None:
    with warnings.catch_warnings():
        # Python 3.12 warns where the process has threads, as another test may have left.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            store.put_measurements([TIMED])
        except RuntimeError:
            store.close()
            os._exit(7)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7
    store.put_measurements([TIMED])
    assert len(store.measurements(DEVICE.key, [TIMED.spec_key])) == 1
