"""How backends are found, what is said of those that cannot be, and what all of them keep to."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import FakeBackend, write_distribution, write_plugin

import kernels_bench
from kernels_bench.backends import (
    Broken,
    FoundBackends,
    find_backend,
    find_backends,
    is_known,
    known_names,
    own_names,
)
from kernels_bench.backends.base import API, Backend
from kernels_bench.candidates import ask, choose_pages, survey
from kernels_bench.spec import AttentionSpec, Device, Mla, Pages, Phase, Reason, Support, Variant

PLUGINS = Path(__file__).parent / "plugins"
ROOT = Path(kernels_bench.__file__).parents[1]
CPU = Device("cpu", "CPU", "x86_64+avx2", 2, 16 << 30, 32 << 20)
DEVICES = (
    CPU,
    Device("cpu", "old CPU", "x86_64", 2, 16 << 30, 32 << 20),
    Device("cuda", "NVIDIA H100 80GB HBM3", "sm_90", 132, 80 << 30, 50 << 20),
    Device("rocm", "AMD Instinct MI300X", "gfx942", 304, 192 << 30, 256 << 20),
)
STACK = {"torch": "2.13.0", "c++": "12.2.0", "python-headers": "3.11.2"}
SPEC = AttentionSpec(8, 2, 64, "bfloat16", num_layers=4)
SPECS = (
    SPEC,
    replace(SPEC, sliding_window=128, has_sinks=True),
    replace(SPEC, attention_chunk=8192),
    replace(SPEC, logit_softcap=50.0, head_dim=256, dtype="float16"),
    replace(SPEC, kv_dtype="fp8_e4m3", has_alibi=True, causal=False),
    replace(SPEC, num_kv_heads=1, head_dim=576, head_dim_v=512, mla=Mla(512, 64, 128, 128)),
)
FOUND = find_backends()


@pytest.fixture
def broken_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("missing_library", "leaves", "mislabelled"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(PLUGINS / "broken"))


def names(backends: tuple[Backend, ...]) -> list[str]:
    return [backend.name for backend in backends]


def test_the_files_of_the_folder_are_found() -> None:
    folder = ROOT / "kernels_bench" / "backends"
    files = {file.stem for file in folder.glob("[!_]*.py")} - {"base"}
    assert files <= set(names(FOUND.backends))
    assert FOUND.broken == ()


def test_one_backend_can_be_found_alone() -> None:
    found = find_backend("torch_sdpa")
    assert isinstance(found, Backend)
    assert found.name == "torch_sdpa"
    assert find_backend("nobody") is None
    assert find_backend("base") is None


@pytest.mark.usefixtures("broken_plugins")
def test_entry_points_are_found_beside_the_folder() -> None:
    found = find_backend("works")
    assert isinstance(found, Backend)
    assert names(find_backends().backends) == [*names(FOUND.backends), "raises_when_asked", "works"]


@pytest.mark.usefixtures("broken_plugins")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "missing_library",
            "ModuleNotFoundError: No module named 'kernels_that_nobody_installed'",
        ),
        ("leaves", "SystemExit: no GPU found"),
        (
            "no_attribute",
            "AttributeError: module 'mislabelled' has no attribute 'BACKEND'",
        ),
        ("no_backend", "3 is no backend: needs name, variants, supports, prepare"),
        ("no_instance", "Plain is a class: expected an instance, Plain()"),
        ("other_name", "its BACKEND is named 'somebody_else': the two must be equal"),
        ("other_api", f"written for backend API 2, this is API {API}"),
    ],
)
def test_a_backend_that_cannot_be_loaded_is_broken_for_a_reason(name: str, message: str) -> None:
    assert find_backend(name) == Broken(name, message)
    assert Broken(name, message) in find_backends().broken


@pytest.mark.usefixtures("broken_plugins")
def test_a_built_in_backend_keeps_its_name_and_the_plug_in_is_told() -> None:
    found = find_backends()
    message = (
        "a built-in backend has this name: mislabelled:TAKEN_NAME of broken-backends not loaded;"
        " rename or uninstall it"
    )
    assert Broken("torch_sdpa", message) in found.broken
    assert names(found.backends).count("torch_sdpa") == 1
    assert find_backend("torch_sdpa") in find_backends().backends
    assert type(find_backend("torch_sdpa")).__module__ == "kernels_bench.backends.torch_sdpa"


def test_of_two_plug_ins_with_one_name_none_is_loaded_and_both_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plugin(tmp_path / "one", "swift", "raise AssertionError('it was imported')")
    entry_points = "[attn_autotune.backends]\nswift = steady:SWIFT\n"
    write_distribution(tmp_path / "other", "steady-kernels", "2.0", entry_points)
    monkeypatch.syspath_prepend(str(tmp_path / "one"))
    monkeypatch.syspath_prepend(str(tmp_path / "other"))
    broken = find_backend("swift")
    assert isinstance(broken, Broken)
    assert "steady:SWIFT of steady-kernels" in broken.message
    assert "swift:BACKEND of swift" in broken.message
    assert broken.message.endswith(" have the same name: none is loaded; uninstall all but one")
    assert find_backends() == FoundBackends(FOUND.backends, (broken,))


def test_names_are_known_without_an_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_plugin(tmp_path, "fatal", "import os\nos._exit(1)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert known_names() == (*own_names(), "fatal")
    assert is_known("fatal")
    assert is_known("torch_sdpa")
    assert not is_known("base")
    loaded: list[str] = []
    assert find_backends(without=("fatal",), on_load=loaded.append) == FOUND
    assert tuple(loaded) == own_names()


def test_what_a_plug_in_prints_before_it_leaves_is_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_plugin(tmp_path, "prints", "print('looking', 'around')\nprint('no GPU')\nexit(3)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert find_backend("prints") == Broken("prints", "SystemExit: 3: no GPU")
    assert capsys.readouterr() == ("", "looking around\nno GPU\n")


@pytest.mark.usefixtures("broken_plugins")
def test_a_backend_that_raises_when_asked_is_broken_and_gives_no_half_answer() -> None:
    asked = survey(find_backends(), CPU, STACK, (SPEC,), tuple(Phase))
    message = "asked, it raised KeyError: 'head_dim'"
    assert Broken("raises_when_asked", message) in asked.broken
    answered = {answer.backend for answer in asked.answers}
    assert answered == {*names(FOUND.backends), "works"}


def test_a_reason_is_one_line_whatever_was_raised() -> None:
    wordy = FakeBackend("wordy", raises="\n no GPU \n and a page of advice")
    asked = survey(FoundBackends((wordy,)), CPU, STACK, (SPEC,), (Phase.DECODE,))
    assert asked.broken == (Broken("wordy", "asked, it raised RuntimeError: no GPU"),)


def test_a_survey_holds_every_question() -> None:
    asked = survey(FOUND, CPU, STACK, (SPEC, SPECS[1]), (Phase.DECODE, Phase.MIXED))
    assert asked.asked == tuple(names(FOUND.backends))
    for backend in FOUND.backends:
        own = [answer for answer in asked.answers if answer.backend == backend.name]
        assert len(own) == 4 * len(backend.variants(CPU, SPEC, STACK))
        assert own[0].entrant.label == f"{backend.name}:{own[0].variant.name}"


class TakesPages:
    name = "takes_pages"

    def supports(self, *_: object) -> Support:
        return Support((Reason("arch", "arch x: too old"),))


def test_a_pinned_page_size_that_is_not_taken_is_one_more_reason() -> None:
    variant = Variant("plain", pages=(Pages(64, "HND"), Pages(64), Pages(16)))
    pinned = replace(SPEC, page_size=48)
    answer = ask(TakesPages(), variant, CPU, pinned, Phase.DECODE, STACK)  # type: ignore[arg-type]
    assert [(reason.field, reason.text) for reason in answer.support.reasons] == [
        ("arch", "arch x: too old"),
        ("page_size", "page_size 48: takes 16, 64"),
    ]


@pytest.mark.parametrize(
    ("pinned", "pages"),
    [(None, Pages(64, "HND")), (64, Pages(64, "HND")), (16, Pages(16)), (48, None)],
)
def test_the_preferred_pages_of_the_pinned_size_are_taken(
    pinned: int | None, pages: Pages | None
) -> None:
    variant = Variant("plain", pages=(Pages(64, "HND"), Pages(64), Pages(16)))
    assert choose_pages(variant, pinned) == pages


# The contract: what `kernels_bench/backends/base.py` asks of every backend, whoever wrote it.


@pytest.mark.parametrize("spec", SPECS, ids=range(len(SPECS)))
@pytest.mark.parametrize("device", DEVICES, ids=lambda device: device.name)
@pytest.mark.parametrize("backend", FOUND.backends, ids=lambda backend: backend.name)
def test_a_backend_answers_any_question(
    backend: Backend, device: Device, spec: AttentionSpec
) -> None:
    variants = backend.variants(device, spec, STACK)
    assert variants
    assert variants == backend.variants(device, spec, STACK)
    assert len({variant.name for variant in variants}) == len(variants)
    for variant in variants:
        assert variant.pages
        for phase in Phase:
            for stack in (STACK, {}):
                support = backend.supports(variant, device, spec, phase, stack)
                assert support == backend.supports(variant, device, spec, phase, stack)
                for reason in support.reasons:
                    assert reason.field
                    assert len(reason.text.splitlines()) == 1
                    assert ":" in reason.text


@pytest.mark.parametrize("backend", FOUND.backends, ids=lambda backend: backend.name)
def test_a_backend_needs_its_packages(backend: Backend) -> None:
    for variant in backend.variants(CPU, SPEC, STACK):
        for package in variant.packages:
            stack = {name: version for name, version in STACK.items() if name != package}
            support = backend.supports(variant, CPU, SPEC, Phase.DECODE, stack)
            assert package in "".join(reason.text for reason in support.reasons)


@pytest.mark.parametrize("backend", FOUND.backends, ids=lambda backend: backend.name)
def test_asking_a_backend_imports_nothing_heavy(backend: Backend) -> None:
    code = f"""
import json, sys
from kernels_bench.backends import find_backend
from kernels_bench.spec import AttentionSpec, Device, Phase
backend = find_backend({backend.name!r})
spec = AttentionSpec(8, 2, 64, "bfloat16", num_layers=4)
for kind, arch in (("cpu", "x86_64+avx2"), ("cuda", "sm_90"), ("rocm", "gfx942")):
    device = Device(kind, kind, arch, 2, 1 << 30, 1 << 20)
    for variant in backend.variants(device, spec, {STACK!r}):
        backend.supports(variant, device, spec, Phase.MIXED, {STACK!r})
print(json.dumps(sorted(sys.modules)))
"""
    shown = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT
    ).stdout
    loaded = {module.partition(".")[0] for module in json.loads(shown)}
    assert loaded & {"torch", "numpy", "triton", "rich"} == set()
