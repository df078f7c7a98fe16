"""The environment: empty is unset, nonsense is an error that names the variable."""

from __future__ import annotations

import pytest

from autotune.errors import UsageError
from autotune.settings import RocmFlags, Settings, parse_duration, read_settings


def test_an_empty_environment_gives_the_defaults() -> None:
    assert read_settings({}) == Settings(None, frozenset(), "balanced", None)
    names = ("BACKEND", "DISABLE_BACKENDS", "PROFILE", "BUDGET")
    assert read_settings({f"AUTOTUNE_{name}": "" for name in names}) == Settings()


def test_every_variable_is_read() -> None:
    environ = {
        "AUTOTUNE_BACKEND": "torch_sdpa",
        "AUTOTUNE_DISABLE_BACKENDS": "torch_flex, ,flashinfer,",
        "AUTOTUNE_PROFILE": "chat",
        "AUTOTUNE_BUDGET": "5m",
        "AUTOTUNE_UNKNOWN": "x",
    }
    expected = Settings("torch_sdpa", frozenset({"torch_flex", "flashinfer"}), "chat", "5m")
    settings = read_settings(environ)
    assert settings == expected
    assert settings.budget_s == 300.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 30), ("30s", 30), ("1.5m", 90), ("1h", 3600), (" 2 M ", 120), ("0.5s", 0.5)],
)
def test_a_duration(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["word", "", "0", "0.0s", "-1s", "1w", "1s30", "nan", "inf", "1e3"]
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(UsageError, match="expected a time like 30s, 5m or 1h"):
        parse_duration(text)


def test_a_wrong_budget_names_its_variable() -> None:
    with pytest.raises(UsageError, match=r"^AUTOTUNE_BUDGET: 'word': expected a time"):
        _ = read_settings({"AUTOTUNE_BUDGET": "word"}).budget_s


def test_modes_states_and_flags() -> None:
    environ = {
        "AUTOTUNE_MODE": "Observe",
        "AUTOTUNE_ACCEPT": "exact",
        "AUTOTUNE_LOCK": "/etc/autotune.lock",
        "AUTOTUNE_DEVICE_ALIASES": "A = B; C=D ;",
        "AUTOTUNE_FORCE": "1",
        "VLLM_ATTENTION_BACKEND": "FLASHINFER",
        "VLLM_BATCH_INVARIANT": "1",
        "SGLANG_ENABLE_DETERMINISTIC_INFERENCE": "false",
    }
    settings = read_settings(environ)
    assert (settings.mode, settings.accept, settings.force) == ("observe", "exact", True)
    assert settings.lock == "/etc/autotune.lock"
    assert settings.aliases == (("A", "B"), ("C", "D"))
    assert settings.vllm_backend == "FLASHINFER"
    assert settings.invariant == (("vllm", "VLLM_BATCH_INVARIANT=1"),)


def test_vllm_s_own_flags_are_read_as_vllm_reads_them() -> None:
    # Held against its envs.py in test_published_defaults.py.
    assert read_settings({}).rocm == RocmFlags(use_aiter=False, use_aiter_mha=True)
    environ = {"VLLM_ROCM_USE_AITER": "True", "VLLM_ROCM_USE_AITER_MHA": "off"}
    settings = read_settings(environ)
    assert settings.rocm == RocmFlags(use_aiter=True, use_aiter_mha=False)
    assert settings.unforced.rocm == settings.rocm


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("AUTOTUNE_MODE", "on", "expected one of off, observe, read, tune"),
        ("AUTOTUNE_ACCEPT", "default", "expected one of exact, drifted, borrowed"),
        ("AUTOTUNE_DEVICE_ALIASES", "H100", "'H100': expected NAME=NAME, joined by semicolons"),
    ],
)
def test_a_wrong_word_names_its_variable_and_the_known_ones(
    name: str, text: str, expected: str
) -> None:
    with pytest.raises(UsageError, match=rf"^{name}.*{expected}$"):
        read_settings({name: text})
