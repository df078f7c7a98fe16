"""What is installed under a candidate: packages, drivers, compilers. Imports none of it."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import sys
import sysconfig
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from kernels_bench.toolchain import (
    compiler_version,
    headers_version,
    ninja_version,
    nvcc_version,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kernels_bench.devices import FoundDevice
    from kernels_bench.spec import Stack

_PathState: TypeAlias = tuple[tuple[str, int], ...]
"""The folders of sys.path, and when each changed last."""
_CPU_TOOLS = ("c++", "python-headers")
_GPU_TOOLS = ("c++", "nvcc", "ninja")
"""What a backend that compiles needs besides its package."""


def find_stack(found: FoundDevice, names: Iterable[str]) -> Stack:
    """Versions of the named distributions and tools that are here, and of what lies under the
    device. Runs a compiler only where it is named.
    """
    beneath = _beneath(found)
    return {**_versions((name for name in names if name not in beneath), found), **beneath}


def installed(names: Iterable[str]) -> Stack:
    """Versions of those distributions that are here, under the names asked for."""
    state = _path_state()
    return {name: version for name in names if (version := _installed(name, state)) is not None}


def full_stack(found: FoundDevice) -> Stack:
    """As `find_stack` for every installed distribution and every tool that the device's backends
    compile with; names are as PEP 503 normalises them.
    """
    versions: dict[str, str] = {}
    for distribution in metadata.distributions():
        name, version = _header(distribution, "Name"), _header(distribution, "Version")
        if name is not None and version is not None:
            # The first on sys.path is the one that an import finds.
            versions.setdefault(normalised(name), version)
    tools = _CPU_TOOLS if found.device.kind == "cpu" else _GPU_TOOLS
    return {**versions, **_versions(tools, found), **_beneath(found)}


def version_of(name: str, found: FoundDevice) -> str | None:
    """One entry of `find_stack`; None: it is not installed, or is nothing to this kind of device.
    Cheap enough for an engine's start.
    """
    return _version_of(name, found, _path_state())


def _version_of(name: str, found: FoundDevice, state: _PathState) -> str | None:
    is_cpu = found.device.kind == "cpu"
    match name:
        case "c++":
            return compiler_version(os.environ)
        case "python-headers" if is_cpu:
            return headers_version(_include())
        case "nvcc" if not is_cpu:
            return nvcc_version(os.environ)
        case "ninja" if not is_cpu:
            return _installed(name, state) or ninja_version(os.environ)
        case "cuda" | "hip":
            return _beneath(found).get(name)
        case _:
            return found.driver.get(name) or _installed(name, state)


def normalised(name: str) -> str:
    """PEP 503: "Flash_Attn" and "flash.attn" are "flash-attn"."""
    return re.sub(r"[-_.]+", "-", name).lower()


def torch_built_for() -> Stack:
    """{"cuda": "13.0"} or {"hip": "7.0.51831"}: what the installed torch was built for; empty for
    a build for CPUs alone.

    Read from the text of torch/version.py: importing torch takes seconds.
    """
    return _torch_built_for(_path_state())


@functools.lru_cache(maxsize=16)
def _torch_built_for(_state: _PathState) -> Stack:
    try:
        spec = importlib.util.find_spec("torch")
        if spec is None or spec.origin is None:
            return {}
        text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    except (ImportError, OSError, ValueError):  # ValueError: not text, or a module without a spec
        return {}
    # With or without an annotation, and None for what it was not built for.
    return dict(re.findall(r"^(cuda|hip)\b[^=\n]*=\s*['\"]([^'\"]+)", text, re.MULTILINE))


def _versions(names: Iterable[str], found: FoundDevice) -> Stack:
    state = _path_state()
    versions = {name: _version_of(name, found, state) for name in names}
    return {name: version for name, version in versions.items() if version is not None}


def _beneath(found: FoundDevice) -> Stack:
    """Drivers under a GPU, and what torch was built to reach it with."""
    return {} if found.device.kind == "cpu" else {**found.driver, **torch_built_for()}


@functools.lru_cache(maxsize=512)
def _installed(name: str, _state: _PathState) -> str | None:
    try:
        return _header(metadata.distribution(name), "Version")
    except metadata.PackageNotFoundError:
        return None


def _path_state() -> _PathState:
    """What is installed is looked up once for each: an installation changes the folder that it is
    made in.
    """
    return tuple(map(_state_of, sys.path))


def _state_of(entry: str) -> tuple[str, int]:
    try:
        return entry, os.stat(entry or os.curdir).st_mtime_ns  # noqa: PTH116  Path is as slow again
    except OSError:
        return entry, 0


@functools.cache
def _include() -> Path:
    """Where this interpreter's headers belong."""
    return Path(sysconfig.get_paths()["include"])


def _header(distribution: metadata.Distribution, field: str) -> str | None:
    """One field of the metadata; None where an interrupted installation left it unreadable.

    `Distribution.version` parses the whole file, a package's README included, and how it fails on
    a broken one differs between Python's versions.
    """
    try:
        text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
    except (OSError, UnicodeDecodeError):
        return None
    found = re.search(rf"^{field}:[ \t]*(\S+)", text.partition("\n\n")[0], re.MULTILINE)
    return None if found is None else found[1]
