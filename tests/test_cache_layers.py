"""Several files, one answer: which are read, in which order, and what one that is bad costs."""

from __future__ import annotations

import json
import os
import pwd
import re
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cache_examples import DECISION, DEVICE, MODEL, tamper, write_schema_1
from fakes import CPU_FOUND, H100_FOUND, make_model, write_distribution
from starts import FAST, NO_FLEX, ask, tune
from starts import MODEL as TINY
from test_cache_files import die_half_way, unprivileged

import cache
from autotune import find_layers as public_find_layers
from autotune.chooser import answer
from autotune.decision import Choice
from autotune.keys import Question
from autotune.settings import Settings
from autotune.today import Asked
from cache import (
    CacheCorruptError,
    CacheError,
    CacheLocationError,
    CacheNewerError,
    CacheUnreadableError,
    Layer,
    LayeredReading,
    Layers,
    Store,
    Which,
    find_layers,
    read_layers,
)
from kernels_bench.devices import FoundDevice

ROOT = Path(cache.__file__).parents[1]
TESTS = Path(__file__).parent
STEADY = FAST | {"swift": 200.0}
"""Times by which steady wins."""


# Which files


@pytest.fixture(autouse=True)
def bundles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where an image puts its files; there is none yet."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "env"))
    return tmp_path / "env" / "share" / "attn-autotune"


def touched(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def labels(layers: Layers) -> list[str]:
    return [each.label for each in layers.files]


def environ(fleet: str = "", order: str = "") -> dict[str, str]:
    names = {"AUTOTUNE_FLEET_CACHE": fleet, "AUTOTUNE_CACHE_ORDER": order}
    return {"AUTOTUNE_CACHE": "/data/own.db"} | {k: v for k, v in names.items() if v}


def fleet_of(text: str, order: str = "") -> list[str]:
    found = find_layers(None, environ(text, order)).files
    return [str(each.path) for each in found if each.name == "fleet"]


def test_without_more_it_is_the_user_s_file_alone() -> None:
    own = Layer("user", Path("/data/own.db"), "AUTOTUNE_CACHE")
    assert find_layers(None, environ()) == Layers((own,))


def test_empty_variables_are_unset() -> None:
    empty = {"AUTOTUNE_CACHE": "/data/own.db", "AUTOTUNE_FLEET_CACHE": ""}
    assert labels(find_layers(None, empty | {"AUTOTUNE_CACHE_ORDER": ""})) == ["user"]


def test_the_user_s_then_the_fleet_s_then_what_an_image_brought(bundles: Path) -> None:
    touched(bundles / "b.db", bundles / "a.db", bundles / "a.db-journal", bundles / "notes.txt")
    found = find_layers(None, environ(os.pathsep.join(["/fleet/z.db", "/fleet/a.db"])))
    assert [(each.label, str(each.path), each.why) for each in found.files] == [
        ("user", "/data/own.db", "AUTOTUNE_CACHE"),
        ("fleet", "/fleet/z.db", "AUTOTUNE_FLEET_CACHE"),
        ("fleet2", "/fleet/a.db", "AUTOTUNE_FLEET_CACHE"),
        ("bundle", f"{bundles}/a.db", f"in {bundles}"),
        ("bundle2", f"{bundles}/b.db", f"in {bundles}"),
    ]
    assert found.user == found.files[0]
    assert [each.is_promised for each in found.files] == [False, True, True, False, False]
    assert found.label_of(Path("/fleet/a.db")) == "fleet2"


def test_the_command_line_names_the_user_s_file_and_the_others_stay(bundles: Path) -> None:
    touched(bundles / "a.db")
    found = find_layers("/data/other.db", environ("/fleet/a.db"))
    assert labels(found) == ["user", "fleet", "bundle"]
    assert (found.user.path, found.user.why) == (Path("/data/other.db"), "--cache")


def test_finding_makes_nothing(tmp_path: Path) -> None:
    found = public_find_layers(tmp_path / "own.db", environ(str(tmp_path / "fleet.db")))
    assert [each.path.name for each in found.files] == ["own.db", "fleet.db"]
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_named_twice_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    names = ["/f/a.db", "", "~/b.db", "/f/a.db", "/home/ada/b.db", "/f/./a.db", "/f/c.db"]
    found = find_layers(None, environ(os.pathsep.join(names)))
    fleet = [each for each in found.files if each.name == "fleet"]
    assert [str(each.path) for each in fleet] == ["/f/a.db", "/home/ada/b.db", "/f/c.db"]
    assert len(set(labels(found))) == len(found.files)


@pytest.mark.parametrize("order", ["", "fleet", "bundle,fleet"])
def test_a_fleet_file_that_is_the_user_s_own_is_the_user_s(order: str) -> None:
    assert fleet_of(os.pathsep.join(["/data/own.db", "/f/a.db"]), order) == ["/f/a.db"]
    found = find_layers(None, environ("/data/own.db", order))
    assert labels(found) == ["user"]


def test_a_tilde_of_nobody_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CacheLocationError, match="no home folder is known for the ~") as caught:
        find_layers(None, environ("~no-such-user-here/a.db"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("user", ["user", "fleet", "bundle"]),
        ("fleet", ["fleet", "user", "bundle"]),
        ("fleet,user", ["fleet", "user", "bundle"]),
        ("bundle,fleet,user", ["bundle", "fleet", "user"]),
        ("bundle", ["bundle", "user", "fleet"]),
        (" fleet , bundle,", ["fleet", "bundle", "user"]),
    ],
)
def test_who_is_named_comes_first(bundles: Path, order: str, expected: list[str]) -> None:
    touched(bundles / "a.db")
    found = find_layers(None, environ("/fleet/a.db", order))
    assert labels(found) == expected
    assert found.user.path == Path("/data/own.db")


