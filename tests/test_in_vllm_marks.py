"""Starts that serve, that die, and that their users stop; what is told of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from vllm_starts import (
    DEFAULT,
    backend_of,
    dead,
    put,
    run,
    start,
    warnings_of,
)

from autotune.commands import cli
from autotune.models import ModelRequest


def test_start_that_serves_leaves_no_mark(vllm: ModuleType, file: Path, tiny: str) -> None:
    put(file, tiny, "swift:plain")
    config = start(tiny)
    run(config)
    assert dead(file) == ()
    assert backend_of(start(tiny)) == "TRITON_ATTN"


def test_config_that_is_only_looked_at_leaves_no_mark(
    vllm: ModuleType, file: Path, tiny: str
) -> None:
    put(file, tiny, "swift:plain")
    start(tiny)
    assert dead(file) == ()


def test_start_that_dies_quarantines_its_decision(
    vllm: ModuleType, file: Path, tiny: str, caplog: pytest.LogCaptureFixture
) -> None:
    put(file, tiny, "swift:plain")
    config = start(tiny)
    with pytest.raises(RuntimeError, match="illegal access"):
        run(config, RuntimeError("illegal access"))
    (found,) = dead(file)
    assert found.why == "RuntimeError: illegal access"
    caplog.clear()
    assert backend_of(start(tiny)) is None
    assert "quarantined" in warnings_of(caplog)
    assert "illegal access" in warnings_of(caplog)


def test_scripts_are_not_handed_what_killed_a_start(
    vllm: ModuleType, file: Path, tiny: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["choose", "--model", tiny, "--engine", "vllm", "--device", "cpu", "--format", "args"]
    put(file, tiny, "swift:plain")
    cli.main(asked, standalone_mode=False)
    assert capsys.readouterr().out == "--attention-backend TRITON_ATTN\n"
    with pytest.raises(RuntimeError):
        run(start(tiny), RuntimeError("died"))
    cli.main(asked, standalone_mode=False)
    said = capsys.readouterr()
    assert said.out == ""
    assert "swift:plain is quarantined" in said.err


def test_decision_under_another_length_is_free(vllm: ModuleType, file: Path, tiny: str) -> None:
    put(file, tiny, "swift:plain")
    with pytest.raises(RuntimeError):
        run(start(tiny), RuntimeError("died"))
    put(file, tiny, "swift:plain", request=ModelRequest(tiny, max_model_len=128))
    assert backend_of(start(tiny, model_fields={"max_model_len": 128})) == "TRITON_ATTN"


@pytest.mark.parametrize("end", [KeyboardInterrupt(), SystemExit(0)])
def test_start_that_its_user_stops_says_nothing_of_the_backend(
    vllm: ModuleType, file: Path, tiny: str, end: BaseException
) -> None:
    put(file, tiny, "swift:plain")
    with pytest.raises(type(end)):
        run(start(tiny), end)
    assert dead(file) == ()


def test_engine_that_exits_with_an_error_has_died(vllm: ModuleType, file: Path, tiny: str) -> None:
    put(file, tiny, "swift:plain")
    with pytest.raises(SystemExit):
        run(start(tiny), SystemExit(1))
    assert [each.why for each in dead(file)] == ["exit status 1"]


def test_quarantine_is_lifted_where_the_default_dies_too(
    vllm: ModuleType, file: Path, tiny: str, caplog: pytest.LogCaptureFixture
) -> None:
    put(file, tiny, "swift:plain")
    for _ in range(2):
        with pytest.raises(RuntimeError):
            run(start(tiny), RuntimeError("no memory for the KV cache"))
    assert "quarantine of swift:plain" in caplog.text
    assert backend_of(start(tiny)) == "TRITON_ATTN"


def test_default_that_was_not_wrapped_before_is_watched_too(
    vllm: ModuleType, file: Path, tiny: str, tmp_path: Path
) -> None:
    """In a process of its own, as every real start is."""
    put(file, tiny, "swift:plain")
    with pytest.raises(RuntimeError):
        run(start(tiny), RuntimeError("no memory for the KV cache"))
    assert len(dead(file)) == 1
    source = f"""
import sys
sys.path[:0] = {sys.path!r}
from autotune import in_vllm
from vllm.engine.arg_utils import EngineArgs
in_vllm.register()
config = EngineArgs({tiny!r}).create_engine_config()
from vllm.v1.engine.async_llm import AsyncLLM
AsyncLLM.dies_of = RuntimeError("no memory for the KV cache")
AsyncLLM(vllm_config=config)
"""
    subprocess.run([sys.executable, "-c", source], capture_output=True)
    assert dead(file) == ()


def test_metric_says_default_where_nothing_is_measured(vllm: ModuleType, tiny: str) -> None:
    from prometheus_client import generate_latest

    run(start(tiny))
    text = generate_latest().decode()
    assert 'state="default"' in text
    assert 'applied="false"' in text


def test_without_a_place_for_a_mark_the_default_stays(
    vllm: ModuleType,
    file: Path,
    tiny: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    put(file, tiny, "swift:plain")
    (tmp_path / "blocked").write_text("")
    monkeypatch.setenv("AUTOTUNE_STATE", str(tmp_path / "blocked"))
    assert backend_of(start(tiny)) is None
    assert "AUTOTUNE_STATE" in warnings_of(caplog)


def test_place_that_goes_between_config_and_start_brings_the_default_back(
    vllm: ModuleType, file: Path, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(file, tiny, "swift:plain")
    state = tmp_path / "state"
    monkeypatch.setenv("AUTOTUNE_STATE", str(state))
    config = start(tiny)
    assert backend_of(config) == "TRITON_ATTN"
    (state / "starts").rmdir()
    state.rmdir()
    state.write_text("")
    run(config)
    assert backend_of(config) is None


def test_override_leaves_no_mark(
    vllm: ModuleType, file: Path, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOTUNE_BACKEND", "swift")
    config = start(tiny)
    assert backend_of(config) == "TRITON_ATTN"
    with pytest.raises(RuntimeError):
        run(config, RuntimeError("died"))
    assert dead(file) == ()


def test_metric_is_there_once_the_engine_serves(vllm: ModuleType, file: Path, tiny: str) -> None:
    from prometheus_client import generate_latest

    put(file, tiny, "swift:plain")
    run(start(tiny))
    text = generate_latest().decode()
    assert 'attn_autotune_choice_info{applied="true",backend="swift"' in text
    assert f'default="{DEFAULT}"' in text
    assert 'state="exact"' in text
    assert "attn_autotune_measured_timestamp_seconds" in text
