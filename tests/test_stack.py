from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest

from kernels_bench.devices import FoundDevice
from kernels_bench.spec import Device
from kernels_bench.stack import (
    compiler_version,
    find_stack,
    full_stack,
    headers_version,
    installed,
    normalised,
    version_of,
)

DRIVER = {"nvidia-driver": "580.159.04", "cuda-driver": "13.0"}
GPU = FoundDevice("cuda:0", Device("cuda", "NVIDIA H100", "sm_90", 132, 80 << 30, 1), DRIVER)
CPU = FoundDevice("cpu", Device("cpu", "AMD EPYC", "x86_64", 2, 1 << 34, 1 << 25))


def install(folder: Path, name: str, metadata: str | bytes | None) -> None:
    info = folder / f"{name}-1.dist-info"
    info.mkdir(parents=True)
    if isinstance(metadata, str):
        (info / "METADATA").write_text(metadata)
    elif metadata is not None:
        (info / "METADATA").write_bytes(metadata)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """The one folder of sys.path that has distributions."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    return tmp_path


def compiler(folder: Path, name: str, script: str) -> None:
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


def test_one_entry_is_looked_up_by_name(site):
    install(site, "triton", "Name: triton\nVersion: 3.6.0\n")
    assert version_of("triton", GPU) == "3.6.0"
    assert version_of("nvidia-driver", GPU) == "580.159.04"
    assert version_of("nvidia-driver", CPU) is None
    assert version_of("flashinfer-python", GPU) is None


def test_a_cpu_has_the_compiler_and_the_headers(site, monkeypatch):
    compiler(site, "mycxx", "echo 14.2.0")
    monkeypatch.setenv("CXX", "mycxx")
    monkeypatch.setenv("PATH", str(site))
    stack = find_stack(CPU, [])
    assert stack["c++"] == "14.2.0" == version_of("c++", CPU)
    assert stack.get("python-headers") == version_of("python-headers", CPU)


@pytest.mark.usefixtures("site")
def test_a_gpu_has_no_compiler_in_its_stack():
    assert "c++" not in find_stack(GPU, [])


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
