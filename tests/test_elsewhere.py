"""A cache that was copied from the machine with the GPU, asked on one without."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cli_runs import CHOICE, error, run, run_json
from cli_runs import tune as tune_here
from fakes import (
    CPU,
    CPU_FOUND,
    H100,
    H100_FOUND,
    FakeBench,
    install_plugin,
    write_distribution,
)

import autotune
from autotune._store import Layers, Store, list_decisions
from autotune.chooser import choose
from autotune.decision import Choice
from autotune.elsewhere import Elsewhere, device_line, find_anywhere, fitting
from autotune.errors import UsageError
from autotune.given_stack import GivenStack, read_stack
from autotune.incumbents import default_order
from autotune.job import Job
from autotune.keys import Question, versions_of
from autotune.models import ModelConfig, ModelRequest, load_model
from autotune.profiles import BALANCED
from autotune.settings import Settings
from autotune.today import Asked
from autotune.tuner import warm
from autotune.wishes import Wishes
from kernels_bench.backends import find_backends
from kernels_bench.candidates import survey
from kernels_bench.devices import FoundDevice, find_device
from kernels_bench.errors import DeviceError
from kernels_bench.spec import Device, Phase, Stack

ROOT = Path(autotune.__file__).parents[1]
MIG = replace(H100, partition="1g.10gb", multiprocessors=16, memory_bytes=10 << 30)
A100 = replace(H100, name="NVIDIA A100-SXM4-80GB", arch="sm_80", multiprocessors=108)
MI300X = Device("rocm", "AMD Instinct MI300X", "gfx942", 304, 192 << 30, 256 << 20)
FAST = {"swift": 50.0, "steady": 70.0, "slow": 90.0}
REFUSES = "'swift', refusals=dict.fromkeys(Phase, (Reason('arch', 'arch sm_90: too new'),))"
PICKY = """
from fakes import FakeBackend
from kernels_bench.spec import Reason, Support

class Picky(FakeBackend):
    def supports(self, variant, device, spec, phase, stack):
        ok = stack.get("torch") == "9.9.8" and stack.get("nvidia-driver") == "580.1"
        return Support() if ok else Support((Reason("package", f"sees {dict(stack)}"),))

BACKEND = Picky("swift")
"""


@pytest.fixture(autouse=True)
def _plugins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Backends that run wherever they are asked, as our own refuse a GPU that is not here."""
    for name in FAST:
        install_plugin(monkeypatch, tmp_path / "plugins", f"'{name}'")


@pytest.fixture
def model(tiny: str) -> ModelConfig:
    return load_model(ModelRequest(tiny))


def tune(file: Path, model: ModelConfig, device: Device = H100, torch: str = "9.9.8") -> None:
    """Fill the cache as `warm` does on another machine, whose torch is another one."""
    with pytest.MonkeyPatch.context() as there:
        folder = file.parent / f"torch-{torch}"
        if not folder.exists():
            write_distribution(folder, "torch", torch)
        there.syspath_prepend(str(folder))
        found = FoundDevice("cuda:0", device, H100_FOUND.driver)
        able = tuple(b for b in find_backends().backends if b.name in FAST)
        with Store.open(file) as store:
            warm(Job(model, found, BALANCED, Wishes("any")), store, FakeBench(FAST, able))


def find(name: str, model: ModelConfig, file: Path) -> FoundDevice | Elsewhere:
    return find_anywhere(name, Question(model, "any", "balanced"), Layers.alone(file))


def ask(
    file: Path,
    model: ModelConfig,
    settings: Settings = Settings(),  # noqa: B008 - frozen
    name: str = "h100",
) -> Choice:
    asked = Asked(Question(model, "any", "balanced"), find(name, model, file), settings, True)
    return choose(asked, file)


# Which device a name means


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("NVIDIA A100-SXM4-80GB", [A100]),
        ("nvidia a100-sxm4-80gb", [A100]),
        ("a100", [A100]),
        ("SXM4 A100", [A100]),
        ("sm_80", [A100]),
        ("h100", [H100, MIG]),
        ("NVIDIA H100 80GB HBM3", [H100, MIG]),
        ("nvidia", [A100, H100, MIG]),
        ("h100 132", [H100]),
        ("h100 1g.10gb", [MIG]),
        ("1g.10gb", [MIG]),
        ("fake", [CPU]),
        ("avx512", []),
        ("h10", []),
        ("b200", []),
        ("", []),
        ("()", []),
    ],
)
def test_every_word_must_be_one_of_the_device_s_line(name: str, expected: list[Device]) -> None:
    assert list(fitting(name, [CPU, A100, H100, MIG])) == expected


