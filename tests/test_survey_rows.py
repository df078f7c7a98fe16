"""The tables of `autotune backends`: who can run which layers and phases, and why others cannot."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes import FULL, H100_FOUND, WINDOW, make_model

from autotune.elsewhere import Elsewhere
from autotune.report import print_survey
from autotune.survey_rows import able_rows, refusal_rows
from autotune.surveyed import Surveyed
from kernels_bench.backends import Broken
from kernels_bench.candidates import Answer, Survey
from kernels_bench.spec import AttentionSpec, Pages, Phase, Reason, Support, Variant

CAP = Reason("logit_softcap", "logit_softcap 50: the kernel cannot cap logits")
ONE = "takes one new token a request"
PACKAGE = Reason("package", "swift: not installed; pip install swift")


def answers(backend: str, variant: str, spec: AttentionSpec, *refused: Phase) -> list[Answer]:
    """A yes, but for some phases."""
    return [
        answer(backend, variant, spec, phase, *([CAP] if phase in refused else []))
        for phase in Phase
    ]


def answer(
    backend: str, variant: str, spec: AttentionSpec, phase: Phase, *reasons: Reason
) -> Answer:
    return Answer(backend, Variant(variant), spec, phase, Pages(16), Support(reasons))


def surveyed(*answered: Answer, broken: tuple[Broken, ...] = ()) -> Surveyed:
    return Surveyed(make_model(WINDOW, FULL), H100_FOUND, {}, Survey(answered, broken))


def test_layers_with_the_same_phases_share_a_row() -> None:
    alike = surveyed(*answers("swift", "a", WINDOW), *answers("swift", "a", FULL))
    assert list(able_rows(alike)) == [["swift", "a", "window, full", "every phase"]]
    assert list(refusal_rows(alike)) == []


def test_layers_with_other_phases_have_a_row_of_their_own() -> None:
    refused = (Phase.PREFILL, Phase.EXTEND, Phase.MIXED)
    apart = surveyed(*answers("swift", "a", WINDOW, *refused), *answers("swift", "a", FULL))
    assert list(able_rows(apart)) == [
        ["swift", "a", "window", "decode, verify"],
        ["swift", "a", "full", "every phase"],
    ]
    where = "window layers, prefill, extend, mixed"
    assert list(refusal_rows(apart)) == [["swift", "a", f"{where}: {CAP.text}"]]


def test_a_reason_stands_once_behind_the_phases_that_it_is_about() -> None:
    def decodes_alone(phase: Phase) -> tuple[Reason, ...]:
        one = Reason("phase", f"phase {phase.value}: {ONE}")
        return (PACKAGE,) if phase is Phase.DECODE else (PACKAGE, one)

    said = surveyed(
        *(
            answer("swift", "decode", spec, phase, *decodes_alone(phase))
            for spec in (WINDOW, FULL)
            for phase in Phase
        )
    )
    assert list(able_rows(said)) == []
    assert list(refusal_rows(said)) == [
        ["swift", "decode", PACKAGE.text],
        ["swift", "decode", f"prefill, extend, verify, mixed: {ONE}"],
    ]


def test_variants_with_the_same_reasons_share_rows_and_others_do_not() -> None:
    everywhere = [(spec, phase) for spec in (WINDOW, FULL) for phase in Phase]
    said = surveyed(
        *(answer("swift", "a", *place, PACKAGE) for place in everywhere),
        *(answer("swift", "b", *place, PACKAGE) for place in everywhere),
        *(answer("swift", "c", *place, PACKAGE, CAP) for place in everywhere),
        *(answer("slow", "a", *place, PACKAGE) for place in everywhere),
        *(answer("tiled", each, *place, CAP) for each in ("a", "b") for place in everywhere),
    )
    assert list(refusal_rows(said)) == [
        ["swift", "a, b", PACKAGE.text],
        ["swift", "c", PACKAGE.text],
        ["swift", "c", CAP.text],
        ["slow", "a", PACKAGE.text],
        ["tiled", "every variant", CAP.text],
    ]


def test_a_reason_that_names_its_variant_is_shared_all_the_same() -> None:
    said = surveyed(
        *(
            answer(
                "swift", name, spec, phase, Reason("engine", f"sglang: cannot load swift:{name}")
            )
            for name in ("a", "b")
            for spec in (WINDOW, FULL)
            for phase in Phase
        )
    )
    assert list(refusal_rows(said)) == [["swift", "every variant", "sglang: cannot load it"]]


def test_whoever_could_not_be_asked_is_named() -> None:
    broken = surveyed(broken=(Broken("deadly", "ImportError: no libcuda"),))
    assert list(refusal_rows(broken)) == [["deadly", "", "ImportError: no libcuda"]]
    model = replace(make_model(), unsupported=(CAP, PACKAGE))
    nothing = Surveyed(model, H100_FOUND, {}, Survey((), (), ("swift", "slow")))
    assert list(refusal_rows(nothing)) == [
        ["swift", "", CAP.text],
        ["swift", "", PACKAGE.text],
        ["slow", "", CAP.text],
        ["slow", "", PACKAGE.text],
    ]


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_pipe_names_the_backend_in_every_row_and_a_terminal_once(
    is_terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: is_terminal)
    refused = (answer("swift", "a", FULL, phase, PACKAGE, CAP) for phase in Phase)
    print_survey(surveyed(*answers("able", "a", WINDOW), *refused))
    printed = capsys.readouterr().out
    assert printed.index("can run") < printed.index("able") < printed.index("cannot")
    rows = [line for line in printed.splitlines() if line.lstrip().startswith("swift ")]
    assert len(rows) == (1 if is_terminal else 2)


@pytest.mark.parametrize(("is_here", "said"), [(True, "asked for"), (False, "not here: asked for")])
def test_the_title_says_whose_versions_these_are(
    is_here: bool, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = Elsewhere(H100_FOUND.device, {}, "the versions in what-if.json", is_here)
    print_survey(replace(surveyed(*answers("able", "a", FULL)), found=found))
    title, versions, *_ = capsys.readouterr().out.splitlines()
    assert title == "tiny on NVIDIA H100 80GB HBM3 (sm_90, 132 multiprocessors, 80 GiB)"
    assert versions == f"{said} the versions in what-if.json"
