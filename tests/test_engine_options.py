"""From a decision to an engine's own options."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from cache_examples import tamper
from fakes import FULL, WINDOW, candidate, install_plugin, make_model, write_distribution
from starts import FAST, ask, tune

from autotune.decision import Choice
from autotune.engine_options import (
    KINDS,
    Options,
    Unsayable,
    option_pairs,
    single_options,
    split_options,
)
from autotune.engines import Engine, engine_named
from autotune.models import kinds
from autotune.ranking import Candidate
from kernels_bench.spec import AttentionSpec, Phase

VLLM = engine_named("vllm", {"vllm": "0.33.0"})
SGLANG = engine_named("sglang", {})
MIXED = replace(WINDOW, has_mixed_windows=True)
FA, FI, TRITON = candidate("flash_attn"), candidate("flashinfer"), candidate("vllm_triton")
WORDS: Mapping[Candidate, Options] = {
    FA: {"attention_backend": "FLASH_ATTN"},
    FI: {"attention_backend": "FLASHINFER"},
    TRITON: {"attention_backend": "TRITON_ATTN"},
}


def everywhere(who: Candidate) -> dict[str, Candidate]:
    return {phase.value: who for phase in Phase}


def sides(prefill: Candidate, decode: Candidate) -> dict[str, Candidate]:
    return everywhere(prefill) | {Phase.DECODE.value: decode}


def own(*who: Candidate, **more: Options) -> dict[Candidate, Options]:
    """What the variants say; `more` is what a backend wants beside its name."""
    return {each: {**WORDS[each], **more.get(each.backend, {})} for each in who}


def refusal(
    engine: Engine,
    seats: Mapping[str, Mapping[str, Candidate]],
    options: Mapping[Candidate, Options],
) -> str:
    said = split_options(engine, seats, FA, options)
    assert isinstance(said, Unsayable)
    return said.why


# one backend everywhere


def test_vllm_takes_what_the_variant_says() -> None:
    options = {"attention_backend": "FLASH_ATTN", "attention_config": {"flash_attn_version": 2}}
    assert single_options("vllm", options) == options
    assert single_options("any", options) == options
    assert single_options("vllm", None) is None


def test_sglang_is_told_both_of_its_backends() -> None:
    assert single_options("sglang", {"attention_backend": "fa3", "page_size": 64}) == {
        "prefill_attention_backend": "fa3",
        "decode_attention_backend": "fa3",
        "page_size": 64,
    }
    both = {"prefill_attention_backend": "fa3", "decode_attention_backend": "flashinfer"}
    assert single_options("sglang", both) == both


# a kind of layer each, for vLLM


def test_a_split_by_kind_is_in_vllm_s_own_words() -> None:
    seats = {"full": everywhere(FA), "window": everywhere(FI)}
    assert split_options(VLLM, seats, FA, own(FA, FI)) == {
        "attention_backend": "FLASH_ATTN",
        "attention_config": {
            "backend_per_kind": {"full_attention": "FLASH_ATTN", "sliding_window": "FLASHINFER"}
        },
    }


def test_a_winner_that_serves_nothing_in_the_split_is_not_named() -> None:
    said = split_options(VLLM, {"full": everywhere(FI), "window": everywhere(TRITON)}, FA,
                         own(FI, TRITON))  # fmt: skip
    assert not isinstance(said, Unsayable)
    assert said["attention_backend"] == "FLASHINFER"


def test_what_a_member_wants_besides_stands_beside_the_kinds() -> None:
    seats = {"full": everywhere(FA), "window": everywhere(FI)}
    version: Options = {"attention_config": {"flash_attn_version": 2}}
    said = split_options(VLLM, seats, FA, own(FA, FI, flash_attn=version))
    assert not isinstance(said, Unsayable)
    assert said["attention_config"] == {
        "flash_attn_version": 2,
        "backend_per_kind": {"full_attention": "FLASH_ATTN", "sliding_window": "FLASHINFER"},
    }


def test_two_kinds_of_one_name_may_share_a_backend_and_not_differ() -> None:
    seats = {"full": everywhere(FA), "window": everywhere(FI), "window2": everywhere(FI)}
    said = split_options(VLLM, seats, FA, own(FA, FI))
    assert not isinstance(said, Unsayable)
    seats = {**seats, "window2": everywhere(TRITON)}
    why = refusal(VLLM, seats, own(FA, FI, TRITON))
    assert why == "vllm has one name, sliding_window, for two kinds of layer"


def test_the_kinds_of_layers_are_named_as_models_name_them() -> None:
    named = kinds(make_model(FULL, WINDOW))
    assert set(named) == {"full", "window"}
    assert set(named) <= set(KINDS)
    assert "has no name for odd layers" in refusal(
        VLLM, {"full": everywhere(FA), "odd": everywhere(FI)}, own(FA, FI)
    )


def test_vllm_names_no_phase() -> None:
    seats = {"full": sides(FA, FI), "window": everywhere(FA)}
    assert "one backend for all phases" in refusal(VLLM, seats, own(FA, FI))


def test_two_versions_under_one_name_are_no_split() -> None:
    other = candidate("flash_attn", "fa2")
    seats = {"full": everywhere(FA), "window": everywhere(other)}
    options = own(FA) | {other: {**WORDS[FA], "attention_config": {"flash_attn_version": 2}}}
    assert "one name for all of its backends" in refusal(VLLM, seats, options)
    third = {**seats, "chunk": everywhere(FI)}
    why = refusal(VLLM, third, options | own(FI))
    assert why == "flash_attn:plain and flash_attn:fa2 want other options under one name"


def test_a_backend_without_a_name_is_no_member() -> None:
    seats = {"full": everywhere(FA), "window": everywhere(FI)}
    assert "has no name for one" in refusal(VLLM, seats, own(FA) | {FI: {}})
    twice: Options = {"attention_config": {"backend": "FLASHINFER"}}
    assert "named both in" in refusal(VLLM, seats, own(FA, FI, flashinfer=twice))


def test_an_older_vllm_loads_one_backend() -> None:
    old = engine_named("vllm", {"vllm": "0.24.0"})
    seats = {"full": everywhere(FA), "window": everywhere(FI)}
    assert refusal(old, seats, own(FA, FI)) == "this vllm loads one backend for all"


@pytest.mark.parametrize(
    ("name", "version", "model_type", "spec", "is_ahead"),
    [
        ("vllm", "0.24.0", "gemma2", MIXED, True),
        # On its newer model runner, whose plans wait for the device.
        ("vllm", "0.24.0", "mistral", MIXED, False),
        # What nobody has seen.
        ("vllm", "0.24.0", "gemma2", FULL, False),
        ("vllm", "0.33.0", "gemma2", MIXED, False),
        ("vllm", "", "gemma2", MIXED, False),
        ("sglang", "0.24.0", "gemma2", MIXED, False),
        ("any", "0.24.0", "gemma2", MIXED, False),
    ],
)
def test_who_plans_ahead(
    name: str, version: str, model_type: str, spec: AttentionSpec, is_ahead: bool
) -> None:
    model = replace(make_model(FULL, spec), model_type=model_type)
    assert engine_named(name, {"vllm": version}, model).plans_ahead == is_ahead


# a side each, for SGLang


def test_a_split_by_phase_names_both_seats() -> None:
    said = split_options(SGLANG, {"full": sides(FA, FI)}, FA, own(FA, FI))
    assert said == {
        "prefill_attention_backend": "FLASH_ATTN",
        "decode_attention_backend": "FLASHINFER",
    }


def test_sglang_names_no_kind_and_no_other_phase() -> None:
    seats = {"full": sides(FA, FI), "window": sides(FI, FI)}
    why = refusal(SGLANG, seats, own(FA, FI))
    assert why == "sglang loads one backend for all that --prefill-attention-backend serves"
    verify = sides(FA, FI) | {Phase.VERIFY.value: FI}
    assert "prefill-attention-backend" in refusal(SGLANG, {"full": verify}, own(FA, FI))
    alone = {"full": {Phase.DECODE.value: FA}, "window": {Phase.DECODE.value: FA}}
    assert "by prefill and decode alone" in refusal(SGLANG, alone, own(FA, FI))


def test_options_of_the_seats_are_joined_where_they_agree() -> None:
    seats = {"full": sides(FA, FI)}
    page: Options = {"page_size": 64}
    said = split_options(SGLANG, seats, FA, own(FA, FI, flash_attn=page))
    assert not isinstance(said, Unsayable)
    assert said["page_size"] == 64
    why = refusal(SGLANG, seats, own(FA, FI, flash_attn=page, flashinfer={"page_size": 32}))
    assert why == "its backends want different values of --page-size"


# on a command line


def test_nested_options_are_one_word_of_a_shell(tmp_path: Path) -> None:
    nested = {"backend_per_kind": {"full_attention": "FLASH_ATTN", "sliding_window": "FLASHINFER"}}
    options: Options = {"attention_backend": "FLASH_ATTN", "attention_config": nested}
    pairs = list(option_pairs(options))
    assert [name for name, _ in pairs] == ["--attention-backend", "--attention-config"]
    (tmp_path / "said").write_text("".join(f"{name} {word}\n" for name, word in pairs))
    script = f"printf '%s\\n' $(cat {tmp_path / 'said'})"
    heard = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    words = heard.splitlines()
    assert words[:3] == ["--attention-backend", "FLASH_ATTN", "--attention-config"]
    assert len(words) == 4
    assert json.loads(words[3]) == nested


# at a start

LOADABLE = {
    "swift": {"vllm": {"attention_backend": "SWIFT"}, "sglang": {"attention_backend": "swift"}},
    "steady": {"vllm": {"attention_backend": "STEADY"}, "sglang": {"attention_backend": "steady"}},
}
KINDS_OF = make_model(FULL, WINDOW)


@pytest.fixture
def loadable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, options in LOADABLE.items():
        install_plugin(monkeypatch, tmp_path / "p", f"'{name}', engine_options={options!r}")


def seated(file: Path, engine: str, split: Mapping[str, Mapping[str, str]]) -> Choice:
    """The choice of an engine whose stored decision has this split."""
    tune(file, FAST, model=KINDS_OF)
    members = {
        name: {"backend": name, "variant": "plain", "pages": {"size": 16, "layout": "NHD"}}
        for name in LOADABLE
    }
    seats = {kind: {p: members[who] for p, who in phases.items()} for kind, phases in split.items()}
    stored = json.dumps({"seats": seats, "score": 0.4, "gain": 0.2, "bound": 0.01, "regret": 0.0})
    tamper(file, f"UPDATE decisions SET split = '{stored}'")
    return ask(file, model=KINDS_OF, engine=engine)


def both(full: str, window: str) -> dict[str, dict[str, str]]:
    phases = [phase.value for phase in Phase]
    return {"full": dict.fromkeys(phases, full), "window": dict.fromkeys(phases, window)}


@pytest.mark.usefixtures("loadable")
def test_a_start_of_vllm_gets_the_split(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_distribution(tmp_path / "v", "vllm", "0.33.0")
    monkeypatch.syspath_prepend(str(tmp_path / "v"))
    choice = seated(file, "vllm", both("swift", "steady"))
    assert choice.decision is not None
    assert choice.decision.split is not None
    assert choice.engine_options == {
        "attention_backend": "SWIFT",
        "attention_config": {
            "backend_per_kind": {"full_attention": "SWIFT", "sliding_window": "STEADY"}
        },
    }


@pytest.mark.usefixtures("loadable")
def test_a_vllm_without_kinds_gets_the_single_winner_and_a_warning(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_distribution(tmp_path / "v", "vllm", "0.24.0")
    monkeypatch.syspath_prepend(str(tmp_path / "v"))
    choice = seated(file, "vllm", both("swift", "steady"))
    assert choice.decision is not None
    assert choice.decision.split is None
    assert choice.engine_options == {"attention_backend": "SWIFT"}
    assert "no split: this vllm loads one backend for all" in choice.warnings


@pytest.mark.usefixtures("loadable")
def test_a_start_of_sglang_gets_both_seats(file: Path) -> None:
    split = both("swift", "swift")
    for phases in split.values():
        phases[Phase.DECODE.value] = "steady"
    assert seated(file, "sglang", split).engine_options == {
        "prefill_attention_backend": "swift",
        "decode_attention_backend": "steady",
    }


@pytest.mark.usefixtures("loadable")
def test_a_start_of_sglang_with_one_backend(file: Path) -> None:
    tune(file, FAST)
    assert ask(file, engine="sglang").engine_options == {
        "prefill_attention_backend": "swift",
        "decode_attention_backend": "swift",
    }