@pytest.mark.parametrize(
    "order", ["site", "fleet,site", "Fleet", "fleet user", "fleet,fleet", "user,fleet,user"]
)
def test_an_order_that_makes_no_sense_is_one_line(order: str) -> None:
    with pytest.raises(CacheLocationError, match="AUTOTUNE_CACHE_ORDER names '") as caught:
        find_layers(None, environ(order=order))
    assert str(caught.value).endswith("name some of user, fleet, bundle once, with commas"
                                      " between: fleet,user")  # fmt: skip
    assert "\n" not in str(caught.value)


def test_an_order_of_two_lines_is_told_in_one() -> None:
    with pytest.raises(CacheLocationError) as caught:
        find_layers(None, environ(order="fleet\nuser"))
    assert "\n" not in str(caught.value)


# What they hold


def filled(path: Path, *whys: str) -> Path:
    """A decision for each of them, on questions of their own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with Store.open(path) as store:
        store.put_device(DEVICE)
        store.put_model(MODEL)
        for why in whys:
            store.put_decision(replace(DECISION, question=why, why=why))
    return path


def execute(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()


def three(tmp_path: Path) -> Layers:
    """The user's, the fleet's and a bundle, each in a folder of its own."""
    return Layers(
        (
            Layer("user", tmp_path / "user" / "a.db", "AUTOTUNE_CACHE"),
            Layer("fleet", tmp_path / "fleet" / "a.db", "AUTOTUNE_FLEET_CACHE"),
            Layer("bundle", tmp_path / "bundle" / "a.db", "in share"),
        )
    )


@pytest.fixture
def layers(tmp_path: Path) -> Layers:
    found = three(tmp_path)
    for each in found.files:
        filled(each.path, f"{each.name} 1", f"{each.name} 2")
    return found


def told(reading: LayeredReading) -> list[str]:
    return [each.decision.why for each in reading.stored]


def test_entries_stand_on_their_own_layer_by_layer(layers: Layers) -> None:
    found = read_layers(layers, Which())
    assert told(found) == [
        "user 2", "user 1", "fleet 2", "fleet 1", "bundle 2", "bundle 1",
    ]  # fmt: skip
    assert (found.errors, found.damaged) == ((), ())
    assert [each.file for each in found.stored[::2]] == [each.path for each in layers.files]
    assert told(read_layers(layers, Which(questions=("fleet 2",)))) == ["fleet 2"]
    backwards = Layers(layers.files[::-1])
    assert told(read_layers(backwards, Which(questions=("user 1", "bundle 1")))) == [
        "bundle 1", "user 1",
    ]  # fmt: skip


def test_a_file_that_somebody_promised_and_that_is_not_there_is_told(layers: Layers) -> None:
    for each in layers.files:
        each.path.unlink()
    found = read_layers(layers, Which())
    (error,) = found.errors
    assert isinstance(error, CacheUnreadableError)
    fleet = layers.files[1].path
    assert (
        str(error) == f"cache {fleet}: not there; mount it, or take it out of {layers.files[1].why}"
    )
    assert (found.stored, found.damaged) == ((), ())
    assert not any(each.path.exists() for each in layers.files)


def ruin(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 8 * 4096)


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


BAD: dict[str, tuple[Callable[[Path], None], type[CacheError]]] = {
    "corrupt": (ruin, CacheCorruptError),
    "newer": (lambda path: execute(path, "PRAGMA user_version = 99"), CacheNewerError),
    "text": (lambda path: path.write_text("text\n" * 500) and None, CacheCorruptError),
    "cut": (lambda path: os.truncate(path, 5000), CacheCorruptError),
    "a folder": (make_folder, CacheUnreadableError),
}


@pytest.mark.parametrize("place", [0, 1, 2], ids=["user", "fleet", "bundle"])
@pytest.mark.parametrize(("spoil", "kind"), BAD.values(), ids=BAD)
def test_a_bad_layer_costs_its_own_rows(
    layers: Layers, spoil: Callable[[Path], None], kind: type[CacheError], place: int
) -> None:
    bad = layers.files[place]
    spoil(bad.path)
    found = read_layers(layers, Which())
    (error,) = found.errors
    assert type(error) is kind
    assert error.path == bad.path
    assert "\n" not in str(error)
    others = [each.name for each in layers.files if each is not bad]
    assert told(found) == [f"{name} {number}" for name in others for number in (2, 1)]


def test_damaged_rows_are_left_out_and_told_once_a_file(layers: Layers) -> None:
    fleet, bundle = layers.files[1].path, layers.files[2].path
    execute(fleet, "UPDATE decisions SET backend = 'another'")
    execute(bundle, "UPDATE decisions SET backend = 'another' WHERE question = 'bundle 1'")
    found = read_layers(layers, Which())
    assert told(found) == ["user 2", "user 1", "bundle 2"]
    wrong = "checksum does not fit what the row holds"
    rest = "left out; `autotune cache doctor` tells more"
    assert found.damaged == (
        f"cache {fleet}: decisions 2: {wrong} and 1 more; {rest}",
        f"cache {bundle}: decisions 1: {wrong}; {rest}",
    )
    assert found.errors == ()


# What a start gets


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return three(tmp_path).files[0].path


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    return three(tmp_path).files[1].path


def start(layers: Layers, found: FoundDevice = CPU_FOUND, profile: str = "balanced") -> Choice:
    return ask(layers, found, profile=profile)  # type: ignore[arg-type]


def by_environment(own: Path, fleet: Path, order: str = "") -> Layers:
    return find_layers(own, environ(str(fleet), order))


@pytest.mark.usefixtures("plugins")
def test_the_user_s_file_answers_first_though_the_fleet_s_is_newer(own: Path, fleet: Path) -> None:
    tune(own, STEADY)
    tune(fleet)
    tamper(fleet, "UPDATE decisions SET created_at = '2099-01-01T00:00:00+00:00'")
    choice = start(by_environment(own, fleet))
    assert (choice.state, choice.backend, choice.file) == ("exact", "steady", own)
    assert (choice.unread, choice.warnings) == ((), ())
    first = start(by_environment(own, fleet, "fleet"))
    assert (first.state, first.backend, first.file) == ("exact", "swift", fleet)


@pytest.mark.usefixtures("plugins")
def test_a_bundle_answers_where_nobody_else_does(bundles: Path, own: Path, fleet: Path) -> None:
    tune(bundles / "b.db")
    tune(fleet, model=make_model(replace(TINY.specs[0], head_dim=128)))
    choice = start(by_environment(own, fleet))
    assert (choice.backend, choice.file) == ("swift", bundles / "b.db")
    assert not own.parent.exists()
    tune(bundles / "a.db", STEADY)
    assert start(by_environment(own, fleet)).file == bundles / "a.db"


@pytest.mark.usefixtures("plugins")
def test_what_the_user_s_file_lacks_is_looked_for_in_the_fleet_s(own: Path, fleet: Path) -> None:
    tune(own, model=make_model(replace(TINY.specs[0], head_dim=128)))
    tune(own, found=H100_FOUND)
    tune(fleet, STEADY)
    choice = start(by_environment(own, fleet))
    assert (choice.state, choice.source, choice.file) == ("exact", "cache", fleet)
    assert choice.backend == "steady"


@pytest.mark.usefixtures("plugins")
def test_measurements_of_the_fleet_decide_another_profile(own: Path, fleet: Path) -> None:
    tune(fleet, STEADY)
    choice = start(by_environment(own, fleet), profile="chat")
    assert (choice.state, choice.source, choice.file) == ("exact", "evidence", fleet)
    tune(own)
    choice = start(by_environment(own, fleet), profile="chat")
    assert (choice.backend, choice.source, choice.file) == ("swift", "evidence", own)


@pytest.mark.usefixtures("plugins")
def test_a_row_for_the_question_comes_before_measurements_of_an_earlier_layer(
    own: Path, fleet: Path
) -> None:
    tune(own)
    tune(fleet, STEADY)
    tamper(own, "UPDATE decisions SET question = replace(question, 'balanced', 'chat')")
    tamper(own, "UPDATE decisions SET profile = 'chat'")
    choice = start(by_environment(own, fleet))
    assert (choice.source, choice.file, choice.backend) == ("cache", fleet, "steady")


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize("order", ["", "fleet"])
def test_an_exact_answer_of_a_later_layer_beats_a_drifted_one_of_an_earlier(
    own: Path, fleet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    layers = by_environment(own, fleet, order)
    first, second = layers.files
    write_distribution(tmp_path / "old", "torch", "9.9.8")
    with monkeypatch.context() as other_stack:
        other_stack.syspath_prepend(str(tmp_path / "old"))
        tune(first.path, STEADY)
    tune(second.path)
    choice = start(layers)
    assert (choice.state, choice.backend, choice.file) == ("exact", "swift", second.path)
    second.path.unlink()
    choice = start(layers)
    assert (choice.state, choice.file) == ("drifted", first.path)


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize("order", ["", "fleet"])
def test_of_two_drifted_answers_that_under_the_same_driver_wins(
    own: Path, fleet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    layers = by_environment(own, fleet, order)
    first, second = layers.files
    tune(first.path, STEADY, replace(H100_FOUND, driver={"nvidia-driver": "590.2"}))
    write_distribution(tmp_path / "old", "torch", "9.9.8")
    with monkeypatch.context() as other_stack:
        other_stack.syspath_prepend(str(tmp_path / "old"))
        tune(second.path, FAST, H100_FOUND)
    choice = start(layers, H100_FOUND)
    assert (choice.state, choice.backend, choice.file) == ("drifted", "swift", second.path)
    assert choice.why.startswith("torch was 9.9.8 and is ")
    other_driver = replace(H100_FOUND, driver={"nvidia-driver": "600.1"})
    assert start(layers, other_driver).file == first.path


@pytest.mark.usefixtures("plugins")
def test_of_answers_that_drifted_alike_the_earlier_layer_wins(
    own: Path, fleet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, path in enumerate((own, fleet)):
        write_distribution(tmp_path / str(number), "torch", f"9.9.{number}")
        with monkeypatch.context() as other_stack:
            other_stack.syspath_prepend(str(tmp_path / str(number)))
            tune(path)
    assert start(by_environment(own, fleet)).file == own
    assert start(by_environment(own, fleet, "fleet")).file == fleet


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize(("spoil", "kind"), BAD.values(), ids=BAD)
def test_a_bad_user_file_leaves_the_answer_to_the_fleet(
    own: Path, fleet: Path, spoil: Callable[[Path], None], kind: type[CacheError]
) -> None:
    tune(own, STEADY)
    tune(fleet)
    spoil(own)
    choice = start(by_environment(own, fleet))
    assert (choice.state, choice.backend, choice.file) == ("exact", "swift", fleet)
    (error,) = choice.unread
    assert type(error) is kind
    assert choice.warnings == (str(error),)
    assert choice.why.startswith(f"{error}; ")


@pytest.mark.usefixtures("plugins")
def test_a_fleet_file_that_is_not_there_is_a_warning(own: Path, fleet: Path) -> None:
    tune(own)
    choice = start(by_environment(own, fleet))
    assert (choice.state, choice.file) == ("exact", own)
    assert choice.warnings == (
        f"cache {fleet}: not there; mount it, or take it out of AUTOTUNE_FLEET_CACHE",
    )
    assert not fleet.parent.exists()


@pytest.mark.usefixtures("plugins")
def test_when_no_file_can_be_read_the_default_answers(
    bundles: Path, own: Path, fleet: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tune(own)
    tune(fleet)
    tune(bundles / "a.db")
    ruin(own)
    fleet.write_text("text\n" * 500)
    execute(bundles / "a.db", "PRAGMA user_version = 99")
    choice = start(by_environment(own, fleet))
    assert (choice.state, choice.backend, choice.file) == ("default", "torch_sdpa", None)
    assert [each.path for each in choice.unread] == [own, fleet, bundles / "a.db"]
    assert [type(each) for each in choice.unread] == [
        CacheCorruptError, CacheCorruptError, CacheNewerError,
    ]  # fmt: skip
    assert choice.warnings[:3] == tuple(map(str, choice.unread))
    assert all(str(each) in caplog.text for each in choice.unread)


@pytest.mark.usefixtures("plugins")
def test_damaged_rows_of_the_user_s_file_leave_the_answer_to_the_fleet(
    own: Path, fleet: Path
) -> None:
    tune(own, STEADY)
    tune(fleet)
    execute(own, "UPDATE decisions SET backend = 'torch_sdpa'")
    choice = start(by_environment(own, fleet))
    assert (choice.backend, choice.file, choice.unread) == ("swift", fleet, ())
    (warning,) = choice.warnings
    assert warning.startswith(f"cache {own}: decisions 1: checksum does not fit")
    tamper(own, "UPDATE decisions SET runners_up = '{'")
    assert start(by_environment(own, fleet)).file == fleet


@pytest.mark.usefixtures("plugins")
def test_one_file_is_one_layer(own: Path) -> None:
    tune(own)
    asked = Asked(Question(TINY, "any", "balanced"), CPU_FOUND, Settings(disabled=NO_FLEX))
    assert answer(asked, own).file == own
    assert answer(asked, own) == answer(asked, Layers.alone(own))


# Nothing is written


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file below, when it changed, and its bytes; folders by when they changed."""
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mtime_ns,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in sorted([folder, *folder.rglob("*")])
    }


