"""What a start missed is noted, read back as what it takes to tune, and gone once it is decided."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from cache_examples import tamper
from fakes import CPU_FOUND, FULL, H100_FOUND, WINDOW, make_model
from starts import MODEL, NO_FLEX, ask, tune

from autotune._store import CacheBusyError, CacheUnwritableError, Layers, list_decisions
from autotune.keys import Question
from autotune.missed import Missed, note_miss, read_missed
from autotune.models import ModelConfig, ModelRequest, load_model
from autotune.profiles import BALANCED, CHAT, Profile
from autotune.wishes import Wishes
from kernels_bench.devices import FoundDevice
from kernels_bench.spec import Mla, Reason

SDPA = {"torch_sdpa": 100.0}
OWN = Profile("mine", {"q1s64": 3.0, "q512": 1.0}, is_own=True)


@pytest.fixture
def layers(file: Path) -> Layers:
    return Layers.alone(file)


def note(
    layers: Layers,
    model: ModelConfig = MODEL,
    found: FoundDevice = CPU_FOUND,
    engine: str = "any",
    profile: str = "balanced",
) -> Question:
    question = Question(model, engine, profile)
    note_miss(question, found, f"/models/{model.name}", layers)
    return question


def only(layers: Layers, named: Profile | None = None) -> Missed:
    (found,) = read_missed(layers, named)
    return found


MODELS = {
    "of one kind": MODEL,
    "of two kinds": make_model(WINDOW, FULL, name="two"),
    "with pinned pages": make_model(replace(FULL, page_size=32)),
    "with another cache": make_model(replace(FULL, kv_dtype="fp8_e4m3"), max_model_len=1000),
    "latent": make_model(replace(FULL, mla=Mla(512, 64, 128, 128))),
    "with a name that steers": make_model(FULL, name="tin\x1b[2Jy"),
}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_what_was_asked_can_be_asked_again(layers: Layers, model: ModelConfig) -> None:
    question = note(layers, model, engine="vllm", profile="chat")
    found = only(layers)
    assert found.model is not None
    assert found.hindrance == ""
    assert Question(found.model, found.row.engine, found.row.profile).text == question.text
    assert (found.model.specs, found.device, found.profile) == (model.specs, CPU_FOUND.device, CHAT)


def test_a_preset_of_several_ranks(layers: Layers) -> None:
    model = load_model(ModelRequest("llama-3.1-70b", tensor_parallel=4, max_model_len=8192))
    note(layers, model, H100_FOUND)
    found = only(layers)
    assert found.model == model
    assert found.text == (
        "llama-3.1-70b for any, balanced, on NVIDIA H100 80GB HBM3 (sm_90, 132 multiprocessors,"
        " 80 GiB, 50 MiB cache)"
    )
    assert found.row.options == (
        '{"dtype":["bfloat16"],"kv_dtype":["bfloat16"],"max_model_len":8192,"page_size":[],'
        '"source":"/models/llama-3.1-70b","tensor_parallel":4}'
    )


def test_starts_with_and_without_pinned_pages_share_no_question(layers: Layers) -> None:
    note(layers, MODELS["with pinned pages"])
    note(layers, MODEL)
    models = [each.model for each in read_missed(layers)]
    pages = [model.specs[0].page_size for model in models if model is not None]
    assert sorted(pages, key=str) == [32, None]


def test_a_fine_tune_keeps_its_name_where_another_shares_its_layers(layers: Layers) -> None:
    note(layers, MODEL)
    note(layers, replace(MODEL, name="fine"), profile="chat")
    assert {each.model.name for each in read_missed(layers) if each.model} == {"tiny", "fine"}


def test_a_model_that_nobody_can_run_is_not_noted(layers: Layers, file: Path) -> None:
    note(layers, make_model(FULL, unsupported=(Reason("model", "recurrent layers"),)))
    assert not file.exists()


def test_the_note_is_for_the_user_s_file_alone(tmp_path: Path, file: Path) -> None:
    fleet = tmp_path / "fleet.db"
    layers = Layers((replace(Layers.alone(fleet).user, name="fleet"), Layers.alone(file).user))
    note(layers)
    assert len(read_missed(layers)) == 1
    assert not fleet.exists()


def test_a_file_that_cannot_be_written_is_an_error_of_the_cache(tmp_path: Path) -> None:
    (tmp_path / "no folder").touch()
    with pytest.raises(CacheUnwritableError):
        note(Layers.alone(tmp_path / "no folder" / "autotune.db"))


def test_a_writer_that_takes_long_costs_the_note(layers: Layers, file: Path) -> None:
    note(layers)
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(CacheBusyError):
            note(layers)


# What cannot be asked again


def test_a_question_that_this_version_does_not_ask(layers: Layers, file: Path) -> None:
    note(layers)
    for text in ("{broken", "[]", '{"model": {"specs": [{"width": 1}]}}', '{"model": 3}'):
        tamper(file, f"UPDATE misses SET question = '{text}'")
        assert only(layers).model is None
        assert only(layers).hindrance == "its question is none of this version"


def test_a_profile_of_a_user_s_own_whose_weights_nobody_has(layers: Layers) -> None:
    note(layers, profile=OWN.key)
    found = only(layers, BALANCED)
    assert found.profile is None
    assert found.hindrance == (
        f"the weights of {OWN.key} are not stored; name their file: --profile"
    )


def test_its_file_is_named_now(layers: Layers) -> None:
    note(layers, profile=OWN.key)
    assert only(layers, OWN).profile == OWN
    assert only(layers, replace(OWN, weights={"q512": 1.0})).profile is None


def test_its_weights_stand_with_the_decision_of_another_model(layers: Layers, file: Path) -> None:
    tune(file, SDPA, model=make_model(WINDOW, name="other"), profile=OWN)
    note(layers, profile=OWN.key)
    found = only(layers).profile
    assert found is not None
    assert (found.key, found.is_own) == (OWN.key, True)


def test_a_built_in_profile_that_this_version_has_not(layers: Layers) -> None:
    note(layers, profile="of a newer version")
    assert only(layers).profile is None


# Decided


def test_a_miss_is_gone_once_it_is_decided_and_others_stay(layers: Layers, file: Path) -> None:
    assert ask(file).is_miss
    note(layers)
    note(layers, profile="chat")
    tune(file, SDPA)
    assert only(layers).row.profile == "chat"
    assert not ask(file).is_miss


def test_one_that_was_noted_after_the_decision_goes_with_the_next_run(
    layers: Layers, file: Path
) -> None:
    tune(file, SDPA)
    before = list_decisions(file)
    note(layers)
    tune(file, SDPA)
    assert read_missed(layers) == ()
    assert list_decisions(file) == before


def test_a_run_that_decides_nothing_leaves_it(layers: Layers, file: Path) -> None:
    note(layers, engine="vllm")
    tune(file, SDPA, wishes=Wishes("vllm", NO_FLEX))
    assert only(layers).row.engine == "vllm"
    assert list_decisions(file) == ()
