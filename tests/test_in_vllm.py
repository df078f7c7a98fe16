"""The plug-in in a vLLM that computes nothing: what it sets, what it leaves, and that it never
raises. The real ones are in `tests/engine`.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import logging
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cli_runs import CONFIG
from fakes import write_distribution
from planting import Planted, plant

from autotune import in_vllm
from autotune.in_vllm.asking import drop
from autotune.in_vllm.messages import Option, Reply, line_of
from autotune.in_vllm.stamp import stamp_of
from autotune.keys import Question
from autotune.marks import dead_starts
from autotune.models import ModelRequest, load_model
from kernels_bench.devices import find_device

HERE = Path(__file__).parent
DEFAULT = "vllm_cpu:plain"


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    """A fresh one, as in a fresh process, with backends that its options name."""
    entry_points = "[attn_autotune.backends]\n" + "".join(
        f"{name} = engine_fakes:{name.upper()}\n" for name in ("vllm_cpu", "swift", "future")
    )
    write_distribution(tmp_path / "plugins", "engine_fakes", "1.0", entry_points)
    for folder in (tmp_path / "plugins", HERE / "engine" / "plugins", HERE / "fake_vllm"):
        monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)
    importlib.import_module("vllm.engine.arg_utils")
    yield importlib.import_module("vllm")
    drop()
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("vllm", "engine_fakes"):
            del sys.modules[name]


@pytest.fixture(autouse=True)
def _heard(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger=in_vllm.NAME)


def put(file: Path, model: str, winner: str, *runners_up: str, request: Any = None) -> None:
    asked = request or ModelRequest(model, dtype="bfloat16", max_model_len=256)
    question = Question(load_model(asked), "vllm", "balanced")
    plant(file, question, find_device("cpu"), Planted(winner, DEFAULT, runners_up))


def start(model: str, **fields: Any) -> Any:
    """The config that vLLM makes, plug-in included."""
    in_vllm.register()
    module = sys.modules["vllm.engine.arg_utils"]
    return module.EngineArgs(model, **fields).create_engine_config()


def backend_of(config: Any) -> str | None:
    return getattr(config.attention_config.backend, "name", None)


def payload_of(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    lines = [r.getMessage() for r in caplog.records if '"event": "engine_start"' in r.getMessage()]
    found: dict[str, Any] = json.loads(lines[-1].partition(": ")[2])
    return found


def warnings_of(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING)


def test_winner_is_set_and_said(
    vllm: ModuleType, file: Path, tiny: str, caplog: pytest.LogCaptureFixture
) -> None:
    put(file, tiny, "swift:plain")
    config = start(tiny)
    assert backend_of(config) == "TRITON_ATTN"
    assert "attention_config set by attn-autotune: backend=TRITON_ATTN" in caplog.text
    assert str(config).endswith("attention_config=(backend=TRITON_ATTN; set by attn-autotune)")
    said = payload_of(caplog)
    assert said["applied"] is True
    assert (said["state"], said["backend"], said["default"]) == ("exact", "swift", DEFAULT)
    assert not warnings_of(caplog)


def test_config_travels_with_the_decision(vllm: ModuleType, file: Path, tiny: str) -> None:
    put(file, tiny, "swift:plain")
    there = pickle.loads(pickle.dumps(start(tiny)))
    stamp = stamp_of(there.attention_config)
    assert stamp is not None
    assert stamp.taken.backend == "TRITON_ATTN"


def test_same_hash_as_the_users_own_flag(vllm: ModuleType, file: Path, tiny: str) -> None:
    put(file, tiny, "swift:plain")
    with_flag = start(tiny, attention_backend="TRITON_ATTN")
    assert start(tiny).compute_hash() == with_flag.compute_hash()


def test_winner_that_is_vllms_default_leaves_the_config_untouched(
    vllm: ModuleType, file: Path, tiny: str, caplog: pytest.LogCaptureFixture
) -> None:
    module = sys.modules["vllm.engine.arg_utils"]
    untouched = module.EngineArgs(tiny).create_engine_config()
    put(file, tiny, DEFAULT)
    config = start(tiny)
    assert config == untouched
    assert config.compute_hash() == untouched.compute_hash()
    assert stamp_of(config.attention_config) is None
    assert payload_of(caplog)["applied"] is False
    assert "takes by itself" in caplog.text


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"attention_backend": "CPU_ATTN"}, "--attention-backend CPU_ATTN was given"),
        ({"attention_config": ("flash_attn_version", 2)}, "--attention-config.flash_attn_version"),
        ({"of_the_model": ("backend", "FLASHINFER")}, "this model's code asks for backend"),
    ],
)
def test_choice_of_the_user_or_the_model_stands(
    vllm: ModuleType,
    file: Path,
    tiny: str,
    caplog: pytest.LogCaptureFixture,
    fields: dict[str, Any],
    why: str,
) -> None:
    put(file, tiny, "swift:plain")
    config_type = sys.modules["vllm.config"].AttentionConfig
    for name, value in fields.items():
        if isinstance(value, tuple):
            attention = config_type()
            setattr(attention, value[0], config_type.validate_backend_before(value[1]))
            fields = {name: attention}
    config = start(tiny, **fields)
    assert backend_of(config) != "TRITON_ATTN"
    assert why in caplog.text


def test_auto_is_no_choice(vllm: ModuleType, file: Path, tiny: str) -> None:
    put(file, tiny, "swift:plain")
    assert backend_of(start(tiny, attention_backend="auto")) == "TRITON_ATTN"


def test_off_wraps_nothing(
    vllm: ModuleType, file: Path, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOTUNE_MODE", "off")
    put(file, tiny, "swift:plain")
    assert backend_of(start(tiny)) is None


def test_observe_says_and_leaves(
    vllm: ModuleType,
    file: Path,
    tiny: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("AUTOTUNE_MODE", "observe")
    put(file, tiny, "swift:plain")
    assert backend_of(start(tiny)) is None
    assert "AUTOTUNE_MODE=observe: would take swift:plain" in caplog.text


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("AUTOTUNE_MODE", "raed"),
        ("AUTOTUNE_PROFILE", "nosuch"),
        ("AUTOTUNE_CACHE", "~nosuchuser/x"),
    ],
)
def test_bad_setting_costs_one_warning(
    vllm: ModuleType,
    tiny: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    variable: str,
    value: str,
) -> None:
    monkeypatch.setenv(variable, value)
    assert backend_of(start(tiny)) is None
    assert len(warnings_of(caplog).splitlines()) == 1
    assert "vLLM's own choice stays" in warnings_of(caplog)


def test_lock_that_is_no_lock_is_told(
    vllm: ModuleType,
    file: Path,
    tiny: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    put(file, tiny, "swift:plain")
    (tmp_path / "lock.json").write_text("{")
    monkeypatch.setenv("AUTOTUNE_LOCK", str(tmp_path / "lock.json"))
    start(tiny)
    assert "lock" in warnings_of(caplog)


@pytest.mark.parametrize("damage", [b"", b"no database", b"SQLite format 3\x00" + b"x" * 5000])
def test_corrupt_cache_leaves_the_default(
    vllm: ModuleType, file: Path, tiny: str, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_bytes(damage)
    assert backend_of(start(tiny)) is None
    assert warnings_of(caplog)


def test_model_without_a_config_leaves_the_default(
    vllm: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert backend_of(start(str(tmp_path))) is None
    assert "vLLM's own choice stays" in warnings_of(caplog)


def test_overridden_model_is_read_as_vllm_has_it(vllm: ModuleType, file: Path, tiny: str) -> None:
    put(file, tiny, "swift:plain")
    fields = {"hf_overrides": {"head_dim": 32}, "heads": (2, 1, 32)}
    changed = sys.modules["vllm.config"].HfConfig({**CONFIG, "head_dim": 32})
    assert backend_of(start(tiny, model_fields={**fields, "hf_config": changed})) is None


def test_other_heads_than_the_file_says_are_refused(
    vllm: ModuleType, file: Path, tiny: str, caplog: pytest.LogCaptureFixture
) -> None:
    put(file, tiny, "swift:plain")
    assert backend_of(start(tiny, model_fields={"heads": (4, 4, 16)})) is None
    assert "vLLM runs 4/4 heads of 16, the model's config says 2/1 of 16" in warnings_of(caplog)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"runner_type": "pooling"}, "a pooling model"),
        ({"is_encoder_decoder": True}, "encoder-decoder"),
    ],
)
def test_unmeasured_kinds_of_models_are_left_alone(
    vllm: ModuleType,
    file: Path,
    tiny: str,
    caplog: pytest.LogCaptureFixture,
    fields: dict[str, Any],
    why: str,
) -> None:
    put(file, tiny, "swift:plain")
    assert backend_of(start(tiny, model_fields=fields)) is None
    assert why in caplog.text


@pytest.mark.parametrize(
    ("parallel", "why"),
    [
        ({"nnodes": 2}, "2 nodes"),
        ({"data_parallel_size": 4, "data_parallel_size_local": 1}, "several instances"),
        ({"data_parallel_size": 4, "data_parallel_external_lb": True}, "several instances"),
        ({"distributed_executor_backend": "ray"}, "ray"),
    ],
)
def test_instances_that_must_agree_go_by_a_lock_alone(
    vllm: ModuleType,
    file: Path,
    tiny: str,
    caplog: pytest.LogCaptureFixture,
    parallel: dict[str, Any],
    why: str,
) -> None:
    put(file, tiny, "swift:plain")
    made = sys.modules["vllm.config"].ParallelConfig(**parallel)
    assert backend_of(start(tiny, parallel=made)) is None
    assert why in warnings_of(caplog)
    assert "only a lock file decides" in warnings_of(caplog)


def test_kv_connector_goes_by_a_lock_and_leaves_no_mark(
    vllm: ModuleType, file: Path, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from autotune.commands import cli

    put(file, tiny, "swift:plain")
    transfer = sys.modules["vllm.config"].KVTransferConfig()
    assert backend_of(start(tiny, transfer=transfer)) is None
    lock = tmp_path / "lock.json"
    cli.main(["lock", "-o", str(lock)], standalone_mode=False)
    monkeypatch.setenv("AUTOTUNE_LOCK", str(lock))
    config = start(tiny, transfer=transfer)
    assert backend_of(config) == "TRITON_ATTN"
    with pytest.raises(RuntimeError):
        run(config, RuntimeError("died"))
    # The others of the group still go by the lock: this one must not step out of line.
    assert backend_of(start(tiny, transfer=transfer)) == "TRITON_ATTN"


def test_headless_is_recognised(
    vllm: ModuleType, file: Path, tiny: str, caplog: pytest.LogCaptureFixture
) -> None:
    put(file, tiny, "swift:plain")
    in_vllm.register()
    args = sys.modules["vllm.engine.arg_utils"].EngineArgs(tiny)
    assert backend_of(args.create_engine_config(None, headless=True)) is None
    assert backend_of(args.create_engine_config(None, True)) is None
    assert "headless" in warnings_of(caplog)


def test_winner_that_this_vllm_does_not_know_gives_way_to_the_next(
    vllm: ModuleType, file: Path, tiny: str, caplog: pytest.LogCaptureFixture
) -> None:
    put(file, tiny, "future:plain", "swift:plain")
    assert backend_of(start(tiny)) == "TRITON_ATTN"
    assert "Unknown attention backend: 'FROM_THE_FUTURE'" in warnings_of(caplog)


def test_nobody_known_leaves_the_default(
    vllm: ModuleType, file: Path, tiny: str, caplog: pytest.LogCaptureFixture
) -> None:
    put(file, tiny, "future:plain")
    assert backend_of(start(tiny)) is None
    assert payload_of(caplog)["applied"] is False


@pytest.mark.parametrize("version", ["0.12.0", "0.34.0", "1.0.0", "dev"])
def test_unknown_vllm_is_left_alone_and_told(
    vllm: ModuleType, file: Path, tiny: str, version: str, caplog: pytest.LogCaptureFixture
) -> None:
    vllm.__version__ = version  # type: ignore[attr-defined]
    put(file, tiny, "swift:plain")
    assert backend_of(start(tiny)) is None
    assert f"does nothing: vLLM {version} is not known" in warnings_of(caplog)


def test_changed_patch_point_is_left_alone_and_told(
    vllm: ModuleType, file: Path, tiny: str, caplog: pytest.LogCaptureFixture
) -> None:
    args = sys.modules["vllm.engine.arg_utils"].EngineArgs
    original = args.create_engine_config

    def changed(self: Any, who: str, where: str) -> Any:
        return original(self)

    args.create_engine_config = changed
    in_vllm.register()
    assert args.create_engine_config is changed
    assert "create_engine_config takes (who, where)" in warnings_of(caplog)


def test_registering_twice_wraps_once(vllm: ModuleType, file: Path, tiny: str) -> None:
    in_vllm.register()
    args = sys.modules["vllm.engine.arg_utils"].EngineArgs
    wrapped = args.create_engine_config
    in_vllm.register()
    assert args.create_engine_config is wrapped


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("sys.exit(7)", "ended with status 7"),
        ("os.kill(os.getpid(), 11)", "ended with status -11"),
        ("print('no message')", "Error"),
        ("print('{}')", "KeyError"),
        ("time.sleep(60)", "no answer within"),
    ],
)
def test_answerer_that_fails_costs_one_warning(
    vllm: ModuleType,
    tiny: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    program: str,
    why: str,
) -> None:
    monkeypatch.setattr("autotune.in_vllm.asking.ANSWER_S", 1.0)
    interpreter = tmp_path / "python"
    interpreter.write_text(f"#!{sys.executable}\nimport os, sys, time\n{program}\n")
    interpreter.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(interpreter))
    assert backend_of(start(tiny)) is None
    (warning,) = warnings_of(caplog).splitlines()
    assert "vLLM's own choice stays" in warning
    assert why in warning


def test_missing_interpreter_costs_one_warning(
    vllm: ModuleType,
    tiny: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nosuch"))
    assert backend_of(start(tiny)) is None
    assert "vLLM's own choice stays" in warnings_of(caplog)


def test_nothing_of_ours_is_raised(
    vllm: ModuleType, tiny: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise MemoryError("none left")

    monkeypatch.setattr("autotune.in_vllm.deciding.request_of", broken)
    assert backend_of(start(tiny)) is None
    assert "vLLM's own choice stays: MemoryError: none left" in warnings_of(caplog)


def test_errors_of_vllm_are_its_own(vllm: ModuleType, tiny: str) -> None:
    with pytest.raises(ValueError, match="Unknown attention backend"):
        start(tiny, attention_backend="NOSUCH")


# The mark of a start


def run(config: Any, dies_of: BaseException | None = None) -> None:
    """Make the engine, as vLLM does after its config."""
    engine = sys.modules["vllm.v1.engine.async_llm"].AsyncLLM
    engine.dies_of = dies_of
    engine(vllm_config=config)


def dead(file: Path) -> tuple[Any, ...]:
    return dead_starts([file.with_name(f"{file.name}.starts")])


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


# Tuning before the start


TUNER = """\
import os, runpy, sys, time
sys.path[:0] = {path!r}
if sys.argv[2] == "autotune.in_vllm.answering":
    sys.executable = os.path.abspath(__file__)
    sys.argv[:3] = sys.argv[2:3]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
