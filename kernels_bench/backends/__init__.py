"""Finds the backends: the files of this folder and the entry points `attn_autotune.backends`.

To add one, add a file with a `BACKEND`, or ship an entry point; nobody edits a list.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import pkgutil
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass

from kernels_bench.backends.base import API, Backend
from kernels_bench.errors import one_line

ENTRY_POINTS = "attn_autotune.backends"


@dataclass(frozen=True)
class Broken:
    """A backend that could not be loaded."""

    name: str
    message: str
    """One line."""


@dataclass(frozen=True)
class FoundBackends:
    """Every backend that was found."""

    backends: tuple[Backend, ...]
    broken: tuple[Broken, ...] = ()


@dataclass(frozen=True)
class _Source:
    name: str
    load: Callable[[], object]


def find_backends() -> FoundBackends:
    """Load all of them. One that fails to import, or takes a name that is taken, is `Broken`."""
    backends: dict[str, Backend] = {}
    broken: list[Broken] = []
    for source in _sources():
        loaded = _load(source)
        if isinstance(loaded, Broken):
            broken.append(loaded)
        elif loaded.name in backends:
            broken.append(Broken(source.name, "its name is taken: uninstall one of the two"))
        else:
            backends[loaded.name] = loaded
    return FoundBackends(tuple(backends.values()), tuple(broken))


def find_backend(name: str) -> Backend | Broken | None:
    """Load one backend alone; None where nothing has that name."""
    for source in _sources():
        if source.name == name:
            return _load(source)
    return None


def _sources() -> Iterator[_Source]:
    for name in _own_names():
        yield _Source(name, _from_module(f"{__name__}.{name}"))
    for entry_point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        yield _Source(entry_point.name, entry_point.load)


@functools.cache
def _own_names() -> tuple[str, ...]:
    """The files of this folder, which a start looks through for each candidate."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(name for name in found if name != "base" and not name.startswith("_"))


def _from_module(module: str) -> Callable[[], object]:
    return lambda: importlib.import_module(module).BACKEND


def _load(source: _Source) -> Backend | Broken:
    try:
        with redirect_stdout(sys.stderr):  # a plug-in may print; stdout belongs to results
            loaded = source.load()
    # A plug-in's import runs its code: whatever it raises, a wish to leave too, is its reason.
    except (Exception, SystemExit) as error:
        return Broken(source.name, one_line(error))
    if not isinstance(loaded, Backend):
        return Broken(
            source.name, f"{loaded!r} is no backend: needs name, variants, supports, prepare"
        )
    if loaded.name != source.name:
        return Broken(source.name, f"its BACKEND is named {loaded.name!r}: the two must be equal")
    if (api := getattr(loaded, "api", API)) != API:
        return Broken(source.name, f"written for backend API {api}, this is API {API}")
    return loaded
