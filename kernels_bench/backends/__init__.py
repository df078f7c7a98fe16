"""Finds the backends: the files of this folder and the entry points `attn_autotune.backends`.

To add one, add a file with a `BACKEND`, or ship an entry point; nobody edits a list.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import io
import pkgutil
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.metadata import EntryPoint

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
    clash: str = ""
    """Who else has its name, where that keeps it from being loaded."""


def find_backends(
    without: Collection[str] = (), on_load: Callable[[str], None] = lambda _: None
) -> FoundBackends:
    """Load all but these; `on_load` hears each name before its code runs. One that fails to import,
    or has no name of its own, is `Broken`.
    """
    backends: list[Backend] = []
    broken: list[Broken] = []
    for source in _sources():
        if source.name in without:
            continue
        on_load(source.name)
        loaded = _load(source)
        if isinstance(loaded, Broken):
            broken.append(loaded)
        else:
            backends.append(loaded)
    return FoundBackends(tuple(backends), tuple(broken))


def find_backend(name: str) -> Backend | Broken | None:
    """Load one backend alone; None where nothing has that name."""
    for source in _sources():
        if source.name == name:
            return _load(source)
    return None


def known_names() -> tuple[str, ...]:
    """Of all that are installed, ours first. Loads none of them."""
    return tuple(dict.fromkeys(source.name for source in _sources()))


def is_known(name: str) -> bool:
    """Whether something has that name. Loads nothing."""
    return any(source.name == name for source in _sources())


@functools.cache
def own_names() -> tuple[str, ...]:
    """The files of this folder, which a start looks through for each candidate."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(name for name in found if name != "base" and not name.startswith("_"))


def _sources() -> Iterator[_Source]:
    for name in own_names():
        yield _Source(name, _from_module(f"{__name__}.{name}"))
    named: dict[str, list[EntryPoint]] = {}
    for entry_point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        named.setdefault(entry_point.name, []).append(entry_point)
    for name, entry_points in named.items():
        yield _Source(name, entry_points[0].load, _clash(name, entry_points))


def _clash(name: str, entry_points: Iterable[EntryPoint]) -> str:
    """Why a plug-in's name is not its own; empty where it is."""
    plugins = " and ".join(map(_origin, entry_points))
    if name in own_names():
        return f"a built-in backend has this name: {plugins} not loaded; rename or uninstall it"
    if " and " in plugins:
        return f"{plugins} have the same name: none is loaded; uninstall all but one"
    return ""


def _origin(entry_point: EntryPoint) -> str:
    """What an entry point names, and who installed it."""
    distribution = entry_point.dist
    name = None if distribution is None else distribution.name
    return f"{entry_point.value} of {name or 'a distribution without a name'}"


def _from_module(module: str) -> Callable[[], object]:
    return lambda: importlib.import_module(module).BACKEND


class _Overheard(io.TextIOBase):
    """Passes on to stderr what a plug-in prints: stdout belongs to results."""

    last_line = ""

    def write(self, text: str) -> int:
        """Remembers the last line with something in it."""
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        self.last_line = lines[-1] if lines else self.last_line
        return sys.stderr.write(text)


def _load(source: _Source) -> Backend | Broken:
    if source.clash:
        return Broken(source.name, source.clash)
    heard = _Overheard()
    try:
        with redirect_stdout(heard):
            return _checked(source.name, source.load())
    except SystemExit as error:  # its reason is what it printed, where its code is a number
        said = f": {heard.last_line}" if heard.last_line else ""
        return Broken(source.name, f"{one_line(error)}{said}")
    # A plug-in's import runs its code: whatever it raises is its reason.
    except Exception as error:
        return Broken(source.name, one_line(error))


def _checked(name: str, loaded: object) -> Backend | Broken:
    """What was loaded, if it looks as the contract says."""
    if isinstance(loaded, type):
        text = f"{loaded.__name__} is a class: expected an instance, {loaded.__name__}()"
        return Broken(name, text)
    if not isinstance(loaded, Backend):
        return Broken(name, f"{loaded!r} is no backend: needs name, variants, supports, prepare")
    if loaded.name != name:
        return Broken(name, f"its BACKEND is named {loaded.name!r}: the two must be equal")
    if (api := getattr(loaded, "api", API)) != API:
        return Broken(name, f"written for backend API {api}, this is API {API}")
    return loaded
