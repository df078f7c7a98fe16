"""Bad input ends in one clear line: the file, the field, what was expected, what was found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.errors import ConfigError, ModelError, UnknownModelError
from autotune.models import ModelRequest, load_model, parse_config
from autotune.models.load import MOST_FILE_BYTES

CONFIGS = Path(__file__).parent / "fixtures" / "configs"
MEMORY = Path("/proc/self/mem")
LLAMA = json.loads((CONFIGS / "llama-3.1-8b" / "config.json").read_text(encoding="utf-8"))
GEMMA = json.loads((CONFIGS / "gemma-3-27b" / "config.json").read_text(encoding="utf-8"))


def message(file: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_model(ModelRequest(str(file)))
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b'{\n  "a": 1,\n  b\n}', ["broken JSON at line 3, column 3"]),
        (b"", ["expected a JSON object, found an empty file"]),
        (b" \n", ["expected a JSON object, found an empty file"]),
        (b"[1]", ["expected a JSON object, found a list"]),
        (b'"x"', ["expected a JSON object, found a bare str"]),
        (b"\x93NUMPY\x01", ["expected JSON in UTF-8, found byte 0x93 at position 0"]),
        (b"[" * 100_000, []),
        (b'{"a": ' + b"9" * 5000 + b"}", ["no config.json"]),
        (b"{}", ["field 'model_type'", "expected a text"]),
    ],
)
def test_a_broken_file(tmp_path: Path, content: bytes, parts: list[str]) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(content)
    text = message(file)
    assert text.startswith(str(file))
    assert all(part in text for part in parts)


@pytest.mark.parametrize(
    ("field", "value", "found"),
    [
        (
            "num_attention_heads",
            "32",
            'expected a whole number from 1 to 1099511627776, found "32"',
        ),
        ("num_attention_heads", None, "found null"),
        ("num_attention_heads", True, "found true"),
        ("num_attention_heads", 32.0, "found 32.0"),
        ("num_hidden_layers", 0, "from 1 to 10000, found 0"),
        ("num_hidden_layers", -3, "found -3"),
        ("num_hidden_layers", 10**9, "found 1000000000"),
        ("num_key_value_heads", 10**30, "found a whole number beyond 1099511627776"),
        ("hidden_size", float("nan"), "found NaN"),
        ("max_position_embeddings", [], "found a list of 0"),
        ("max_position_embeddings", {"a": 1}, "found an object with a"),
        ("head_dim", "x" * 100, 'found "xxx'),
        ("query_pre_attn_scalar", float("inf"), "expected a positive number, or null, found Inf"),
        ("query_pre_attn_scalar", -1, "found -1"),
        ("query_pre_attn_scalar", "144", 'found "144"'),
        ("use_sliding_window", "no", 'expected true or false, found "no"'),
        ("layer_types", "full", 'expected a list of 32 texts, found "full"'),
        ("layer_types", [1] * 32, "expected a list of 32 texts"),
        ("layer_types", ["full_attention"], "one item for each of 32 layers, found 1"),
        ("layer_types", ["sliding_attention"] * 32, None),
        ("model_type", 3, "expected a text, found 3"),
        ("model_type", "", "expected a text"),
        ("torch_dtype", 16, "expected a text, found 16"),
        ("text_config", [1], "expected an object, or null"),
        ("rope_scaling", "yarn", "expected an object, or null"),
    ],
)
def test_a_wrong_value(tmp_path: Path, field: str, value: object, found: str | None) -> None:
    file = tmp_path / "config.json"
    # A model that has a `sliding_window` field reads every field above.
    file.write_text(json.dumps({**LLAMA, "sliding_window": None, field: value}), encoding="utf-8")
    text = message(file)
    assert text.startswith(str(file))
    if found is None:
        assert "field 'sliding_window'" in text
    else:
        assert f"field '{field}'" in text
        assert found in text


@pytest.mark.parametrize("field", ["num_attention_heads", "num_hidden_layers", "hidden_size"])
def test_a_missing_field(tmp_path: Path, field: str) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({k: v for k, v in LLAMA.items() if k != field}), encoding="utf-8")
    text = message(file)
    assert f"{file}: field '{field}' is missing: expected a whole number" in text


def test_an_unrecorded_type_has_no_defaults(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    config = {**LLAMA, "model_type": "new"}
    del config["num_key_value_heads"]
    file.write_text(json.dumps(config), encoding="utf-8")
    assert "field 'num_key_value_heads' is missing" in message(file)


def test_a_nested_field_is_named_with_its_object(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    config = {**GEMMA, "text_config": {**GEMMA["text_config"], "head_dim": "128"}}
    file.write_text(json.dumps(config), encoding="utf-8")
    assert message(file).startswith(f"{file}: text_config: field 'head_dim'")


def test_a_value_that_is_not_read_may_be_anything(tmp_path: Path) -> None:
    # Nemotron-H really writes Infinity.
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**LLAMA, "time_step_limit": [0.0, float("inf")]}), encoding="utf-8")
    assert load_model(ModelRequest(str(file))).specs


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(LLAMA), encoding="utf-8-sig")
    assert load_model(ModelRequest(str(file))).specs


def test_paths_that_are_not_there(tmp_path: Path) -> None:
    assert "the folder holds no config.json" in message(tmp_path)
    assert "no such file or folder" in message(tmp_path / "config.json")
    assert "no such file or folder" in message(tmp_path / "folder")


def test_a_path_that_no_system_takes(tmp_path: Path) -> None:
    assert "x" * 5000 in message(tmp_path / ("x" * 5000))
    with pytest.raises(ModelError):
        load_model(ModelRequest("a\0/b"))
    with pytest.raises(ModelError):
        load_model(ModelRequest("~nobody-of-that-name/model"))


def test_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()
    assert "expected a file of JSON" in message(tmp_path)


def test_a_weights_file_by_mistake(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    with file.open("wb") as handle:
        handle.truncate(MOST_FILE_BYTES + 1)
    assert "larger than" in message(file)


@pytest.mark.skipif(not MEMORY.exists(), reason="needs a /proc")
def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    # Tests may run as root, whom no permission stops; nobody reads the first page of a process.
    file = tmp_path / "config.json"
    file.symlink_to(MEMORY)
    assert message(file) == f"{file}: cannot be read: Input/output error"


FIELDS = sorted(
    {*LLAMA, *GEMMA, *GEMMA["text_config"]}
    | {
        "layer_types",
        "sliding_window",
        "attn_type_list",
        "kv_lora_rank",
        "full_attention_interval",
        "attention_chunk_size",
        "no_rope_layers",
        "max_window_layers",
        "attention_multiplier",
        "rope_parameters",
        "v_head_dim",
        "multi_query",
        "alibi",
        "dtype",
        "is_encoder_decoder",
        "mscale_all_dim",
        "factor",
        "original_max_position_embeddings",
        "type",
        "rope_type",
    }
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["yarn", "llama", "gemma3_text", "llama4_text", "falcon", "deepseek_v3"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=6)
    ),
    max_leaves=12,
)
CONFIG = st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=12)


@settings(max_examples=300, deadline=None)
@given(changes=CONFIG, base=st.sampled_from([{}, LLAMA, GEMMA]))
def test_random_configs_never_raise_anything_else(
    changes: dict[str, object], base: dict[str, object]
) -> None:
    try:
        model = parse_config({**base, **changes}, ModelRequest("test"), name="test")
    except ModelError:
        return
    assert model.specs or model.unsupported
    assert isinstance(json.loads(model.fingerprint), dict)


@settings(max_examples=200, deadline=None)
@given(source=st.text(max_size=30))
def test_random_names_never_raise_anything_else(source: str) -> None:
    with pytest.raises((UnknownModelError, ConfigError)):
        load_model(ModelRequest(source))


@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=60))
def test_random_files_never_raise_anything_else(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.getbasetemp() / "random-config.json"
    file.write_bytes(content)
    with pytest.raises(ModelError):
        load_model(ModelRequest(str(file)))
