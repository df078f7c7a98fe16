"""A candidate's own code, found by its name."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from bench_tasks import SPEC, entrant
from fake_kernels import make_batch

from kernels_bench import binding
from kernels_bench.backends import Broken, find_backend
from kernels_bench.binding import GoneError, prepared
from kernels_bench.gate import check, make_truth
from kernels_bench.spec import Pages


@pytest.fixture(autouse=True)
def _forget() -> None:
    """What is looked for once a process is looked for once a test."""
    binding._backend.cache_clear()


def test_a_candidate_is_bound_to_a_batch() -> None:
    contents, batch = make_batch(SPEC, "3q1s40", Pages(16))
    launch = prepared(entrant("torch_sdpa"), SPEC, batch)
    batch.output.fill_(torch.nan)
    launch.plan()
    launch.run()
    assert check(make_truth(SPEC, contents), batch.output) is None


def test_a_backend_is_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def find(name: str) -> object:
        asked.append(name)
        return find_backend(name)

    monkeypatch.setattr(binding, "find_backend", find)
    _, batch = make_batch(SPEC, "3q1s40", Pages(16))
    launches = [prepared(entrant("torch_sdpa"), SPEC, batch) for _ in range(3)]
    assert len(set(map(id, launches))) == 3
    assert asked == ["torch_sdpa"]


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (None, "backend nobody: not found"),
        (Broken("nobody", "ImportError: no libnobody.so"), "backend nobody: ImportError: no lib"),
    ],
)
def test_who_cannot_be_loaded_any_more_is_gone(
    monkeypatch: pytest.MonkeyPatch, found: Broken | None, message: str
) -> None:
    monkeypatch.setattr(binding, "find_backend", lambda _: found)
    _, batch = make_batch(SPEC, "3q1s40", Pages(16))
    with pytest.raises(GoneError, match=f"^{message}"):
        prepared(entrant("nobody"), SPEC, batch)


def test_what_a_candidate_raises_goes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refuses:
        def prepare(self, *_: object) -> None:
            raise ValueError("no such tile")

    monkeypatch.setattr(binding, "find_backend", lambda _: cast("object", Refuses()))
    _, batch = make_batch(SPEC, "3q1s40", Pages(16))
    with pytest.raises(ValueError, match="no such tile"):
        prepared(entrant("refuses"), SPEC, batch)