open(__file__ + ".said", "a").write(" ".join(sys.argv[1:]) + "\\n")
print("[1/1] 8q1s1k: swift 5 us", file=sys.stderr, flush=True)
if os.path.exists(__file__ + ".hangs"):
    with open(__file__ + ".new", "w") as file:
        file.write(str(os.getpid()))
    os.rename(__file__ + ".new", __file__ + ".pid")
    print("compiling", file=sys.stderr, flush=True)
    time.sleep(600)
if os.path.exists(__file__ + ".sleeps"):
    time.sleep(5)
if os.path.exists(__file__ + ".fails"):
    sys.exit("autotune: no room on the device")
said = dict(zip(sys.argv[4::2], sys.argv[5::2]))
sys.argv = ["planting", said["--cache"], said["--model"], "swift:plain", "vllm_cpu:plain"]
sys.argv += ["--max-model-len", said["--max-model-len"], "--dtype", said["--dtype"]]
runpy.run_path({planting!r}, run_name="__main__")
"""


@pytest.fixture
def tuner(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An interpreter that measures nothing: it plants what `autotune warm` would have decided."""
    monkeypatch.setenv("AUTOTUNE_MODE", "tune")
    program = tmp_path / "python"
    path = [str(HERE), str(HERE / "engine" / "plugins"), str(tmp_path / "plugins")]
    source = TUNER.format(path=path, planting=str(HERE / "planting.py"))
    program.write_text(f"#!{sys.executable}\n{source}")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    return program.with_name("python.said")