def test_a_whole_line_or_name_beats_another_that_has_its_words_too() -> None:
    whole = replace(H100, partition="7g.80gb")
    assert fitting(device_line(H100), [H100, whole]) == (H100,)
    assert fitting(device_line(whole), [H100, whole]) == (whole,)
    plain = replace(H100, name="NVIDIA H100")
    assert fitting("nvidia h100", [H100, plain]) == (plain,)


def test_what_differs_is_in_the_line() -> None:
    other_cache = replace(CPU, last_level_cache_bytes=16 << 20)
    assert len({device_line(each) for each in (CPU, other_cache, A100, H100, MIG)}) == 5


def test_a_name_means_the_device_as_it_was_measured(file: Path, model: ModelConfig) -> None:
    tune(file, model)
    (stored,) = list_decisions(file)
    found = find("h100", model, file)
    assert isinstance(found, Elsewhere)
    assert found.device == H100
    assert found.stack["torch"] == "9.9.8"
    assert found.stack["nvidia-driver"] == "580.1"
    created_at = stored.decision.provenance.created_at
    assert found.source == f"the versions under which it was measured on {created_at[:10]}"


def test_the_newest_decision_for_the_question_gives_the_versions(
    file: Path, model: ModelConfig
) -> None:
    tune(file, model, torch="9.9.7")
    tune(file, model, torch="9.9.8")
    tune(file, replace(model, max_model_len=64), torch="9.9.9")
    with Store.open(file) as store:
        for year, stored in enumerate(reversed(list_decisions(file))):
            later = replace(stored.decision.provenance, created_at=f"{2100 + year}-01-01")
            store.put_decision(replace(stored.decision, provenance=later))
    found, other = find("h100", model, file), find("h100", replace(model, name="x"), file)
    assert isinstance(found, Elsewhere)
    assert found == other
    assert found.stack["torch"] == "9.9.8"
    assert found.source.endswith(" on 2101-01-01")
    unknown = find("h100", replace(model, max_model_len=32), file)
    assert isinstance(unknown, Elsewhere)
    assert unknown.stack["torch"] == "9.9.9"


def test_a_stored_device_that_is_here_is_the_one_that_is_here(
    file: Path, tiny: str, model: ModelConfig
) -> None:
    here = find_device("cpu")
    tune_here(file, tiny)
    tune(file, model)
    assert find(here.device.name, model, file) == here
    assert find("cpu", model, file) == here


def test_a_name_that_fits_several_lists_what_tells_them_apart(
    file: Path, model: ModelConfig
) -> None:
    tune(file, model)
    tune(file, model, MIG)
    with pytest.raises(DeviceError) as caught:
        find("h100", model, file)
    said = str(caught.value)
    assert said.startswith(f"device 'h100' fits 2 devices of {file}; add words")
    assert "132 multiprocessors, 80 GiB" in said
    assert "16 multiprocessors, 10 GiB, 1g.10gb" in said
    found = find("h100 1g.10gb", model, file)
    assert isinstance(found, Elsewhere)
    assert found.device == MIG


def test_a_name_that_fits_none_lists_what_is_known_and_what_is_here(
    file: Path, model: ModelConfig
) -> None:
    tune(file, model)
    with pytest.raises(DeviceError) as caught:
        find("b999", model, file)
    first, second = str(caught.value).splitlines()
    assert first.startswith("device 'b999': expected auto, cpu, cuda:N, rocm:N, or words of")
    assert ", or one of a100, " in first
    assert ", mi300x, " in first
    assert second.startswith(f"{file} knows: NVIDIA H100 80GB HBM3 (sm_90, 132 multiprocessors")
    assert f"here are: cpu ({find_device('cpu').device.name})" in second


def test_a_cache_that_is_not_there_knows_no_device(file: Path, model: ModelConfig) -> None:
    with pytest.raises(DeviceError, match="knows: no device yet; here are: "):
        find("b999", model, file)
    assert not file.exists()


