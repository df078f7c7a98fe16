from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

import pytest

from kernels_bench import toolchain
from kernels_bench.devices import FoundDevice
from kernels_bench.spec import Device
from kernels_bench.stack import (
    find_stack,
    full_stack,
    installed,
    normalised,
    torch_built_for,
    version_of,
)
from kernels_bench.toolchain import (
    compiler_version,
    headers_version,
    ninja_version,
    nvcc_version,
)

DRIVER = {"nvidia-driver": "580.159.04", "cuda-driver": "13.0"}
GPU = FoundDevice("cuda:0", Device("cuda", "NVIDIA H100", "sm_90", 132, 80 << 30, 1), DRIVER)
CPU = FoundDevice("cpu", Device("cpu", "AMD EPYC", "x86_64", 2, 1 << 34, 1 << 25))
HEADERS = version_of("python-headers", CPU)
"""Looked up here, since sysconfig imports a module of its own that a test's sys.path lacks."""


def install(folder: Path, name: str, metadata: str | bytes | None) -> None:
    info = folder / f"{name}-1.dist-info"
    info.mkdir(parents=True)
    if isinstance(metadata, str):
        (info / "METADATA").write_text(metadata)
    elif metadata is not None:
        (info / "METADATA").write_bytes(metadata)


@pytest.fixture(autouse=True)
def bare(tmp_path, monkeypatch):
    """A machine without a compiler, whose torch, if it has one, nobody has imported."""
    for name in ("CXX", "CUDA_HOME", "CUDA_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(toolchain, "DEFAULT_CUDA_HOME", tmp_path / "no_cuda")
    monkeypatch.delitem(sys.modules, "torch", raising=False)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """The one folder of sys.path that has distributions."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    return tmp_path


def install_torch(folder: Path, version_py: str | bytes) -> None:
    package = folder / "torch"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('torch was imported')\n")
    if isinstance(version_py, bytes):
        (package / "version.py").write_bytes(version_py)
    else:
        (package / "version.py").write_text(version_py)


def compiler(folder: Path, name: str, script: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_versions_are_found_by_any_spelling_and_absent_ones_are_left_out(site):
    install(site, "Flash_Attn", "Metadata-Version: 2.1\nName: Flash_Attn\nVersion: 2.8.3+cu129\n")
    names = ["flash-attn", "xformers"]
    assert installed(names) == {"flash-attn": "2.8.3+cu129"}
    assert find_stack(GPU, names) == {"flash-attn": "2.8.3+cu129", **DRIVER}


def test_the_full_stack_has_normalised_names_and_the_first_on_the_path(tmp_path, monkeypatch):
    install(tmp_path / "one", "Ruamel.Yaml", "Name: Ruamel.Yaml\nVersion: 1.0\n")
    install(tmp_path / "two", "ruamel_yaml", "Name: ruamel_yaml\nVersion: 2.0\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "one"), str(tmp_path / "two")])
    assert full_stack(GPU) == {"ruamel-yaml": "1.0", **DRIVER}


@pytest.mark.parametrize(
    "metadata",
    [None, "", "Name: torch\n", "Name: torch\n\nVersion: 9 says the README\n", b"Name: \xff\xfe\n"],
)
def test_a_distribution_without_readable_metadata_is_not_installed(site, metadata):
    install(site, "torch", metadata)
    assert find_stack(GPU, ["torch"]) == DRIVER
    assert full_stack(GPU) == DRIVER
    assert version_of("torch", GPU) is None


def test_what_is_installed_meanwhile_is_found(site):
    assert installed(["fast-kernels"]) == {}
    install(site, "fast_kernels", "Name: fast-kernels\nVersion: 2.0\n")
    os.utime(site, ns=(1, 1))  # however coarse the file system's clock is
    assert installed(["fast-kernels"]) == {"fast-kernels": "2.0"}


def test_a_compiler_is_asked_again_when_it_is_another(tmp_path, monkeypatch):
    asked, path = tmp_path / "asked", {"PATH": str(tmp_path)}
    compiler(tmp_path, "g++", f"echo >> {asked}; echo 13.1.0")
    for _ in range(3):
        assert compiler_version(path) == "13.1.0"
    assert asked.read_text() == "\n"
    compiler(tmp_path, "g++", "echo 14.20.0")
    assert compiler_version(path) == "14.20.0"


def test_one_entry_is_looked_up_by_name(site):
    install(site, "triton", "Name: triton\nVersion: 3.6.0\n")
    assert version_of("triton", GPU) == "3.6.0"
    assert version_of("nvidia-driver", GPU) == "580.159.04"
    assert version_of("nvidia-driver", CPU) is None
    assert version_of("flashinfer-python", GPU) is None


def test_a_cpu_has_the_compiler_and_the_headers(site, monkeypatch):
    compiler(site, "mycxx", "echo 14.2.0")
    monkeypatch.setenv("CXX", "mycxx")
    stack = full_stack(CPU)
    assert stack["c++"] == "14.2.0" == version_of("c++", CPU)
    assert stack.get("python-headers") == HEADERS
    assert set(stack) <= {"c++", "python-headers"}


def test_a_gpu_has_what_its_kernels_are_compiled_with(site):
    compiler(site, "g++", "echo 14.2.0")
    compiler(site, "nvcc", f"echo '{NVCC}'")
    compiler(site, "ninja", "echo 1.12.1")
    tools = {"c++": "14.2.0", "nvcc": "13.0", "ninja": "1.12.1"}
    assert full_stack(GPU) == {**DRIVER, **tools}
    assert {name: version_of(name, GPU) for name in tools} == tools


@pytest.mark.parametrize("found", [GPU, CPU], ids=["gpu", "cpu"])
@pytest.mark.parametrize("has_ninja_of_pip", [True, False])
def test_named_or_not_a_version_is_the_same(site, found, has_ninja_of_pip):
    """A measurement keeps what the full stack says; an engine's start looks up the names."""
    for name in ("g++", "nvcc", "ninja"):
        compiler(site, name, "echo 1.0, release 1.0")
    install_torch(site, "cuda = '13.0'")
    install(site, "torch", "Name: torch\nVersion: 2.11.0\n")
    if has_ninja_of_pip:
        install(site, "ninja", "Name: ninja\nVersion: 1.13.0\n")
    names = ("torch", "c++", "nvcc", "ninja", "python-headers", "cuda", "hip", *DRIVER)
    assert find_stack(found, names) == full_stack(found)


def test_a_tool_is_asked_for_its_version_only_where_it_is_named(site):
    for name in ("g++", "nvcc", "ninja"):
        compiler(site, name, f": > {site}/asked; echo 1.0")
    assert find_stack(GPU, ["torch"]) == DRIVER
    assert not (site / "asked").exists()
    assert find_stack(GPU, ["ninja"]) == {"ninja": "1.0", **DRIVER}
    assert (site / "asked").exists()


def test_a_ninja_that_pip_brought_is_known_without_running_it(site):
    install(site, "ninja", "Name: ninja\nVersion: 1.13.0\n")
    compiler(site, "ninja", "echo 1.12.1")
    assert version_of("ninja", GPU) == "1.13.0" == find_stack(GPU, ["ninja"])["ninja"]


@pytest.mark.parametrize(
    ("version_py", "built_for"),
    [
        ("cuda: Optional[str] = '13.0'\nhip: Optional[str] = None\n", {"cuda": "13.0"}),
        ("cuda: Optional[str] = None\nhip: Optional[str] = '7.0.51831'\n", {"hip": "7.0.51831"}),
        ("__version__ = '2.1.0'\ncuda = \"12.1\"\nhip = None\n", {"cuda": "12.1"}),
        ("__version__ = '2.13.0+cpu'\ncuda: Optional[str] = None\nhip = None\n", {}),
        ("cuda_extra = '13.0'\n", {}),
        ("", {}),
        (b"\xff\xfe", {}),
    ],
)
def test_what_torch_was_built_for_is_read_and_not_imported(site, version_py, built_for):
    install_torch(site, version_py)
    assert torch_built_for() == built_for
    assert find_stack(GPU, []) == {**DRIVER, **built_for}
    assert [version_of(name, GPU) for name in ("cuda", "hip")] == [
        built_for.get("cuda"),
        built_for.get("hip"),
    ]
    assert find_stack(CPU, ["cuda", "hip"]) == {}


@pytest.mark.usefixtures("site")
def test_no_torch_is_built_for_nothing():
    assert torch_built_for() == {}


def test_half_a_torch_is_built_for_nothing(site):
    (site / "torch").mkdir()
    assert torch_built_for() == {}
    (site / "torch" / "__init__.py").touch()
    assert torch_built_for() == {}


NVCC = """nvcc: NVIDIA (R) Cuda compiler driver
Cuda compilation tools, release 13.0, V13.0.88"""


def test_nvcc_is_looked_for_as_flashinfer_looks(tmp_path, monkeypatch):
    for home, release in (("home", "13.0"), ("other", "12.9"), ("usual", "12.8")):
        compiler(tmp_path / home / "bin", "nvcc", f"echo 'tools, release {release}, V{release}.1'")
    compiler(tmp_path / "bin", "nvcc", "echo 'tools, release 12.4, V12.4.131'")
    monkeypatch.setattr(toolchain, "DEFAULT_CUDA_HOME", tmp_path / "usual")
    path = {"PATH": str(tmp_path / "bin")}
    home, other = str(tmp_path / "home"), str(tmp_path / "other")
    assert nvcc_version({"CUDA_HOME": home, "CUDA_PATH": other, **path}) == "13.0"
    assert nvcc_version({"CUDA_PATH": other, **path}) == "12.9"
    assert nvcc_version(path) == "12.4"
    assert nvcc_version({"PATH": str(tmp_path)}) == "12.8"


def test_a_cuda_home_without_nvcc_hides_the_one_on_the_path(tmp_path):
    compiler(tmp_path, "nvcc", f"echo '{NVCC}'")
    assert nvcc_version({"PATH": str(tmp_path)}) == "13.0"
    assert nvcc_version({"CUDA_HOME": str(tmp_path / "gone"), "PATH": str(tmp_path)}) is None


@pytest.mark.parametrize("script", ["exit 1", "true", "echo nothing of use", "printf '\\377'"])
def test_an_nvcc_that_fails_or_says_something_else_is_absent(tmp_path, script):
    compiler(tmp_path, "nvcc", script)
    assert nvcc_version({"PATH": str(tmp_path)}) is None


@pytest.mark.parametrize("script", ["exit 1", "true"])
def test_a_ninja_that_fails_is_absent(tmp_path, script):
    compiler(tmp_path, "ninja", script)
    assert ninja_version({"PATH": str(tmp_path)}) is None
    assert ninja_version({"PATH": str(tmp_path / "nowhere")}) is None


def test_clang_knows_one_of_gccs_two_flags(tmp_path):
    compiler(tmp_path, "clang++", '[ "$1" = -dumpversion ] && echo 19.1.7 || exit 1')
    assert compiler_version({"CXX": "clang++", "PATH": str(tmp_path)}) == "19.1.7"


def test_a_compiler_may_have_a_wrapper(tmp_path):
    compiler(tmp_path, "ccache", '[ "$1" = g++-13 ] && echo 13.3.0')
    assert compiler_version({"CXX": "ccache g++-13", "PATH": str(tmp_path)}) == "13.3.0"


def test_gcc_is_taken_where_nothing_is_said(tmp_path):
    compiler(tmp_path, "g++", "echo 12.2.0")
    assert compiler_version({"PATH": str(tmp_path)}) == "12.2.0"
    assert compiler_version({"CXX": "", "PATH": str(tmp_path)}) == "12.2.0"


@pytest.mark.parametrize("script", ["exit 1", "true"])
def test_a_compiler_that_fails_or_is_silent_is_absent(tmp_path, script):
    compiler(tmp_path, "g++", script)
    assert compiler_version({"PATH": str(tmp_path)}) is None


def test_no_compiler_is_absent(tmp_path):
    assert compiler_version({"PATH": str(tmp_path)}) is None
    assert compiler_version({"CXX": "icpx", "PATH": str(tmp_path)}) is None


def test_headers_are_of_this_python(tmp_path):
    assert headers_version(tmp_path) is None
    (tmp_path / "Python.h").touch()
    assert headers_version(tmp_path) == platform.python_version()


@pytest.mark.parametrize("name", ["Flash_Attn", "flash.attn", "FLASH--attn"])
def test_names_are_normalised(name):
    assert normalised(name) == "flash-attn"


def test_this_environment_can_be_read():
    stack = full_stack(CPU)
    assert find_stack(CPU, ["pytest"])["pytest"] == stack["pytest"] == pytest.__version__