def test_tune_measures_before_the_first_start_and_never_again(
    vllm: ModuleType, file: Path, tiny: str, tuner: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert backend_of(start(tiny)) == "TRITON_ATTN"
    assert "[1/1] 8q1s1k: swift 5 us" in caplog.text
    assert "--engine vllm" in tuner.read_text()
    assert "--budget 60s" in tuner.read_text()
    assert backend_of(start(tiny)) == "TRITON_ATTN"
    assert len(tuner.read_text().splitlines()) == 1


def test_tune_may_be_silent_for_longer_than_an_answer(
    vllm: ModuleType, file: Path, tiny: str, tuner: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compiler says nothing for minutes."""
    monkeypatch.setattr("autotune.in_vllm.asking.ANSWER_S", 3.0)
    tuner.with_name("python.sleeps").touch()
    assert backend_of(start(tiny)) == "TRITON_ATTN"


def test_tune_ends_with_the_start_that_wanted_it(
    vllm: ModuleType, tiny: str, tuner: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while it tunes: nobody goes on to use the device."""
    tuner.with_name("python.hangs").touch()
    monkeypatch.setattr("autotune.in_vllm.deciding._pass_on", interrupt_once_it_runs(tuner))
    with pytest.raises(KeyboardInterrupt):
        start(tiny)
    pid = int(tuner.with_name("python.pid").read_text())
    deadline = time.monotonic() + 10
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(pid)


def interrupt_once_it_runs(tuner: Path) -> Callable[[Any], None]:
    def interrupt(told: Any) -> None:
        if tuner.with_name("python.pid").exists():
            raise KeyboardInterrupt

    return interrupt


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_tune_that_fails_costs_a_warning(
    vllm: ModuleType,
    tiny: str,
    tuner: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tuner.with_name("python.fails").touch()
    assert backend_of(start(tiny)) is None
    assert "tuning before the start failed: autotune: no room on the device" in warnings_of(caplog)


def test_tune_leaves_it_to_a_lock_where_instances_must_agree(
    vllm: ModuleType, tiny: str, tuner: Path
) -> None:
    transfer = sys.modules["vllm.config"].KVTransferConfig()
    assert backend_of(start(tiny, transfer=transfer)) is None
    assert not tuner.exists()


def test_api_servers_beside_the_first_do_not_tune(vllm: ModuleType, tiny: str, tuner: Path) -> None:
    made = sys.modules["vllm.config"].ParallelConfig(_api_process_count=4, _api_process_rank=2)
    assert backend_of(start(tiny, parallel=made)) is None
    assert not tuner.exists()


# What `autotune exec` has appended


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


# vLLM's own check, where a worker loads a backend


def select(config: Any) -> str:
    """As vLLM's selector does, in a worker."""
    there = pickle.loads(pickle.dumps(config))
    vllm_config = sys.modules["vllm.config"]
    vllm_config.current.append(there)
    try:
        platform = sys.modules["vllm.platforms"].current_platform
        path: str = platform.get_attn_backend_cls(
            there.attention_config.backend, attn_selector_config=None, num_heads=8
        )
    finally:
        config.attention_config = vllm_config.current.pop().attention_config
    return path


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


def test_latent_attention_is_told_as_what_it_is(
    vllm: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """vLLM counts one kv head of the latent's size; no reason to call the config a liar."""
    latent = {"kv_lora_rank": 32, "qk_rope_head_dim": 8, "qk_nope_head_dim": 16, "v_head_dim": 16}
    folder = tmp_path / "latent"
    folder.mkdir()
    config = {**CONFIG, "model_type": "deepseek_v3", **latent}
    (folder / "config.json").write_text(json.dumps(config))
    assert backend_of(start(str(folder), model_fields={"heads": (2, 1, 40)})) is None
    assert "vLLM runs" not in warnings_of(caplog)


def test_copy_for_a_draft_model_is_not_ours(vllm: ModuleType, file: Path, tiny: str) -> None:
    put(file, tiny, "swift:plain")
    attention = start(tiny).attention_config
    draft = dataclasses.replace(attention, backend=None)
    assert stamp_of(attention) is not None
    assert stamp_of(draft) is None
