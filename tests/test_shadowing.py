"""A stranger's `cache.py` or `cache/` beside the user's script: each of us gets their own."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import autotune._store
import cache

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(cache.__file__).parents[1]

PROBE = """
import json, sys
from collections.abc import Callable
from pathlib import Path
from autotune import _store

path = Path(sys.argv[1])
device = _store.DeviceRow("k", "cpu", "n", "x86_64", 2, 1, 1, "")
with _store.Store.open(path) as store:
    store.put_device(device)
try:
    _store.show_decision(path, 1)
except _store.CacheError as error:
    refused = type(error).__name__
import cache
print(json.dumps({"ours": _store.Store.__module__, "theirs": cache.WHO, "refused": refused}))
"""
STRANGER = 'WHO = "stranger"\n'
EXPECTED = {"ours": "autotune._cache.store", "theirs": "stranger", "refused": "CacheMissingError"}


def as_module(folder: Path) -> None:
    (folder / "cache.py").write_text(STRANGER)


def as_package(folder: Path) -> None:
    (folder / "cache").mkdir()
    (folder / "cache" / "__init__.py").write_text(STRANGER)


def as_package_with_our_module_names(folder: Path) -> None:
    as_package(folder)
    for name in ("store", "errors", "rows"):
        (folder / "cache" / f"{name}.py").write_text("raise AssertionError('a stranger ran')\n")


def probe(folder: Path, *arguments: str, path: str = str(ROOT)) -> dict[str, str]:
    command = [sys.executable, *arguments, str(folder / "probe.db")]
    environ = {**os.environ, "PYTHONPATH": path}
    child = subprocess.run(
        command, capture_output=True, text=True, env=environ, cwd=folder, check=False
    )
    assert child.returncode == 0, child.stderr
    answer: dict[str, str] = json.loads(child.stdout)
    return answer


@pytest.mark.parametrize("stranger", [as_module, as_package, as_package_with_our_module_names])
def test_beside_a_script(tmp_path: Path, stranger: Callable[[Path], None]) -> None:
    stranger(tmp_path)
    (tmp_path / "script.py").write_text(PROBE)
    assert probe(tmp_path, "script.py") == EXPECTED


def test_in_the_working_directory_of_python_m(tmp_path: Path) -> None:
    as_package_with_our_module_names(tmp_path)
    (tmp_path / "script.py").write_text(PROBE)
    assert probe(tmp_path, "-m", "script") == EXPECTED


def test_imported_by_the_user_first(tmp_path: Path) -> None:
    as_package_with_our_module_names(tmp_path)
    (tmp_path / "script.py").write_text(f"import cache\n{PROBE}")
    assert probe(tmp_path, "script.py") == EXPECTED


def test_first_on_pythonpath_and_run_from_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    as_module(tmp_path)
    first = os.pathsep.join([str(tmp_path), str(ROOT)])
    assert probe(tmp_path / "elsewhere", "-c", PROBE, path=first) == EXPECTED


def test_put_into_sys_modules_by_hand(tmp_path: Path) -> None:
    by_hand = "import sys, types\nsys.modules['cache'] = types.SimpleNamespace(WHO='stranger')\n"
    assert probe(tmp_path, "-c", by_hand + PROBE) == EXPECTED


def test_a_folder_named_cache_without_code_is_no_stranger(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "results.txt").touch()
    script = PROBE.replace("cache.WHO", "cache.Store.__module__")
    answer = probe(tmp_path, "-c", script)
    assert (answer["ours"], answer["theirs"]) == ("cache.store", "cache.store")


def test_overwritten_by_another_distribution(tmp_path: Path) -> None:
    (tmp_path / "autotune").mkdir()
    (tmp_path / "autotune" / "__init__.py").touch()
    shutil.copy(autotune._store.__file__, tmp_path / "autotune")
    as_package(tmp_path)
    child = subprocess.run(
        [sys.executable, "-c", "import autotune._store"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        check=False,
    )
    assert child.returncode == 1
    assert "another distribution overwrote it; reinstall attn-autotune" in child.stderr


def test_without_a_stranger_there_is_one_identity() -> None:
    assert autotune._store.Store is cache.Store
    assert "autotune._cache" not in sys.modules


def test_type_checkers_and_python_see_the_same_names() -> None:
    tree = ast.parse(Path(autotune._store.__file__).read_text())
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "cache"
        for alias in node.names
    }
    assert imported == set(cache.__all__)
    assert all(getattr(autotune._store, name) is getattr(cache, name) for name in imported)
