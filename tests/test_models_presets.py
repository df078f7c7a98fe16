"""The presets that ship, and how a name is looked up."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.errors import UnknownModelError
from autotune.models import ModelRequest, load_model, preset_names, presets

CONFIGS = Path(__file__).parent / "fixtures" / "configs"


def test_names_and_hub_ids_are_unique_in_any_case() -> None:
    known = [name.casefold() for preset in presets() for name in (preset.name, preset.hub_id)]
    assert len(known) == len(set(known))


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads_with_nothing_unsupported(name: str) -> None:
    model = load_model(ModelRequest(name))
    assert model.name == name
    assert model.specs
    assert model.unsupported == ()


def test_every_preset_says_where_it_was_read() -> None:
    vague = [
        preset.name
        for preset in presets()
        if "reconstructed from " not in preset.source and "@" not in preset.source
    ]
    assert vague == []


@pytest.mark.parametrize(
    "name", sorted({path.name for path in CONFIGS.iterdir()} & set(preset_names()))
)
def test_a_preset_agrees_with_the_whole_file(name: str) -> None:
    # Presets keep the attention fields alone: none may have been lost.
    of_file = load_model(ModelRequest(str(CONFIGS / name)))
    assert load_model(ModelRequest(name)).fingerprint == of_file.fingerprint


def test_the_widely_served_families_are_there() -> None:
    wanted = (
        "llama-3.1-8b llama-3.1-70b llama-4-scout qwen2.5-7b qwen3-8b qwen3-30b-a3b mistral-7b "
        "mixtral-8x7b gemma-2-9b gemma-3-27b gpt-oss-20b phi-3-mini falcon-7b deepseek-v3"
    )
    assert set(wanted.split()) <= set(preset_names())
    assert len(preset_names()) >= 25


@pytest.mark.parametrize("source", ["LLaMA-3.1-8B", "meta-llama/llama-3.1-8b"])
def test_a_name_or_hub_id_in_any_case(source: str) -> None:
    assert load_model(ModelRequest(source)).name == "llama-3.1-8b"


@pytest.mark.parametrize("source", ["lama-3.1-8b", "someone/llama-3.1-8b-chat"])
def test_an_unknown_name_is_answered_with_the_nearest(source: str) -> None:
    with pytest.raises(UnknownModelError) as caught:
        load_model(ModelRequest(source))
    message = str(caught.value)
    assert source in message
    assert "nearest: llama-3.1-8b, " in message
    assert "config.json" in message
    assert "`autotune models`" in message


def test_no_name_is_not_the_working_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CONFIGS / "qwen3-8b")
    with pytest.raises(UnknownModelError):
        load_model(ModelRequest(""))
    assert load_model(ModelRequest(".")).name == "qwen3-8b"


@pytest.mark.parametrize("source", ["", "zzzzzzzz", "\N{SNOWMAN}"])
def test_a_name_like_no_other_has_no_nearest(source: str) -> None:
    with pytest.raises(UnknownModelError, match=r"A folder or a config\.json path also works"):
        load_model(ModelRequest(source))


def test_a_folder_with_a_config_wins_over_a_preset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "llama-3.1-8b"
    folder.mkdir()
    assert load_model(ModelRequest("llama-3.1-8b")).model_type == "llama"
    (folder / "config.json").write_bytes((CONFIGS / "qwen3-8b" / "config.json").read_bytes())
    assert load_model(ModelRequest("llama-3.1-8b")).model_type == "qwen3"


def test_a_config_file_may_have_any_name(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_bytes((CONFIGS / "qwen3-8b" / "config.json").read_bytes())
    assert load_model(ModelRequest(str(file))).name == "mine"
