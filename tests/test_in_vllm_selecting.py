"""What `autotune exec` has appended, and vLLM's own check where a worker loads a backend."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from vllm_starts import (
    backend_of,
    dead,
    put,
    run,
    select,
    start,
    warnings_of,
)

from autotune import in_vllm
from autotune.in_vllm.messages import Option, Reply, line_of
from autotune.in_vllm.stamp import stamp_of


def hand_over(monkeypatch: pytest.MonkeyPatch, file: Path, pid: int) -> None:
    folder = str(file.with_name(f"{file.name}.starts"))
    reply = Reply(
        options=(Option("swift:plain", "TRITON_ATTN"),),
        what="swift:plain for tiny",
        payload={"event": "engine_start", "backend": "swift"},
        mark_key="0123456789abcdef",
        folders=(folder,),
    )
    Path(folder).mkdir(exist_ok=True)
    monkeypatch.setenv("AUTOTUNE_EXEC", json.dumps([pid, line_of(reply)]))


def test_start_by_exec_is_watched_as_any_other(
    vllm: ModuleType, file: Path, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand_over(monkeypatch, file, os.getpid())
    config = start(tiny, attention_backend="TRITON_ATTN")
    assert stamp_of(config.attention_config) is not None
    with pytest.raises(RuntimeError):
        run(config, RuntimeError("died"))
    assert [each.key for each in dead(file)] == ["0123456789abcdef"]


def test_children_of_a_start_by_exec_are_not_it(
    vllm: ModuleType, file: Path, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand_over(monkeypatch, file, os.getpid() + 1)
    config = start(tiny, attention_backend="TRITON_ATTN")
    assert stamp_of(config.attention_config) is None


@pytest.mark.parametrize("fields", [{"attention_backend": "FLASHINFER"}, {}])
def test_options_that_exec_did_not_append_are_the_users(
    vllm: ModuleType,
    file: Path,
    tiny: str,
    monkeypatch: pytest.MonkeyPatch,
    fields: dict[str, str],
) -> None:
    hand_over(monkeypatch, file, os.getpid())
    config = start(tiny, **fields)
    assert backend_of(config) == fields.get("attention_backend")
    assert stamp_of(config.attention_config) is None


@pytest.mark.parametrize("text", ["", "7", "[1", '[1, "x"]', "null"])
def test_rubbish_from_exec_is_nothing(
    vllm: ModuleType, file: Path, tiny: str, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    put(file, tiny, "swift:plain")
    monkeypatch.setenv("AUTOTUNE_EXEC", text)
    assert backend_of(start(tiny)) == "TRITON_ATTN"


@pytest.fixture
def refused(vllm: ModuleType) -> Iterator[set[str]]:
    names: set[str] = importlib.import_module("vllm.platforms").REFUSED
    yield names
    names.clear()


def test_winner_that_vllm_accepts_is_loaded(vllm: ModuleType, file: Path, tiny: str) -> None:
    put(file, tiny, "swift:plain")
    assert select(start(tiny)) == "path.of.TRITON_ATTN"


def test_winner_that_vllm_refuses_gives_way_to_the_default(
    vllm: ModuleType,
    refused: set[str],
    file: Path,
    tiny: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    put(file, tiny, "swift:plain")
    refused.add("TRITON_ATTN")
    config = start(tiny)
    assert select(config) == "path.of.FLASH_ATTN"
    assert backend_of(config) is None  # and with it the hash of the graphs
    assert "vLLM's default instead" in warnings_of(caplog)
    assert "is not valid" in warnings_of(caplog)


def test_refused_flag_of_the_user_is_vllms_error(
    vllm: ModuleType, refused: set[str], file: Path, tiny: str
) -> None:
    refused.add("TRITON_ATTN")
    with pytest.raises(ValueError, match="is not valid"):
        select(start(tiny, attention_backend="TRITON_ATTN"))


def test_platform_that_is_asked_outside_of_an_engine_answers_as_ever(
    vllm: ModuleType, tiny: str
) -> None:
    in_vllm.register()
    backends = sys.modules["vllm.config"].AttentionBackendEnum
    platform = sys.modules["vllm.platforms"].current_platform
    assert platform.get_attn_backend_cls(backends.FLASHINFER, None) == "path.of.FLASHINFER"
