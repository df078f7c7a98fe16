"""`docs/adding-a-backend.md`, followed word for word: its files are written, its commands run in
their order, and what they print is compared with what the page says.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path

import pytest
from bench_tasks import SPEC, examination

import autotune
import kernels_bench.backends
from kernels_bench.backends import find_backend, find_backends, own_names
from kernels_bench.backends.base import Backend
from kernels_bench.bench import Bench
from kernels_bench.messages import Examined, Passed
from kernels_bench.spec import AttentionSpec, Device, Phase, Variant

ROOT = Path(autotune.__file__).parents[1]
TEXT = (ROOT / "docs" / "adding-a-backend.md").read_text(encoding="utf-8")
NAME = "request_attention"
FILES = dict(re.findall(r"^`([^`\n]+)`:\n\n```\w+\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL))
CHECKS_THE_CONTRACT = "python -m pytest"
"""How the one command begins that is to be run in a checkout."""


@dataclass(frozen=True)
class Step:
    """A command of the page, and the lines that it is said to print."""

    command: str
    printed: tuple[str, ...]


def steps() -> tuple[Step, ...]:
    blocks = re.findall(r"^```sh\n(.*?)^```\n(?:\n```text\n(.*?)^```)?", TEXT, re.M | re.S)
    return tuple(Step(command.strip(), tuple(text.splitlines())) for command, text in blocks)


@dataclass(frozen=True)
class Workplace:
    """A reader's folder, and an environment of packages of its own."""

    folder: Path

    @property
    def site(self) -> Path:
        """What is installed."""
        return self.folder / "site"

    def write(self) -> None:
        """The page's files; and its programs, which are those of this Python."""
        for name, content in FILES.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        for program, words in {"autotune": "-m autotune", "pip": "-m pip", "python": ""}.items():
            path = self.folder / "bin" / program
            path.parent.mkdir(exist_ok=True)
            path.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
            path.chmod(0o755)

    def run(self, command: str) -> str:
        """What it prints; it must end well, and without a network."""
        done = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", command],
            capture_output=True,
            text=True,
            cwd=ROOT if command.startswith(CHECKS_THE_CONTRACT) else self.folder,
            env={
                **os.environ,
                "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
                "PYTHONPATH": f"{self.site}:{ROOT}",
                "PYTEST_ADDOPTS": "-p no:cacheprovider",
                "PIP_TARGET": str(self.site),
                "PIP_NO_INDEX": "1",
                "AUTOTUNE_CACHE": str(self.folder / "autotune.db"),
                "AUTOTUNE_DISABLE_BACKENDS": "torch_flex",  # it would compile for half a minute
                "OMP_WAIT_POLICY": "passive",
            },
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    place = Workplace(tmp_path_factory.mktemp("reader"))
    place.write()
    return place


@pytest.fixture(scope="module")
def installed(workplace: Workplace) -> Iterator[Path]:
    """The plug-in, installed by the page's first command and known to this process."""
    (install, *_) = steps()
    workplace.run(install.command)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(workplace.site))
        yield workplace.site
    sys.modules.pop(NAME, None)


def plain(line: str) -> str:
    """Without the widths of columns."""
    return " ".join(line.split())


def test_the_page_has_what_it_is_read_for() -> None:
    assert set(FILES) == {f"{NAME}/{NAME}.py", f"{NAME}/pyproject.toml"}
    commands = [step.command for step in steps()]
    assert commands[0].startswith("pip install ")
    assert [each for each in commands if CHECKS_THE_CONTRACT in each] == commands[-1:]
    assert {"backends", "bench", "choose"} <= {word for each in commands for word in each.split()}
    assert sum(bool(step.printed) for step in steps()) == 3


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("step", steps()[1:], ids=lambda step: step.command)
def test_a_command_prints_what_the_page_says(workplace: Workplace, step: Step) -> None:
    printed = list(map(plain, workplace.run(step.command).splitlines()))
    assert [line for line in step.printed if plain(line) not in printed] == []
    if " bench " in step.command:
        header, *rows = (line for line in printed if line)
        assert f"{NAME} plain" in " ".join(printed)
        assert not [row for row in rows if "wrong" in row or "failed" in row], header
    if step.command.startswith(CHECKS_THE_CONTRACT):
        assert re.search(r"^[1-9]\d* passed", printed[-1])


@pytest.mark.usefixtures("installed")
def test_the_example_is_right_on_every_hard_question() -> None:
    specs = (SPEC, replace(SPEC, num_q_heads=4, head_dim_v=32), replace(SPEC, sliding_window=24))
    with Bench() as bench:
        for spec in specs:
            for phase in Phase:
                asked = replace(examination(NAME, phase=phase), spec=spec)
                assert bench.examine(asked) == Examined((Passed(plan_waits=False),)), (spec, phase)