@pytest.mark.parametrize("change", [{"runners_up": "{broken"}, {"versions": "3"}])
def test_a_device_with_damaged_decisions_alone_is_not_known(
    file: Path, model: ModelConfig, change: dict[str, str]
) -> None:
    tune(file, model)
    (stored,) = list_decisions(file)
    with Store.open(file) as store:
        store.forget([stored.id])
        store.put_decision(replace(stored.decision, **change))
    with pytest.raises(DeviceError, match="knows: no device yet"):
        find("b999", model, file)


# Of the catalogue


def test_what_the_cache_does_not_know_is_asked_of_the_catalogue(
    file: Path, model: ModelConfig
) -> None:
    tune(file, model)
    found = find("MI300X", model, file)
    assert isinstance(found, Elsewhere)
    assert found.device.name == "AMD Instinct MI300X"
    assert found.note == (
        "AMD Instinct MI300X is not on this machine: answered for the versions of vLLM 0.24.0's"
        " image for ROCm 7.2.3"
    )


def test_the_cache_knows_better_than_the_catalogue(file: Path, model: ModelConfig) -> None:
    tune(file, model)
    found = find("h100", model, file)
    assert isinstance(found, Elsewhere)
    assert (found.device, found.stack["torch"]) == (H100, "9.9.8")


def test_a_short_name_that_is_no_word_finds_the_stored_device(
    file: Path, model: ModelConfig
) -> None:
    """The driver counts less memory than the data sheet, and says no "7900xtx"."""
    radeon = Device("rocm", "AMD Radeon RX 7900 XTX", "gfx1100", 96, 25753026560, 96 << 20)
    tune(file, model, radeon)
    found = find("7900xtx", model, file)
    assert isinstance(found, Elsewhere)
    assert (found.device, found.stack["torch"]) == (radeon, "9.9.8")


def test_a_catalogued_device_that_is_here_is_the_one_that_is_here(
    file: Path, model: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = replace(H100, memory_bytes=85520809984, power_limit_w=500)
    here = FoundDevice("cuda:0", measured, H100_FOUND.driver)
    monkeypatch.setattr("autotune.elsewhere.find_devices", lambda: (here, CPU_FOUND))
    assert find("h100", model, file) is here
    assert isinstance(find("h200", model, file), Elsewhere)


def test_words_that_fit_several_of_the_catalogue_list_their_short_names(
    file: Path, model: ModelConfig
) -> None:
    with pytest.raises(DeviceError) as caught:
        find("gfx942", model, file)
    assert str(caught.value) == (
        "device 'gfx942' fits 2 devices of the catalogue; take a short name:"
        " mi300x (AMD Instinct MI300X), mi325x (AMD Instinct MI325X)"
    )


def test_the_default_of_a_device_that_nobody_measured(
    file: Path, model: ModelConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = "nobody_else"
    install_plugin(monkeypatch, tmp_path / "more", f"'{last}'")
    monkeypatch.setattr("autotune.unmeasured.default_order", lambda *_: (last,))
    choice = ask(file, model, name="mi300x")
    assert (choice.state, choice.backend, choice.decision) == ("default", last, None)
    assert choice.why == (
        "AMD Instinct MI300X is not on this machine: answered for the versions of vLLM 0.24.0's"
        " image for ROCm 7.2.3; nothing is measured for tiny on AMD Instinct MI300X;"
        " autotune warm measures it there"
    )


# Under a stack that the user wrote down


def given(tmp_path: Path, versions: Stack) -> GivenStack:
    (tmp_path / "what-if.json").write_text(json.dumps(versions))
    return read_stack(tmp_path / "what-if.json")


def test_a_given_stack_stands_for_all_that_is_documented(file: Path, tmp_path: Path) -> None:
    stack = given(tmp_path, {"Torch": "9.9.9", "amd_aiter": "1.0"})
    found = find_anywhere("mi300x", None, Layers.alone(file), stack)
    assert isinstance(found, Elsewhere)
    assert found.stack == {"torch": "9.9.9", "amd-aiter": "1.0"}
    assert found.note == (
        f"AMD Instinct MI300X is not on this machine: answered for the versions in {stack.file}"
    )


def test_a_given_stack_stands_for_what_is_installed_here(
    file: Path, model: ModelConfig, tmp_path: Path
) -> None:
    stack = given(tmp_path, {"torch": "9.9.9"})
    found = find_anywhere("cpu", None, Layers.alone(file), stack)
    assert isinstance(found, Elsewhere)
    assert found.device == find_device("cpu").device
    choice = choose(Asked(Question(model, "any", "balanced"), found), file)
    start = f"answered for the versions in {stack.file}, and not for what is installed here; "
    assert choice.why.startswith(start)
    assert choice.why.endswith("autotune warm measures it here")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "no JSON"),
        ("[]", "expected a JSON object of versions"),
        ('{"torch": 2}', "torch is 2; expected"),
        ('{"torch": ""}', 'torch is ""; expected'),
        ('{"torch": null}', "torch is null; expected"),
    ],
)
def test_a_stack_that_is_none_says_what_it_should_be(
    tmp_path: Path, content: str, said: str
) -> None:
    path = tmp_path / "stack.json"
    path.write_text(content)
    with pytest.raises(UsageError) as caught:
        read_stack(path)
    assert str(caught.value).startswith(f"--stack {path}: {said}")
    assert "\n" not in str(caught.value)


