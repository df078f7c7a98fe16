"""What an engine's start gets in each state, and what the user may say to it."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
from cache_examples import tamper
from fakes import CPU_FOUND, FULL, install_plugin, make_model, write_distribution
from starts import FAST, MODEL, NO_FLEX, ask, tune

from autotune._store import Layers, list_decisions
from autotune.chooser import answer
from autotune.errors import UsageError
from autotune.explanation import explain
from autotune.keys import Question
from autotune.profiles import BALANCED, Profile
from autotune.replay import Rules
from autotune.settings import Settings
from autotune.today import Asked
from autotune.wishes import Wishes
from kernels_bench.devices import FoundDevice

pytestmark = pytest.mark.usefixtures("plugins")
SISTER = FoundDevice("cpu", replace(CPU_FOUND.device, name="Sister CPU"))
ALIASES = (("Sister CPU", "Fake CPU"),)
LOADABLE = {"vllm": {"attention_backend": "SWIFT_ATTN"}}


def test_another_host_with_the_same_part_and_stack_is_exact(file: Path) -> None:
    tune(file)
    tamper(file, "UPDATE decisions SET host = 'another'")
    tamper(file, "UPDATE measurements SET host = 'another'")
    assert ask(file).state == "exact"


def test_a_declared_alias_borrows_and_says_what_differs(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tune(file)
    assert ask(file, SISTER).state == "default"
    choice = ask(file, SISTER, aliases=ALIASES)
    assert (choice.state, choice.backend, choice.source) == ("borrowed", "swift", "cache")
    assert choice.why.startswith("name Fake CPU where it was measured, Sister CPU here; ")
    assert choice.warnings[0].startswith("borrowed from a sister part: name Fake CPU")
    assert "borrowed from a sister part" in caplog.text


def test_its_own_answer_comes_before_a_sister_s(file: Path) -> None:
    tune(file)
    tune(file, FAST | {"swift": 200.0}, SISTER)
    choice = ask(file, SISTER, aliases=ALIASES)
    assert (choice.state, choice.backend) == ("exact", "steady")


@pytest.mark.parametrize(
    ("accept", "state"), [("borrowed", "borrowed"), ("drifted", "default"), ("exact", "default")]
)
def test_how_far_an_answer_may_be_is_the_user_s_to_say(file: Path, accept: str, state: str) -> None:
    tune(file)
    choice = ask(file, SISTER, aliases=ALIASES, accept=accept)
    assert choice.state == state
    if state == "default":
        assert choice.why.startswith(f"AUTOTUNE_ACCEPT={accept} leaves a borrowed answer (name ")
        assert choice.backend == "torch_sdpa"
        assert choice.warnings


def test_a_drifted_answer_may_be_left_too(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune(file)
    write_distribution(tmp_path / "newer", "torch", "9.9.9")
    monkeypatch.syspath_prepend(str(tmp_path / "newer"))
    assert ask(file).state == "drifted"
    choice = ask(file, accept="exact")
    assert choice.state == "default"
    assert "leaves a drifted answer (torch was" in choice.why


def test_off_does_nothing_and_says_nothing(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    tune(file)
    choice = ask(file, mode="off", backend="steady")
    assert (choice.state, choice.backend, choice.why) == (
        "default", "torch_sdpa", "AUTOTUNE_MODE=off",
    )  # fmt: skip
    assert caplog.text == ""


def test_observe_decides_and_changes_nothing(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "autotune")
    install_plugin(monkeypatch, tmp_path / "v", f"'swift', engine_options={LOADABLE!r}")
    tune(file)
    choice = ask(file, engine="vllm", mode="observe")
    assert (choice.state, choice.backend, choice.is_observed) == ("exact", "swift", True)
    assert caplog.messages[-1].endswith("observed only, the engine's own rule stays")


def test_one_line_says_what_was_chosen(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    tune(file)
    caplog.set_level(logging.INFO, "autotune")
    ask(file)
    (record,) = caplog.records
    assert record.levelname == "INFO"
    assert record.message == (
        "attn-autotune: swift:plain for tiny on Fake CPU, exact, 2.00x the default"
        " torch_sdpa:padded, next is steady:plain, measured within the hour"
    )


def test_a_miss_is_a_warning(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    ask(file)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "nothing is measured for tiny on Fake CPU" in record.message


def test_an_override_says_what_it_costs_and_where_that_was_measured(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tune(file)
    choice = ask(file, backend="steady")
    assert (choice.state, choice.source, choice.decision) == ("override", "override", None)
    today = list_decisions(file)[0].decision.provenance.created_at[:10]
    cost = (
        f"steady:plain costs 40.0% more than swift:plain (exact, measured on Fake CPU on {today})"
    )
    assert choice.why == f"steady was asked for by AUTOTUNE_BACKEND; {cost}"
    assert choice.warnings == (f"AUTOTUNE_BACKEND=steady: {cost}",)
    assert "costs 40.0% more" in caplog.text


def test_an_override_that_is_the_winner_costs_nothing(file: Path) -> None:
    tune(file)
    assert ask(file, backend="swift").warnings == ()


def test_an_override_that_nobody_measured_says_so(file: Path) -> None:
    tune(file, {"torch_sdpa": 100.0, "swift": 50.0})
    (warning,) = ask(file, backend="steady").warnings
    assert "what steady:plain costs is not known, swift:plain is the measured choice" in warning


def test_an_override_stands_though_the_cache_cannot_be_read(file: Path) -> None:
    file.write_bytes(b"not a database, but long enough to look at" * 99)
    assert ask(file, backend="steady").state == "override"


@pytest.mark.parametrize("name", ["swift:plain", "SWIFT", " swift "])
def test_an_override_may_name_a_variant_in_any_case(file: Path, name: str) -> None:
    choice = ask(file, backend=name)
    assert choice.candidate is not None
    assert choice.candidate.label == "swift:plain"


def test_an_override_of_a_variant_that_is_not_there(file: Path) -> None:
    choice = ask(file, backend="swift:other")
    assert choice.state == "default"
    assert (
        "AUTOTUNE_BACKEND=swift:other cannot be taken: no such variant of swift: it has plain"
        in (choice.why)
    )


def test_vllm_s_own_variable_is_heard_for_vllm_with_a_warning(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_plugin(monkeypatch, tmp_path / "v", f"'swift', engine_options={LOADABLE!r}")
    choice = ask(file, engine="vllm", vllm_backend="SWIFT_ATTN")
    assert (choice.state, choice.backend) == ("override", "swift")
    assert choice.engine_options == LOADABLE["vllm"]
    assert choice.why == "swift was asked for by VLLM_ATTENTION_BACKEND"
    assert choice.warnings[-1].startswith(
        "VLLM_ATTENTION_BACKEND=SWIFT_ATTN: vLLM reads it no more"
    )
    assert ask(file, vllm_backend="SWIFT_ATTN").state == "default"
    both = ask(file, engine="vllm", vllm_backend="NOPE", backend="swift")
    assert both.why == "swift was asked for by AUTOTUNE_BACKEND"


def test_a_name_that_is_disabled_and_unknown_is_told(file: Path) -> None:
    choice = ask(file, disabled=NO_FLEX | {"flashinfr"})
    (warning,) = choice.warnings
    start = (
        "AUTOTUNE_DISABLE_BACKENDS: no such backend is installed: flashinfr (nearest: flashinfer)"
    )
    assert warning.startswith(f"{start}; known: torch_sdpa, ")
    assert "flashinfer (cannot run here)" in warning
    with pytest.raises(UsageError, match=r"^AUTOTUNE_DISABLE_BACKENDS: no such backend"):
        ask(file, disabled=NO_FLEX | {"flashinfr"}, strict=True)


@pytest.mark.parametrize(
    ("engine", "invariant", "is_off"),
    [
        ("vllm", (("vllm", "VLLM_BATCH_INVARIANT=1"),), True),
        ("sglang", (("vllm", "VLLM_BATCH_INVARIANT=1"),), False),
    ],
)
def test_measurements_decide_nothing_where_results_must_not_depend_on_the_batch(
    file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    engine: str,
    invariant: tuple[tuple[str, str], ...],
    is_off: bool,
) -> None:
    options = {name: {"attention_backend": "SWIFT"} for name in ("vllm", "sglang")}
    install_plugin(monkeypatch, tmp_path / "v", f"'swift', engine_options={options!r}")
    tune(file, wishes=Wishes(engine, NO_FLEX))
    choice = ask(file, engine=engine, invariant=invariant)
    assert (choice.state == "default") is is_off
    if is_off:
        (warning,) = choice.warnings
        assert warning.startswith("off under VLLM_BATCH_INVARIANT=1: AUTOTUNE_FORCE=1 chooses")
        assert ask(file, engine=engine, invariant=invariant, force=True).state == "exact"
        named = ask(file, engine=engine, invariant=invariant, backend="swift")
        assert named.state == "override"


def test_another_profile_is_decided_from_what_was_measured(file: Path) -> None:
    tune(file)
    choice = ask(file, profile="chat")
    assert (choice.state, choice.source, choice.backend) == ("exact", "evidence", "swift")
    assert choice.decision is not None
    assert choice.decision.speedup_vs_default == pytest.approx(2.0)
    tune(file, profile=Profile("chat", {"q1s1k": 1.0}))
    assert ask(file, profile="chat").source == "cache"


def test_another_engine_is_decided_among_those_that_it_loads(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"vllm": {"attention_backend": "STEADY"}}
    install_plugin(monkeypatch, tmp_path / "v", f"'steady', engine_options={options!r}")
    tune(file)
    choice = ask(file, engine="vllm")
    # Decided with the first, and stored: its kernels were measured.
    assert (choice.state, choice.source, choice.backend) == ("exact", "cache", "steady")
    assert choice.engine_options == options["vllm"]
    chat = ask(file, engine="vllm", profile="chat")
    assert (chat.source, chat.backend) == ("evidence", "steady")


def test_what_was_measured_for_one_engine_alone_answers_no_other(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_plugin(monkeypatch, tmp_path / "v", f"'swift', engine_options={LOADABLE!r}")
    tune(file, wishes=Wishes("vllm", NO_FLEX))
    assert ask(file, engine="vllm").state == "exact"
    assert ask(file).state == "default"


def test_another_longest_context_is_another_question(file: Path) -> None:
    tune(file)
    longer = make_model(FULL, max_model_len=8192)
    choice = ask(file, model=longer, profile="chat")
    assert choice.state == "default"
    assert "max_model_len: 4096 is stored, 8192 is asked" in choice.why
    asked = Asked(Question(longer, "any", "balanced"), CPU_FOUND)
    (near,) = explain(asked, answer(asked, file), Layers.alone(file), Rules("any", BALANCED)).near
    assert near.differences == ("max_model_len: 4096 is stored, 8192 is asked",)


def test_a_split_whose_member_is_gone_becomes_the_single_winner(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune(file)
    seats = (
        '{"seats": {"full": {"decode": {"backend": "gone", "variant": "x",'
        ' "pages": {"size": 16, "layout": "NHD"}}}},'
        ' "score": 0.4, "gain": 0.2, "bound": 0.01, "regret": 0.0}'
    )
    tamper(file, f"UPDATE decisions SET split = '{seats}'")
    choice = ask(file)
    assert (choice.state, choice.backend) == ("exact", "swift")
    assert choice.decision is not None
    assert choice.decision.split is None
    assert "no split: gone:x cannot run any more (no such backend is installed)" in choice.why


def test_a_borrowed_answer_is_checked_against_this_device_too(file: Path) -> None:
    tune(file)
    choice = ask(file, SISTER, aliases=ALIASES, disabled=NO_FLEX | {"swift"})
    assert (choice.state, choice.backend) == ("borrowed", "steady")


def test_a_strict_override_under_a_deterministic_mode(file: Path) -> None:
    with pytest.raises(UsageError, match="no such backend is installed"):
        ask(file, backend="nope", strict=True, invariant=(("any", "X=1"),))


def test_a_caller_that_knows_of_a_deterministic_mode(file: Path) -> None:
    tune(file)
    asked = Asked(
        Question(MODEL, "any", "balanced"),
        CPU_FOUND,
        Settings(disabled=NO_FLEX),
        deterministic=True,
    )
    choice = answer(asked, file)
    assert choice.state == "default"
    assert choice.warnings[0].startswith("off under a deterministic mode: AUTOTUNE_FORCE=1")


def test_after_an_upgrade_explain_names_the_variants_that_are_stale(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_plugin(monkeypatch, tmp_path / "v", "'swift', packages=('torch', 'fast-kernels')")
    tune(file)
    write_distribution(tmp_path / "newer", "fast_kernels", "2.0")
    monkeypatch.syspath_prepend(str(tmp_path / "newer"))
    asked = Asked(Question(MODEL, "any", "balanced"), CPU_FOUND, Settings(disabled=NO_FLEX))
    found = explain(asked, answer(asked, file), Layers.alone(file), Rules("any", BALANCED))
    assert [(each.label, each.changes) for each in found.stale] == [
        ("swift:plain", ("fast-kernels was absent and is 2.0",))
    ]
    assert found.choice.state == "drifted"
    tune(file)
    again = explain(asked, answer(asked, file), Layers.alone(file), Rules("any", BALANCED))
    assert again.stale == ()
    assert again.choice.state == "exact"