def to_schema_1(path: Path) -> None:
    path.unlink()
    write_schema_1(path, DEVICE, MODEL, DECISION)


STATES: dict[str, Callable[[Path], object]] = {
    "healthy": Path.exists,
    "of schema 1": to_schema_1,
    "corrupt": ruin,
    "text": lambda path: path.write_text("text\n" * 500),
    "newer": lambda path: execute(path, "PRAGMA user_version = 99"),
    "empty": lambda path: os.truncate(path, 0),
    "in WAL mode": lambda path: execute(path, "PRAGMA journal_mode = WAL"),
    "left by a killed writer": die_half_way,
}


@pytest.mark.parametrize("state", STATES)
def test_nothing_is_written_to_a_fleet_or_bundle_file_or_beside_it(
    bundles: Path, own: Path, fleet: Path, state: str
) -> None:
    tune(fleet, {"torch_sdpa": 1.0})
    tune(bundles / "a.db", {"torch_sdpa": 1.0})
    for path in (fleet, bundles / "a.db"):
        STATES[state](path)
    before = snapshot(fleet.parent), snapshot(bundles)
    layers = by_environment(own, fleet)
    start(layers)
    start(layers, profile="chat")
    tune(own, {"torch_sdpa": 1.0})
    start(layers)
    assert (snapshot(fleet.parent), snapshot(bundles)) == before


