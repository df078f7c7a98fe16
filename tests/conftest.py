"""Every test starts from a clean environment and its own cache."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from cli_runs import CONFIG
from fakes import install_plugin


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith(("AUTOTUNE_", "VLLM_", "SGLANG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AUTOTUNE_CACHE", str(tmp_path / "autotune.db"))


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    """A folder with the config.json of a small model."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return str(folder)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """What AUTOTUNE_CACHE names."""
    return tmp_path / "autotune.db"


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Two more backends, `swift` and `steady`."""
    folder = tmp_path / "plugins"
    for name in ("swift", "steady"):
        install_plugin(monkeypatch, folder, f"'{name}'")
    return folder
