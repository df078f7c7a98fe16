"""Every test starts from a clean environment and its own cache."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith("AUTOTUNE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AUTOTUNE_CACHE", str(tmp_path / "autotune.db"))
