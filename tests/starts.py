"""A start as an engine makes it: a real file, and backends found as they are at a real start."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fakes import CPU_FOUND, FULL, FakeBench, install_plugin, make_model

from autotune._store import Store
from autotune.chooser import choose
from autotune.decision import Choice
from autotune.job import Job
from autotune.keys import Question
from autotune.models import ModelConfig
from autotune.profiles import BALANCED, Profile
from autotune.settings import Settings
from autotune.today import Asked
from autotune.tuner import warm
from autotune.wishes import Wishes
from kernels_bench.backends import find_backends
from kernels_bench.devices import FoundDevice
from kernels_bench.spec import Outcome

if TYPE_CHECKING:
    import pytest

MODEL = make_model(FULL)
NO_FLEX = frozenset({"torch_flex"})
"""It needs a compiler, which a machine may lack."""
FAST = {"torch_sdpa": 100.0, "swift": 50.0, "steady": 70.0}


def change_plugin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, backend: str) -> None:
    """As after an upgrade: the folder that comes first on the path wins."""
    install_plugin(monkeypatch, tmp_path / "changed", backend)


def tune(
    file: Path,
    times: Mapping[str, float | Outcome] = FAST,
    found: FoundDevice = CPU_FOUND,
    model: ModelConfig = MODEL,
    wishes: Wishes = Wishes("any", NO_FLEX),  # noqa: B008 - frozen
    profile: Profile = BALANCED,
) -> None:
    able = tuple(b for b in find_backends().backends if b.name in times)
    with Store.open(file) as store:
        warm(Job(model, found, profile, wishes), store, FakeBench(times, able))


def ask(
    file: Path,
    found: FoundDevice = CPU_FOUND,
    model: ModelConfig = MODEL,
    engine: str = "any",
    strict: bool = False,
    backend: str | None = None,
    disabled: frozenset[str] = NO_FLEX,
    profile: str = "balanced",
    **others: Any,
) -> Choice:
    settings = Settings(backend=backend, disabled=disabled, profile=profile, **others)
    return choose(Asked(Question(model, engine, profile), found, settings, strict), file)
