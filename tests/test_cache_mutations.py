"""Damaged files: a start gets the answer that it always got or the default, soon, and says so."""

from __future__ import annotations

import ctypes
import json
import logging
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import TypeAlias
from zlib import crc32

import file_damage
import pytest
from cache_examples import DEVICE, TIMED
from cli_runs import CONFIG
from click.testing import CliRunner
from fakes import FakeBench, timed
from file_damage import PAGE_BYTES, flip_a_bit

import cache
from autotune._store import Store, decision_measurements
from autotune.chooser import answer
from autotune.commands import cli
from autotune.decision import Choice
from autotune.job import Job
from autotune.keys import Question
from autotune.models import ModelRequest, load_model
from autotune.profiles import BALANCED
from autotune.today import Asked
from autotune.tuner import warm
from autotune.wishes import Wishes
from kernels_bench.backends import find_backends
from kernels_bench.devices import find_device
from kernels_bench.messages import Finished, Task

Mutation: TypeAlias = Callable[[Random, Path], object]
Answer: TypeAlias = tuple[object, ...]

log = logging.getLogger(__name__)
"""For numbers that a person may want: pytest --log-cli-level=info."""
MOST_S = 1.0
PROFILES = ("balanced", "chat")
"""Of the first a decision is stored; the second is decided from what was measured."""
SIZES = pytest.mark.parametrize("size", [150, pytest.param(2000, marks=pytest.mark.long)])


@dataclass(frozen=True)
class Whole:
    """A file that is as it was written, and what it answers."""

    content: bytes
    model: Path
    asked: Mapping[str, Asked]
    """By the profile."""
    answers: Mapping[str, Answer]


def race(task: Task) -> Finished:
    """The default is the slowest, by no pattern: who decides from a part, or from the times of
    other layers, decides otherwise.
    """
    texts = [f"{task.spec} {task.workload.text} {each.label}" for each in task.entrants]
    chances = [crc32(text.encode()) % 40 for text in texts]
    return Finished(tuple(timed(90.0 - 30 * n + chance) for n, chance in enumerate(chances)))


def tune(file: Path, model: Path, **config: int) -> Asked:
    """As `cli_runs.tune`, with `race`."""
    model.mkdir()
    (model / "config.json").write_text(json.dumps(CONFIG | config))
    wishes = Wishes("any", frozenset({"torch_flex"}))
    job = Job(load_model(ModelRequest(str(model))), find_device("cpu"), BALANCED, wishes)
    backends = tuple(b for b in find_backends().backends if b.name in ("torch_sdpa", "torch_flex"))
    with Store.open(file) as store:
        warm(job, store, FakeBench({}, backends, on_task=race))
    return Asked(job.question, job.found)


def told_by(choice: Choice) -> Answer:
    """All of it that an engine could act on. Not the source: where an index has lost the stored
    decision, the measurements are there to decide the same again.
    """
    return choice.state, choice.candidate, choice.engine_options, choice.decision


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Of two models, so that there are rows of others to be mistaken for one's own."""
    folder = tmp_path_factory.mktemp("whole")
    file = folder / "autotune.db"
    tune(file, folder / "other", head_dim=32)
    plain = tune(file, folder / "tiny")
    model = plain.question.model
    asked = {each: replace(plain, question=Question(model, "any", each)) for each in PROFILES}
    choices = {profile: answer(each, file) for profile, each in asked.items()}
    assert [each.source for each in choices.values()] == ["cache", "evidence"]
    answers = {profile: told_by(each) for profile, each in choices.items()}
    assert {each[0] for each in answers.values()} == {"exact"}
    return Whole(file.read_bytes(), folder / "tiny", asked, answers)


# What happens to files


def anywhere(damage: Callable[[bytearray, Random], None]) -> Mutation:
    def mutate(random: Random, path: Path) -> None:
        data = bytearray(path.read_bytes())
        damage(data, random)
        path.write_bytes(data)

    return mutate


def flips(start: int, size: int, most: int) -> Mutation:
    """One or more bits in a part of the file."""

    def mutate(random: Random, path: Path) -> None:
        data = bytearray(path.read_bytes())
        part = data[start : start + size]
        for _ in range(random.randint(1, most)):
            flip_a_bit(part, random)
        path.write_bytes(data[:start] + part + data[start + size :])

    return mutate


