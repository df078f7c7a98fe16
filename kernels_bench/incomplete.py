"""Packages that are listed as installed and do not load: half of them is missing, or what they were
built for is. Their own errors name a file; a reader needs the package, and what to do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

from kernels_bench.errors import one_line
from kernels_bench.stack import installed, normalised

_NO_LIBRARY = re.compile(r"(\S+): cannot open shared object file")
_OURS = ("kernels_bench", "autotune")


class IncompleteError(Exception):
    """A candidate's package does not load; the message names it and says what to do."""


def incomplete_text(error: Exception, packages: Iterable[str] = ()) -> str:
    """The error, the distribution that is at fault and what to do; empty where it is another kind
    of error, or its text says all that.

    Args:
        error: with its traceback.
        packages: those of the candidate, where nothing else tells whose file it was.
    """
    if not _is_of_loading(error):
        return ""
    # torch loads libraries for others: it is to blame where nobody else is.
    for name in sorted((*_distributions(error), *packages), key=lambda name: name == "torch"):
        if version := installed([name]).get(name):
            return f"{one_line(error)}; {name} {version} {_what_to_do(error, name)}"
    return ""


def _is_of_loading(error: Exception) -> bool:
    said = str(error)
    if _NO_LIBRARY.search(said) or "undefined symbol" in said:
        return isinstance(error, (ImportError, OSError))
    if isinstance(error, ImportError):  # one of ours says what to do, and names no module
        modules = list(_modules(error))
        return error.name is not None or not (modules and modules[0] in _OURS)
    return isinstance(error, FileNotFoundError) and _is_packaged(error.filename)


def _what_to_do(error: Exception, name: str) -> str:
    said = str(error)
    if "undefined symbol" in said:
        return "was built for another torch: install a build of it for the torch that is here"
    library = _NO_LIBRARY.search(said)
    if library is not None and "/" not in library[1]:
        return f"needs {library[1]}: install that, or a build of {name} for what is here"
    return f"is half installed: pip install --force-reinstall --no-deps {name}"


def _distributions(error: Exception) -> Iterator[str]:
    """Of the module that was looked for, and of those that looked for it, the innermost first."""
    wanted = [error.name] if isinstance(error, ImportError) and error.name else []
    modules = (module.partition(".")[0] for module in (*wanted, *_modules(error)))
    by_module = metadata.packages_distributions()
    for module in dict.fromkeys(modules):
        if module and module not in _OURS:
            yield from map(normalised, by_module.get(module, (module,)))


def _modules(error: Exception) -> Iterator[str]:
    """Top-level names of the modules on the traceback, the innermost first."""
    names = []
    traceback = error.__traceback__
    while traceback is not None:
        name = str(traceback.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
        if name != "importlib":
            names.append(name)
        traceback = traceback.tb_next
    return reversed(names)


def _is_packaged(filename: object) -> bool:
    """Whether a file that is missing would be one of a package, not of a user or a cache."""
    folders = {"site-packages", "dist-packages"}
    return isinstance(filename, str) and bool(folders & set(Path(filename).parts))