LOOK = """
import json, os, sys
from starts import ask
from cache import find_layers

sys.prefix = sys.argv[1]

def look(environ):
    layers = find_layers(None, environ)
    choice = ask(layers)
    return [choice.state, str(choice.file), str(layers.user.path), list(choice.warnings)]

look({"AUTOTUNE_CACHE": sys.argv[4]})  # imports what it needs while it may read all of that
os.chdir(sys.argv[2])
uid = int(sys.argv[3])
os.setgroups([])
os.setresgid(uid, uid, uid)
os.setresuid(uid, uid, uid)
print(json.dumps(look(os.environ)))
"""


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that every user may enter; that of pytest is one user's alone."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        for path in folder.rglob("*"):
            if path.is_dir():
                path.chmod(0o755)


def make_read_only(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)


def unknown_uid() -> int:
    known = {each.pw_uid for each in pwd.getpwall()}
    return next(uid for uid in range(54321, 65000) if uid not in known)


def test_a_layer_that_may_not_be_read_costs_its_own_rows(shared: Path) -> None:
    layers = three(shared)
    for each in layers.files:
        filled(each.path, each.name)
    fleet = layers.files[1].path
    fleet.chmod(0o000)
    with unprivileged():
        found = read_layers(layers, Which())
    assert [type(each) for each in found.errors] == [CacheUnreadableError]
    assert found.errors[0].path == fleet
    assert told(found) == ["user", "bundle"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
@pytest.mark.parametrize("has_name", [True, False], ids=["nobody", "a uid without an entry"])
@pytest.mark.parametrize(
    ("state", "answers", "warning"),
    [
        ("healthy", "fleet", ""),
        ("in WAL mode", "fleet", ""),
        ("left by a killed writer", "bundle", "a killed process left a half-written change"),
    ],
)
def test_a_user_without_a_home_and_with_nowhere_to_write_is_answered(
    shared: Path, state: str, answers: str, warning: str, has_name: bool
) -> None:
    fleet, bundle = shared / "fleet" / "a.db", shared / "env/share/attn-autotune/a.db"
    tune(fleet, {"torch_sdpa": 1.0})
    tune(bundle, {"torch_sdpa": 1.0})
    STATES[state](fleet)
    work = shared / "work"
    work.mkdir()
    tune(shared / "warm-up.db", {"torch_sdpa": 1.0})
    make_read_only(shared)
    before = snapshot(shared)
    uid = 65534 if has_name else unknown_uid()
    found = look(shared, work, uid, {"AUTOTUNE_FLEET_CACHE": str(fleet), "TMPDIR": str(work)})
    found_state, file, own, warnings = found
    assert (found_state, file) == ("exact", str({"fleet": fleet, "bundle": bundle}[answers]))
    assert len(warnings) == bool(warning)
    assert all(re.match(f"cache {fleet}: {warning}", each) for each in warnings)
    assert has_name or own == str(work / f"attn-autotune-{uid}" / "autotune.db")
    assert snapshot(shared) == before


def look(shared: Path, work: Path, uid: int, environ: dict[str, str]) -> Any:
    """As a process of this user sees it, without a home, in this working folder."""
    given = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join([str(ROOT), str(TESTS)])}
    command = [sys.executable, "-c", LOOK, str(shared / "env"), str(work), str(uid)]
    command.append(str(shared / "warm-up.db"))
    child = subprocess.run(
        command, capture_output=True, text=True, env=given | environ, check=False
    )
    assert child.returncode == 0, child.stderr
    return json.loads(child.stdout)