def test_the_same_file_works_in_our_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the one line changed that the page gives."""
    (line,) = re.findall(r"^```python\n(PACKAGES = .*)\n```$", TEXT, re.MULTILINE)
    source, changes = re.subn(r"^PACKAGES = .*$", line, FILES[f"{NAME}/{NAME}.py"], flags=re.M)
    assert changes == 1
    (tmp_path / f"{NAME}.py").write_text(source)
    folders = [*kernels_bench.backends.__path__, str(tmp_path)]
    monkeypatch.setattr(kernels_bench.backends, "__path__", folders)
    own_names.cache_clear()
    try:
        backend = find_backend(NAME)
        assert isinstance(backend, Backend)
        assert NAME in own_names()
        device = Device("cpu", "CPU", "x86_64", 2, 16 << 30, 32 << 20)
        (variant,) = backend.variants(device, SPEC, {})
        assert backend.supports(variant, device, SPEC, Phase.DECODE, {"torch": "2.13.0"})
    finally:
        own_names.cache_clear()
        sys.modules.pop(f"kernels_bench.backends.{NAME}", None)


def table(heading: str) -> list[list[str]]:
    """The cells of the rows of the first table under a heading, or after a bold word."""
    after = TEXT.partition(heading)[2]
    (rows,) = re.findall(r"\A.*?\n\|[-|]+\|\n((?:\|[^\n]*\n)+)", after, re.DOTALL)
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows.splitlines()]


def test_the_tables_of_the_contract_name_every_field() -> None:
    variant = {name for row in table("**`variants`**") for name in re.findall(r"\w+", row[0])}
    assert variant == {field.name for field in fields(Variant)}
    asked = {name for row in table("**`supports`**") for name in re.findall(r"\w+", row[0])}
    plain_attention = {
        "num_q_heads", "num_kv_heads", "head_dim", "dtype", "num_layers", "softmax_scale",
        "page_size", "has_mixed_windows",
    }  # fmt: skip
    assert asked == {field.name for field in fields(AttentionSpec)} - plain_attention


DEVICES = (
    Device("cpu", "CPU", "x86_64+avx512+amx", 2, 16 << 30, 32 << 20),
    Device("cuda", "NVIDIA H100 80GB HBM3", "sm_90", 132, 80 << 30, 50 << 20),
    Device("cuda", "NVIDIA B200", "sm_100", 148, 180 << 30, 126 << 20),
    Device("rocm", "AMD Instinct MI300X", "gfx942", 304, 192 << 30, 256 << 20),
)
OPEN = frozenset({"triton_unified", "triton_split"})
"""Their variants are shapes of tiles, which differ with the layer."""


@dataclass
class Row:
    """What the page says of some variants of a backend."""

    backend: str
    variants: set[str]
    devices: set[str]
    option: str


def rows() -> list[Row]:
    found: list[Row] = []
    for backends, variants, devices, option in table("## Which there are"):
        kinds = {"cpu", "cuda", "rocm"} if devices == "all" else set(devices.split(", "))
        names = re.findall(r"`([^`]+)`", backends) or [found[-1].backend]
        offered = set(re.findall(r"`([^`]+)`", variants))
        found += [Row(name, offered, kinds, option) for name in names]
    return found


def test_the_page_lists_every_backend_and_variant() -> None:
    spec = AttentionSpec(8, 2, 128, "bfloat16", num_layers=4)
    told = {row.backend: set[str]() for row in rows()}
    for row in rows():
        told[row.backend] |= row.variants
    own = [each for each in find_backends().backends if each.name in own_names()]
    assert set(told) == set(own_names())
    for backend in own:
        there = {v.name for each in DEVICES for v in backend.variants(each, spec, {})}
        if backend.name not in OPEN:
            assert told[backend.name] == there, backend.name


@pytest.mark.parametrize(
    "row", rows(), ids=lambda row: f"{row.backend}-{min(row.variants, default='')}"
)
def test_the_page_is_right_about_devices_and_options(row: Row) -> None:
    backend = find_backend(row.backend)
    assert isinstance(backend, Backend)
    spec = AttentionSpec(8, 2, 128, "bfloat16", num_layers=4)
    loaded: dict[str, set[str]] = {}
    for device in DEVICES:
        for variant in backend.variants(device, spec, {}):
            if variant.name not in row.variants and row.backend not in OPEN:
                continue
            support = backend.supports(variant, device, spec, Phase.DECODE, {})
            is_refused = any(reason.field == "device" for reason in support.reasons)
            assert is_refused == (device.kind not in row.devices), (variant.name, device)
            for engine, options in variant.engine_options.items():
                loaded.setdefault(engine, set()).add(str(options["attention_backend"]))
    words = {engine: f"{engine}: `attention_backend` `{w}`" for engine, (w,) in loaded.items()}
    assert row.option.startswith("".join(words.values()))
    assert bool(row.option) == bool(words)