def page_of(kind: str) -> Mutation:
    """Bits in the first page of a table or an index, its head most of all."""

    def mutate(random: Random, path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection:
            roots = connection.execute("SELECT rootpage FROM sqlite_master WHERE type = ?", [kind])
            found = [page for (page,) in roots]
        start = (random.choice(found) - 1) * PAGE_BYTES
        flips(start, random.choice([12, 100, PAGE_BYTES]), 12)(random, path)

    return mutate


def a_page_that_was_never_written(random: Random, path: Path) -> None:
    """One is as another: what a disk does that puts a page in the wrong place."""
    data = bytearray(path.read_bytes())
    first, second = (random.randrange(len(data) // PAGE_BYTES) * PAGE_BYTES for _ in range(2))
    data[first : first + PAGE_BYTES] = data[second : second + PAGE_BYTES]
    path.write_bytes(data)


def statement(text: str) -> Mutation:
    """`{table}`, and a `{column}` of it that is in no index."""
    columns = """
        SELECT name FROM pragma_table_info('{table}') WHERE pk = 0 AND name NOT IN (
            SELECT part.name FROM pragma_index_list('{table}') AS indexes,
            pragma_index_info(indexes.name) AS part
        )
    """

    def mutate(random: Random, path: Path) -> None:
        table = random.choice(["devices", "models", "measurements", "decisions"])
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            found = connection.execute(columns.format(table=table)).fetchall()
            for view in ("winners", "times", "refusals"):
                connection.execute(f"DROP VIEW {view}")
            connection.execute(text.format(table=table, column=random.choice(found)[0]))

    return mutate


MUTATIONS: Mapping[str, Mutation] = {
    "cut": anywhere(file_damage.cut),
    "one bit": anywhere(flip_a_bit),
    "bits": anywhere(file_damage.flip_bits),
    "bits of the header": flips(0, 100, 3),
    "bits of the first page": flips(0, PAGE_BYTES, 20),
    "bits of an index": page_of("index"),
    "bits of a table": page_of("table"),
    "zeros": anywhere(file_damage.fill_with_zeros),
    "noise": anywhere(file_damage.fill_with_noise),
    "pages swapped": anywhere(file_damage.swap_pages),
    "a page twice": a_page_that_was_never_written,
    "schema 0": statement("PRAGMA user_version = 0"),
    "schema 99": statement("PRAGMA user_version = 99"),
    "no table": statement("DROP TABLE {table}"),
    "a table renamed": statement("ALTER TABLE {table} RENAME TO other"),
    "no column": statement("ALTER TABLE {table} DROP COLUMN {column}"),
    "a column renamed": statement("ALTER TABLE {table} RENAME COLUMN {column} TO other"),
    "no rows": statement("DELETE FROM {table}"),
    "every other row": statement("DELETE FROM {table} WHERE id % 2"),
}


def mutated(whole: Whole, path: Path, seed: int) -> str:
    """Write a damaged copy. Every kind has its turn; returns which one it was."""
    kind = list(MUTATIONS)[seed % len(MUTATIONS)]
    path.write_bytes(whole.content)
    MUTATIONS[kind](Random(seed), path)
    return kind


# A start


def looked(folder: Path) -> dict[str, object]:
    """All that is there; a pipe would be waited for."""
    return {
        each.name: each.read_bytes() if each.is_file() else each.lstat().st_mode
        for each in folder.iterdir()
    }


def ask(asked: Asked, path: Path) -> Answer:
    """Again where it took too long: then the machine may have been busy."""
    for _ in range(2):
        started = time.perf_counter()
        choice = answer(asked, path)
        if time.perf_counter() - started < MOST_S:
            return told_by(choice)
    raise TimeoutError(f"it took more than {MOST_S} s twice")


def start(whole: Whole, profile: str, path: Path) -> tuple[str, list[str]]:
    """The state that is answered, and what must not be, a line each."""
    wrong = []
    before, state = looked(path.parent), "none"
    try:
        state, *rest = ask(whole.asked[profile], path)
    except Exception as error:
        wrong.append(f"raised {error!r}")
    else:
        if state != "default" and (state, *rest) != whole.answers[profile]:
            wrong.append(f"answered {state}, {rest!s:.400}")
    after = looked(path.parent)
    changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    return str(state), wrong + [f"changed {name}" for name in changed]


@SIZES
@pytest.mark.parametrize("profile", PROFILES)
def test_a_start_gets_the_answer_that_it_always_got_or_the_default(
    whole: Whole, tmp_path: Path, profile: str, size: int
) -> None:
    path = tmp_path / "mutated" / "autotune.db"
    path.parent.mkdir()
    told: list[str] = []
    states: Counter[str] = Counter()
    for seed in range(size):
        kind = mutated(whole, path, seed)
        state, found = start(whole, profile, path)
        states[state] += 1
        told += [f"seed {seed}, {kind}: {each}" for each in found]
        for each in set(path.parent.iterdir()) - {path}:
            each.unlink()
    log.info("%s: %s", profile, dict(states))
    assert not told, "\n".join(told)
    assert min(states["exact"], states["default"]) > size / 10  # else nothing is tried here


# Things in the file's place


def make_foreign(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE decisions (id INTEGER PRIMARY KEY, question TEXT)")
        connection.execute("INSERT INTO decisions (question) VALUES ('to be or not to be')")


PLACES: Mapping[str, Callable[[Path], object]] = {
    "nothing": lambda _: None,
    "an empty file": lambda path: path.touch(),
    "text": lambda path: path.write_text("to be or not to be\n" * 500),
    "another program's file": make_foreign,
    "a folder": lambda path: path.mkdir(),
    "a pipe": os.mkfifo,
    "a dangling link": lambda path: path.symlink_to(path.with_name("gone.db")),
    "a link to itself": lambda path: path.symlink_to(path),
    "a device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("make", PLACES.values(), ids=PLACES)
def test_what_is_no_cache_is_answered_by_default(
    whole: Whole, tmp_path: Path, make: Callable[[Path], object], profile: str
) -> None:
    path = tmp_path / "place" / "autotune.db"
    path.parent.mkdir()
    make(path)
    assert start(whole, profile, path) == ("default", [])


@contextmanager
def bound_by_permissions() -> Iterator[None]:
    """Root too, while it lacks CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: a whole start, unlike a
    read, would find no Python under another user's id where that lies in root's home.
    """
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None)
    this_thread = (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; then their upper halves
    assert libc.capget(this_thread, sets) == 0
    whole = sets[0]
    sets[0] &= ~0b110
    assert libc.capset(this_thread, sets) == 0
    try:
        yield
    finally:
        sets[0] = whole
        assert libc.capset(this_thread, sets) == 0


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(
    ("folder_mode", "file_mode", "state"),
    [(0o555, 0o444, "exact"), (0o755, 0o444, "exact"), (0o755, 0o000, "default"),
     (0o644, 0o644, "default"), (0o000, 0o644, "default")],
    ids=["read only", "a read-only file", "unreadable", "no way in", "a closed folder"],
)  # fmt: skip
def test_what_permissions_allow_is_answered(
    whole: Whole, folder_mode: int, file_mode: int, state: str, profile: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "autotune.db"
        path.write_bytes(whole.content)
        path.chmod(file_mode)
        path.parent.chmod(folder_mode)
        with bound_by_permissions():
            found = ask(whole.asked[profile], path)
        path.parent.chmod(0o755)
        assert [each.name for each in path.parent.iterdir()] == [path.name]
        path.chmod(0o644)
        assert path.read_bytes() == whole.content
    assert found[0] == state
    assert state == "default" or found == whole.answers[profile]


# The command line

COMMANDS = {"ls": ["cache", "ls"], "show": ["cache", "show", "1"], "choose": ["choose"]}
EMPTY = "holds no decision yet; autotune warm makes one"


@pytest.mark.parametrize("size", [20, pytest.param(400, marks=pytest.mark.long)])
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_command_says_it_in_a_line(
    whole: Whole, tmp_path: Path, command: list[str], size: int
) -> None:
    path = tmp_path / "autotune.db"
    model = ["--model", str(whole.model), "--device", "cpu"] if command == ["choose"] else []
    told, codes = [], Counter[int]()
    for seed in range(size):
        kind = mutated(whole, path, seed)
        result = CliRunner().invoke(cli, [*command, *model, "--cache", str(path)])
        codes[result.exit_code] += 1
        lines = result.stderr.splitlines()
        ours = [each for each in lines if each.startswith("autotune: ")]
        is_said = all(each in ours or each.endswith(EMPTY) for each in lines)
        is_caught = result.exception is None or isinstance(result.exception, SystemExit)
        if not is_said or not is_caught or result.exit_code not in (0, 1) or len(ours) > 2:
            told.append(f"seed {seed}, {kind}: {result.exit_code} {result.exception!r} {lines}")
    log.info("%s: exit codes %s", " ".join(command), dict(codes))
    assert not told, "\n".join(told)


# A full disk

FILL = """
import resource, signal, sys
from dataclasses import replace
from itertools import count
from pathlib import Path
from cache import CacheError, Store
from cache_examples import DEVICE, TIMED
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    with Store.open(Path(sys.argv[1])) as store:
        store.put_device(DEVICE)
        for number in count():
            store.put_measurements(replace(TIMED, key=f"{number}.{row}") for row in range(7))
            print("set", flush=True)
except CacheError as error:
    print(error)
"""


@pytest.mark.parametrize("limit", [10_000, 70_000, 100_001, 123_456, 300_000])
def test_a_file_that_may_not_grow_keeps_what_is_there(tmp_path: Path, limit: int) -> None:
    path = tmp_path / "full" / "autotune.db"
    roots = [str(Path(cache.__file__).parents[1]), str(Path(__file__).parent)]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(roots)}
    command = [sys.executable, "-c", FILL, str(path), str(limit)]
    child = subprocess.run(command, check=True, capture_output=True, text=True, env=environ)
    *told, said = child.stdout.splitlines()
    assert child.stderr == ""
    assert said.startswith(f"cache {path}: ")
    assert set(told) <= {"set"}
    expected = [f"{number}.{row}" for number in range(len(told)) for row in range(7)]
    rows = decision_measurements(path, DEVICE.key, [TIMED.spec_key])
    assert [row.key for row in rows] == expected
    with Store.open(path) as store:  # on a disk with room again
        store.put_device(DEVICE)
        store.put_measurements([replace(TIMED, key="more")])
    rows = decision_measurements(path, DEVICE.key, [TIMED.spec_key])
    assert rows == tuple(replace(TIMED, key=key) for key in [*expected, "more"])
    assert [each.name for each in path.parent.iterdir()] == [path.name]
