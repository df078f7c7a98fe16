"""Which file is the cache."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import cache
from cache import CacheLocationError, locate

ROOT = Path(cache.__file__).parents[1]


def test_the_option_comes_first() -> None:
    found = locate("/data/a.db", {"AUTOTUNE_CACHE": "/data/b.db"})
    assert (found.path, found.why) == (Path("/data/a.db"), "--cache")


def test_the_variable_comes_second() -> None:
    found = locate(None, {"AUTOTUNE_CACHE": "/data/b.db"})
    assert (found.path, found.why) == (Path("/data/b.db"), "AUTOTUNE_CACHE")


@pytest.mark.parametrize("environ", [{}, {"AUTOTUNE_CACHE": ""}])
def test_the_users_cache_folder_comes_last_and_is_not_made(
    environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "new"))
    found = locate(None, environ)
    assert found.path.is_relative_to(tmp_path)
    assert found.path.parts[-2:] == ("attn-autotune", "autotune.db")
    assert list(tmp_path.iterdir()) == []


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert locate("~/a.db", {}).path == Path("/home/ada/a.db")
    assert locate(None, {"AUTOTUNE_CACHE": "~/b.db"}).path == Path("/home/ada/b.db")


def test_a_tilde_of_nobody_is_an_error() -> None:
    with pytest.raises(CacheLocationError, match="no home folder is known"):
        locate("~no-such-user-here/a.db", {})


def test_a_user_without_a_home_gets_a_full_path(tmp_path: Path) -> None:
    # A uid without a passwd entry, as containers give them; `pwd` answers for the real one.
    script = (
        "import os, pwd\n"
        "def unknown(uid): raise KeyError(uid)\n"
        "pwd.getpwuid = unknown\n"
        "from cache import locate\n"
        "print(locate(None, os.environ).path)"
    )
    environ = {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-c", script]
    child = subprocess.run(
        command, check=True, capture_output=True, text=True, env=environ, cwd=tmp_path
    )
    assert child.stdout.strip() == str(tmp_path / f"attn-autotune-{os.getuid()}" / "autotune.db")
    assert list(tmp_path.iterdir()) == []
