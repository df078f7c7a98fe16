"""The texts that identify rows: what changes them, and what must not."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from fakes import CPU, FULL, H100, WINDOW, make_model

from autotune.keys import (
    Question,
    canonical,
    device_key,
    measurement_key,
    spec_keys_of,
    versions_of,
)
from autotune.models import ModelConfig, ModelRequest, load_model, preset_names, spec_key
from kernels_bench.candidates import Entrant
from kernels_bench.method import FP8_INPUTS, METHOD
from kernels_bench.spec import Pages, Variant

PADDED = Variant("padded", ("torch",))
CANDIDATE = Entrant("torch_sdpa", PADDED, Pages(16))
STACK = {"torch": "2.13.0", "numpy": "2.0"}
KEY = measurement_key(CPU, FULL, "q1s1k", CANDIDATE, STACK)


def test_a_power_limit_is_no_other_device() -> None:
    assert device_key(H100) == device_key(replace(H100, power_limit_w=350))


def test_memory_tells_gpus_apart_and_cpus_not() -> None:
    assert device_key(CPU) == device_key(replace(CPU, memory_bytes=1 << 40))
    assert device_key(H100) != device_key(replace(H100, memory_bytes=94 << 30))


@pytest.mark.parametrize(
    "change",
    [
        {"name": "NVIDIA H200"},
        {"arch": "sm_100"},
        {"multiprocessors": 114},
        {"last_level_cache_bytes": 1},
        {"partition": "1g.10gb"},
        {"kind": "rocm"},
    ],
)
def test_another_part_is_another_device(change: dict[str, object]) -> None:
    assert device_key(H100) != device_key(replace(H100, **change))


def test_fields_at_their_default_are_left_out() -> None:
    assert set(json.loads(device_key(H100))) == {
        "arch", "kind", "last_level_cache_bytes", "memory_bytes", "multiprocessors", "name",
    }  # fmt: skip
    assert set(json.loads(spec_key(FULL))) == {"num_q_heads", "num_kv_heads", "head_dim", "dtype"}


@pytest.mark.parametrize("name", preset_names())
def test_a_stored_model_gives_the_keys_of_its_layers(name: str) -> None:
    model = load_model(ModelRequest(name))
    assert spec_keys_of(model.fingerprint) == tuple(spec_key(spec) for spec in model.specs)


def test_the_number_of_layers_belongs_to_the_model_and_not_to_the_measurement() -> None:
    deeper = replace(FULL, num_layers=99)
    assert spec_key(deeper) == spec_key(FULL)
    assert make_model(deeper).fingerprint != make_model(FULL).fingerprint


def question(model: ModelConfig, engine: str = "any", profile: str = "balanced") -> str:
    return Question(model, engine, profile).text


def test_what_a_question_depends_on() -> None:
    asked = question(make_model(FULL))
    others = [
        question(make_model(FULL, WINDOW)),
        question(make_model(FULL, max_model_len=8192)),
        question(make_model(replace(FULL, page_size=32))),
        question(make_model(replace(FULL, page_size=64))),
        question(make_model(FULL), engine="vllm"),
        question(make_model(FULL), profile="chat"),
    ]
    assert len({asked, *others}) == len(others) + 1
    assert json.loads(asked)["max_model_len"] == 4096
    assert "page_size" not in json.loads(asked)
    assert json.loads(others[2])["page_size"] == [32]


def test_a_fine_tune_asks_the_same() -> None:
    assert question(make_model(FULL, name="base")) == question(make_model(FULL, name="chatty"))


@pytest.mark.parametrize(
    "other",
    [
        measurement_key(CPU, FULL, "q1s1k", CANDIDATE, {"torch": "2.14.0"}),
        measurement_key(CPU, FULL, "q1s1k", CANDIDATE, {}),
        measurement_key(CPU, FULL, "q1s1k", CANDIDATE, {**STACK, "triton": "3.6.0"}),
        measurement_key(CPU, FULL, "q1s1k", Entrant("torch_sdpa", PADDED, Pages(32)), STACK),
        measurement_key(CPU, FULL, "q1s1k", Entrant("torch_sdpa", PADDED, Pages(16, "HND")), STACK),
        measurement_key(CPU, FULL, "q1s1k", Entrant("torch_flex", PADDED, Pages(16)), STACK),
        measurement_key(
            CPU,
            FULL,
            "q1s1k",
            Entrant("torch_sdpa", replace(PADDED, name="other"), Pages(16)),
            STACK,
        ),
        measurement_key(CPU, FULL, "q1s2k", CANDIDATE, STACK),
        measurement_key(CPU, WINDOW, "q1s1k", CANDIDATE, STACK),
        measurement_key(H100, FULL, "q1s1k", CANDIDATE, STACK),
        measurement_key(CPU, FULL, "q1s1k", CANDIDATE, {**STACK, "nvidia-driver": "580.1"}),
    ],
)
def test_a_measurement_of_something_else_has_another_key(other: str) -> None:
    assert other != KEY


def test_a_package_that_the_variant_does_not_use_changes_nothing() -> None:
    other = {**STACK, "numpy": "3.0", "flash-attn": "2.8"}
    assert measurement_key(CPU, FULL, "q1s1k", CANDIDATE, other) == KEY
    pinned = replace(FULL, page_size=16, num_layers=99)
    assert measurement_key(CPU, pinned, "q1s1k", CANDIDATE, STACK) == KEY


def test_the_method_is_part_of_the_key() -> None:
    assert json.loads(KEY)["method"] == METHOD


def test_a_package_that_is_not_here_is_written_down() -> None:
    stack = {"torch": "2.13.0", "nvidia-driver": "580.1", "numpy": "2.0"}
    assert versions_of(["flash-attn", "torch"], stack) == {
        "flash-attn": None,
        "nvidia-driver": "580.1",
        "torch": "2.13.0",
        "triton": None,
    }


def test_canonical_text_has_one_order_and_no_spaces() -> None:
    assert canonical({"b": [1, 2], "a": {"d": 1, "c": None}}) == '{"a":{"c":null,"d":1},"b":[1,2]}'


def test_a_captured_call_belongs_to_the_longest_context_of_its_graph() -> None:
    captured = measurement_key(H100, FULL, "q1s1k", CANDIDATE, STACK, captured_len=4096)
    longer = measurement_key(H100, FULL, "q1s1k", CANDIDATE, STACK, captured_len=8192)
    eager = measurement_key(H100, FULL, "q1s1k", CANDIDATE, STACK)
    assert len({captured, longer, eager}) == 3
    assert "captured_len" not in eager


def test_what_is_drawn_for_fp8_has_a_version_of_its_own() -> None:
    fp8 = measurement_key(CPU, replace(FULL, kv_dtype="fp8_e4m3"), "q1s1k", CANDIDATE, STACK)
    assert json.loads(fp8)["fp8_inputs"] == FP8_INPUTS
    assert "fp8_inputs" not in json.loads(KEY)
