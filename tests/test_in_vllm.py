"""The plug-in in a vLLM that computes nothing: what it sets, what it leaves, and that it never
raises. The real ones are in `tests/engine`.
"""

from __future__ import annotations

import dataclasses
import json
import pickle
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cli_runs import CONFIG
from vllm_starts import (
    DEFAULT,
    backend_of,
    payload_of,
    put,
    run,
    start,
    warnings_of,
)

from autotune import in_vllm
from autotune.in_vllm.stamp import stamp_of


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
    fields = {"hf_overrides": {"head_dim": 64}, "heads": (2, 1, 64)}
    changed = sys.modules["vllm.config"].HfConfig({**CONFIG, "head_dim": 64})
    assert backend_of(start(tiny, model_fields={**fields, "hf_config": changed})) is None


def test_other_heads_than_the_file_says_are_refused(
    vllm: ModuleType, file: Path, tiny: str, caplog: pytest.LogCaptureFixture
) -> None:
    put(file, tiny, "swift:plain")
    assert backend_of(start(tiny, model_fields={"heads": (4, 4, 16)})) is None
    assert "vLLM runs 4/4 heads of 16, the model's config says 2/1 of 32" in warnings_of(caplog)


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