def test_a_stack_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file or directory"):
        read_stack(tmp_path / "none.json")
    (tmp_path / "binary").write_bytes(b"\xff")
    with pytest.raises(UsageError, match="no JSON"):
        read_stack(tmp_path / "binary")


# What is answered for it


def test_a_hit_is_exact_for_the_versions_of_its_measurement(file: Path, model: ModelConfig) -> None:
    tune(file, model)
    choice = ask(file, model)
    assert (choice.state, choice.backend, choice.device) == ("exact", "swift", H100)
    assert choice.decision is not None
    assert choice.why == (
        "NVIDIA H100 80GB HBM3 is not on this machine: answered for the versions under which it"
        f" was measured on {choice.decision.measured_at[:10]}; {choice.decision.why}"
    )


def test_the_winner_is_asked_under_the_versions_of_its_measurement(
    file: Path, model: ModelConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune(file, model)
    install_plugin(monkeypatch, tmp_path / "picky", "'swift'")
    (tmp_path / "picky" / "swift.py").write_text(PICKY)
    assert ask(file, model).backend == "swift"


def test_a_winner_that_refuses_or_is_not_installed_here_gives_way_and_is_named(
    file: Path, model: ModelConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune(file, model)
    install_plugin(monkeypatch, tmp_path / "changed", REFUSES)
    choice = ask(file, model)
    assert (choice.state, choice.backend) == ("exact", "steady")
    assert "; swift:plain cannot be taken here (arch sm_90: too new); " in choice.why


def test_nothing_stored_for_the_model_is_the_default_of_that_device(
    file: Path, model: ModelConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = "nobody_else"
    tune(file, model, MI300X)
    install_plugin(monkeypatch, tmp_path / "more", f"'{last}'")
    monkeypatch.setattr("autotune.unmeasured.default_order", lambda *_: ("swift", last))
    disabled = Settings(disabled=frozenset({"swift"}))
    choice = ask(file, replace(model, max_model_len=32), disabled, "mi300x")
    assert (choice.state, choice.backend, choice.decision) == ("default", last, None)
    assert choice.why.startswith("AMD Instinct MI300X is not on this machine: ")
    assert "; nothing is measured for tiny on AMD Instinct MI300X (nearest is" in choice.why
    assert "max_model_len: 256 is stored, 32 is asked" in choice.why
    assert choice.why.endswith("; autotune warm measures it there")


def test_nobody_in_the_default_s_order_is_no_backend_with_every_reason(
    file: Path, model: ModelConfig
) -> None:
    tune(file, model)
    disabled = frozenset(default_order("any", H100))
    choice = ask(file, replace(model, max_model_len=32), Settings(disabled=disabled))
    assert (choice.state, choice.backend, choice.candidate) == ("default", None, None)
    assert "; no backend can run tiny there: " in choice.why


def test_an_override_holds_there_too(file: Path, model: ModelConfig) -> None:
    tune(file, model)
    choice = ask(file, model, Settings(backend="slow"))
    assert (choice.state, choice.backend) == ("override", "slow")
    assert choice.why.startswith("NVIDIA H100 80GB HBM3 is not on this machine: ")
    with pytest.raises(UsageError, match=r"nope cannot be taken: .* \(cannot run there\)"):
        ask(file, model, Settings(backend="nope", disabled=frozenset({"slow"})))


# The command line


def test_choose_by_name(file: Path, model: ModelConfig, tiny: str, tmp_path: Path) -> None:
    copied = tmp_path / "copied.db"
    tune(copied, model)
    base = ("choose", "--model", tiny, "--cache", str(copied), "--assert-hit")
    payload = run_json(*base, "--device", "NVIDIA H100 80GB HBM3")
    assert set(payload) == CHOICE | {"per_phase"}
    assert (payload["state"], payload["backend"]) == ("exact", "swift")
    assert (payload["device"]["name"], payload["device"]["power_limit_w"]) == (H100.name, 700)
    assert run_json(*base, "--device", "h100") == payload
    assert run(*base, "--device", "H100").stdout.startswith("exact: swift:plain, pages of 16")
    assert not file.exists()


def test_choose_by_name_is_a_process_without_torch(
    file: Path, model: ModelConfig, tiny: str, tmp_path: Path
) -> None:
    tune(file, model)
    code = (
        "import sys; from autotune.commands import cli; cli(standalone_mode=False);"
        "assert not {'torch', 'numpy', 'rich', 'sqlite_utils'} & set(sys.modules)"
    )
    path = (tmp_path / "plugins", ROOT, ROOT / "tests")
    done = subprocess.run(
        [sys.executable, "-c", code, "choose", "--model", tiny, "--device", "h100", "--json"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["state"] == "exact"


@pytest.mark.parametrize(
    "command",
    [("warm",), ("bench", "--workload", "q1s1k")],
    ids=lambda command: command[0],
)
@pytest.mark.parametrize("name", ["h100", "mi300x"])
def test_a_command_that_needs_the_device_says_so(
    file: Path, model: ModelConfig, tiny: str, command: tuple[str, ...], name: str
) -> None:
    tune(file, model)
    said = error(*command, "--model", tiny, "--device", name)
    assert said.startswith(
        f"autotune: device '{name}': expected auto, cpu, cuda:N or rocm:N, as this"
    )
    assert f"here are: cpu ({find_device('cpu').device.name})" in said
    assert said.count("\n") == 1


SURVEYED = {"schema", "backend", "variant", "spec", "phase", "supported", "reasons"}


def test_backends_of_a_device_that_nobody_has(file: Path) -> None:
    rows = run_json("backends", "--model", "gemma-2-9b", "--device", "mi300x")
    assert all(set(row) == SURVEYED for row in rows)
    assert {row["phase"] for row in rows} == {phase.value for phase in Phase}
    said = {row["backend"]: row for row in rows}
    assert {reason["field"] for reason in said["flash_attn"]["reasons"]} >= {"device"}
    assert said["swift"]["supported"] is True
    assert not file.exists()


def test_backends_heeds_an_engine_that_must_not_depend_on_the_batch(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_BATCH_INVARIANT", "1")
    asked = ("backends", "--model", "llama-3.1-8b", "--device", "h100")
    for engine, is_meant in (("vllm", True), ("any", False)):
        rows = run_json(*asked, "--engine", engine)
        fields = {
            reason["field"] for row in rows if row["backend"] == "flashinfer"
            for reason in row["reasons"]
        }  # fmt: skip
        assert ("batch_invariant" in fields) == is_meant


def test_the_survey_s_title_says_where_the_device_is_and_whose_versions_these_are(
    tiny: str, tmp_path: Path
) -> None:
    base = ("backends", "--model", tiny, "--device")
    title = " ".join(run(*base, "strix-halo").stdout.split()[:40])
    assert title.startswith(
        "tiny on AMD Radeon 8060S Graphics (gfx1151, 40 multiprocessors, 96 GiB"
    )
    assert "not here: asked for the versions of vLLM 0.24.0's image for ROCm 7.2.3" in title
    stack = str(given(tmp_path, {"torch": "9.9.9"}).file)
    title = " ".join(run(*base, "cpu", "--stack", stack).stdout.split()[:30])
    assert "not here" not in title
    assert "asked for the versions in" in title


def test_backends_of_a_device_in_the_cache_are_asked_for_its_versions(
    file: Path, model: ModelConfig, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune(file, model)
    install_plugin(monkeypatch, tmp_path / "picky", "'swift'")
    (tmp_path / "picky" / "swift.py").write_text(PICKY)
    base = ("backends", "--model", tiny, "--device", "h100")

    def able(*more: str) -> set[bool]:
        rows = run_json(*base, *more)
        return {row["supported"] for row in rows if row["backend"] == "swift"}

    assert able() == {True}
    assert able("--cache", str(tmp_path / "empty.db")) == {False}
    stack = given(tmp_path, {"torch": "9.9.8", "nvidia-driver": "580.1"}).file
    assert able("--cache", str(tmp_path / "empty.db"), "--stack", str(stack)) == {True}


@pytest.mark.parametrize("command", ["choose", "explain"])
def test_an_answer_for_a_device_that_nobody_has(command: str, tiny: str, tmp_path: Path) -> None:
    base = (command, "--model", tiny, "--device", "mi300x")
    payload = run_json(*base)
    assert (payload["state"], payload["device"]["name"]) == ("default", "AMD Instinct MI300X")
    assert payload["why"].startswith("AMD Instinct MI300X is not on this machine: answered for ")
    stack = str(given(tmp_path, {"torch": "9.9.9"}).file)
    assert f"answered for the versions in {stack}" in run_json(*base, "--stack", stack)["why"]
    said = error(*base, "--stack", "nope.json", code=2)
    assert said == "autotune: --stack nope.json: No such file or directory\n"


@pytest.mark.parametrize("command", ["backends", "choose"])
def test_a_device_of_the_catalogue_costs_the_parent_no_torch(tiny: str, command: str) -> None:
    code = (
        "import sys; from autotune.commands import cli; cli(standalone_mode=False);"
        "assert not {'torch', 'triton'} & set(sys.modules)"
    )
    asked = (command, "--model", tiny, "--device", "mi300x", "--json")
    done = subprocess.run(
        [sys.executable, "-c", code, *asked],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)


def test_a_start_loads_no_catalogue(tiny: str) -> None:
    code = (
        "import sys, autotune; autotune.choose(sys.argv[1], device='cpu');"
        "assert not [name for name in sys.modules if 'catalogue' in name]"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tiny],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_ls_of_one_device(file: Path, tiny: str, model: ModelConfig) -> None:
    tune(file, model)
    tune(file, model, MIG)
    tune_here(file, tiny)

    def listed(*device: str) -> list[tuple[str, str]]:
        rows = run_json("cache", "ls", *device)["decisions"]
        return [(row["device"]["kind"], row["device"]["partition"]) for row in rows]

    assert sorted(listed()) == [("cpu", ""), ("cuda", ""), ("cuda", "1g.10gb")]
    assert sorted(listed("--device", "h100")) == [("cuda", ""), ("cuda", "1g.10gb")]
    assert listed("--device", "h100 132") == [("cuda", "")]
    assert listed("--device", "cpu") == [("cpu", "")]
    assert listed("--device", "b200") == []
    none = run("cache", "ls", "--device", "b200")
    assert (none.stdout, none.stderr.count("\n")) == ("", 1)
    assert f"no decision for device 'b200'; {file} knows: " in none.stderr
    assert "cuda:9 is not here" in error("cache", "ls", "--device", "cuda:9")
    said = run("cache", "ls").stdout
    assert device_line(MIG) in said
    assert device_line(H100) in said
    assert device_line(H100) not in run("cache", "ls", "--device", "h100 132").stdout
    assert {row["device"]["power_limit_w"] for row in run_json("cache", "ls")["decisions"]} >= {700}


def test_the_fake_devices_are_not_here() -> None:
    assert find_device("cpu").device.name not in (CPU_FOUND.device.name, H100.name)


INSTALLED = {
    "torch": "2.11.0", "triton": "3.6.0", "cuda": "13.0", "nvcc": "13.0", "vllm": "0.24.0",
    "flashinfer-python": "0.6.12", "flashinfer-cubin": "0.6.12", "flash-attn": "2.8.3",
    "flash-attn-3": "3.0.0", "nvidia-driver": "580.159.04", "cuda-driver": "13.0", "ninja": "1.13",
}  # fmt: skip


@pytest.mark.parametrize("model", ["llama-3.1-8b", "gemma-2-9b", "gpt-oss-20b"])
def test_what_a_decision_records_is_all_that_our_backends_ask_of_a_stack(model: str) -> None:
    specs, found = load_model(ModelRequest(model)).specs, find_backends()
    there = survey(found, H100, INSTALLED, specs, tuple(Phase))
    packages = {name for answer in there.answers for name in answer.variant.packages}
    versions = versions_of(packages, INSTALLED)
    recorded = {name: version for name, version in versions.items() if version is not None}
    assert survey(found, H100, recorded, specs, tuple(Phase)) == there
