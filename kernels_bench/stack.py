"""What is installed under a candidate: packages, drivers, the compiler. Imports none of it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sysconfig
from importlib import metadata
from pathlib import Path
from platform import python_version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kernels_bench.devices import FoundDevice
    from kernels_bench.spec import Stack

_TIMEOUT_S = 10


def find_stack(found: FoundDevice, names: Iterable[str]) -> Stack:
    """Versions of the named distributions that are installed, and of what lies under the device."""
    return {**installed(names), **_beneath(found)}


def installed(names: Iterable[str]) -> Stack:
    """Versions of those distributions that are here, under the names asked for."""
    return {name: version for name in names if (version := _installed(name)) is not None}


def full_stack(found: FoundDevice) -> Stack:
    """As `find_stack` for every installed distribution; names are as PEP 503 normalises them."""
    versions: dict[str, str] = {}
    for distribution in metadata.distributions():
        name, version = _header(distribution, "Name"), _header(distribution, "Version")
        if name is not None and version is not None:
            # The first on sys.path is the one that an import finds.
            versions.setdefault(normalised(name), version)
    return {**versions, **_beneath(found)}


def version_of(name: str, found: FoundDevice) -> str | None:
    """One entry of `find_stack`; None: it is not installed. Cheap enough for an engine's start."""
    match name:
        case "c++":
            return compiler_version(os.environ)
        case "python-headers":
            return headers_version(Path(sysconfig.get_paths()["include"]))
        case _:
            return found.driver.get(name) or _installed(name)


def normalised(name: str) -> str:
    """PEP 503: "Flash_Attn" and "flash.attn" are "flash-attn"."""
    return re.sub(r"[-_.]+", "-", name).lower()


def compiler_version(environ: Mapping[str, str]) -> str | None:
    """Of the C++ compiler that torch's inductor would call on a CPU: CXX, or g++."""
    command = shlex.split(environ.get("CXX", "")) or ["g++"]
    program = shutil.which(command[0], path=environ.get("PATH"))
    if program is None:
        return None
    # GCC gives its major version alone to the second flag; clang does not know the first.
    for flags in (["-dumpfullversion", "-dumpversion"], ["-dumpversion"]):
        try:
            answer = subprocess.run(
                [program, *command[1:], *flags],
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        if answer.returncode == 0 and answer.stdout.strip():
            return answer.stdout.split()[0]
    return None


def headers_version(include: Path) -> str | None:
    """Of the Python headers, which what inductor compiles for a CPU includes."""
    return python_version() if (include / "Python.h").exists() else None


def _beneath(found: FoundDevice) -> Stack:
    """Drivers under a GPU; under a CPU, what a compiled backend needs besides its package."""
    if found.device.kind != "cpu":
        return dict(found.driver)
    needed = {name: version_of(name, found) for name in ("c++", "python-headers")}
    return {name: version for name, version in needed.items() if version is not None}


def _installed(name: str) -> str | None:
    try:
        return _header(metadata.distribution(name), "Version")
    except metadata.PackageNotFoundError:
        return None


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
